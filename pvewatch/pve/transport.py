"""One HTTPS connection pool to one Proxmox VE host: trust, time-outs, size bounds.

proxmoxer builds the addresses and speaks the protocol; this module gives it a session that trusts what the
configuration says, follows no redirect, and reads no more than it should.
"""

from __future__ import annotations

import json
import ssl
import time
from typing import Any

import requests
from proxmoxer.backends.https import Backend
from proxmoxer.core import ProxmoxResource
from pydantic_core import from_json
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, ReadTimeoutError

from pvewatch.config import Cluster, HostPort
from pvewatch.secrets import Secret

MAX_ANSWER_BYTES = 64 * 1024 * 1024
_CHUNK = 256 * 1024


class AnswerTooLarge(requests.RequestException):
    """The answer is larger than any real one, or drips in for longer than allowed."""


class NotJson(ValueError):
    """A 2xx answer whose body is not a JSON mapping with `data`."""


class Serializer:
    """proxmoxer's own serializer turns garbage into a result; this one says so."""

    def get_accept_types(self) -> str:
        """What is asked for."""
        return "application/json"

    def loads(self, response: requests.Response) -> Any:
        """The `data` of an answer. Raises NotJson."""
        document = _document(response)
        if document is None:
            raise NotJson("the answer is not JSON")
        if not isinstance(document, dict) or "data" not in document:
            raise NotJson("the answer is JSON, but not Proxmox VE's form with `data`")
        return document["data"]

    def loads_errors(self, response: requests.Response) -> dict[str, str] | None:
        """The `errors` of a 400; 401 and 595 have an empty body, so nothing is expected here."""
        document = _document(response)
        errors = document.get("errors") if isinstance(document, dict) else None
        return errors if isinstance(errors, dict) else None


def _document(response: requests.Response) -> Any:
    """What the body says; None also for what is not JSON: the error of that would hold the whole body."""
    try:
        # Twice as fast, and the list of thousands of guests stops every other thread while it is read.
        return from_json(response.content)
    except ValueError:
        pass
    try:
        # Less strict: half a surrogate pair in a guest's name must not hide its cluster.
        return json.loads(response.content)
    except (ValueError, RecursionError):
        return None


class _Body(bytes):
    """An answer that does not show itself: proxmoxer writes every answer out for its log, whether it logs or not."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"

    __str__ = __repr__


class BoundedAdapter(HTTPAdapter):
    """Pins a certificate if asked to, and bounds size and duration of every answer.

    `timeout` (connect, read; seconds) holds for requests that name none.
    """

    def __init__(
        self,
        fingerprint: str | None,
        total_seconds: float,
        pool_size: int,
        timeout: tuple[float, float] | None = None,
    ) -> None:
        self._fingerprint = fingerprint
        self._total_seconds = total_seconds
        self._timeout = timeout
        super().__init__(pool_connections=1, pool_maxsize=pool_size, max_retries=0, pool_block=False)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """requests calls this once, before the first connection."""
        if self._fingerprint:
            # Checked by urllib3 after the handshake and before the first byte of the request (and so of the token).
            kwargs["assert_fingerprint"] = self._fingerprint
        super().init_poolmanager(*args, **kwargs)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """The whole answer, read. Raises AnswerTooLarge."""
        kwargs["stream"] = True
        kwargs["timeout"] = kwargs.get("timeout") or self._timeout
        deadline = time.monotonic() + self._total_seconds
        response = super().send(request, *args, **kwargs)
        body = bytearray()
        try:
            # Not iter_content: that waits for a whole chunk, for as long as a byte comes within each time-out.
            while chunk := response.raw.read1(_CHUNK, decode_content=True):
                body += chunk
                if len(body) > MAX_ANSWER_BYTES or time.monotonic() > deadline:
                    response.close()
                    raise AnswerTooLarge(f"more than {MAX_ANSWER_BYTES} bytes or {self._total_seconds:.0f} s")
        except ReadTimeoutError as error:
            raise requests.ReadTimeout(error, request=request) from error
        except HTTPError as error:
            raise requests.ConnectionError(error, request=request) from error
        response._content = _Body(body)  # requests offers no other way to hand over a body that was read with a bound
        return response


def connect(
    cluster: Cluster,
    host: HostPort,
    token_id: str,
    secret: Secret,
    *,
    connect_timeout: float,
    read_timeout: float,
    pool_size: int,
) -> tuple[ProxmoxResource, requests.Session]:
    """proxmoxer's resource for the API root of one host, and the session below it (to close). Nothing is sent yet."""
    user, _, token_name = token_id.partition("!")
    fingerprint = host.fingerprint or cluster.fingerprint
    backend = Backend(
        str(host),
        user=user,
        token_name=token_name,
        token_value=secret.reveal(),
        verify_ssl=trust_of(cluster, fingerprint),
        timeout=(connect_timeout, read_timeout),
    )
    session: requests.Session = backend.get_session()
    # PVE never redirects an API call; following one would carry a request to a host of somebody's choice.
    session.max_redirects = 0
    # A proxy or .netrc of the environment must not come between us and the hypervisor.
    session.trust_env = False
    session.mount("https://", BoundedAdapter(fingerprint, 2 * read_timeout, pool_size))
    resource = ProxmoxResource(base_url=backend.get_base_url(), session=session, serializer=Serializer())
    return resource, session


def trust_of(cluster: Cluster, fingerprint: str | None) -> str | bool:
    """What requests calls `verify`. With a pinned fingerprint the chain is not looked at: the pin is stricter."""
    if fingerprint or not cluster.verify_tls:
        return False
    return str(cluster.ca_file) if cluster.ca_file else system_trust()


def system_trust() -> str | bool:
    """requests would trust its own bundle; an administrator expects what is installed on the system."""
    return ssl.get_default_verify_paths().cafile or True
