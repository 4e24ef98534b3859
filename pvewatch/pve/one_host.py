"""One Proxmox VE host seen with one login, raw: what the drop-in endpoint answers from.

No other host ever stands in, because what it shows is what this very host says. The rows stay as they came, because the
families of prometheus-pve-exporter follow from which keys a row has.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.parse import quote

import requests
from proxmoxer import ResourceException
from proxmoxer.core import ProxmoxResource
from requests.auth import AuthBase

from pvewatch.pve.errors import AuthFailed, BadAnswer, PveError, Unreachable
from pvewatch.pve.translation import connection_words, translate
from pvewatch.pve.transport import AnswerTooLarge, BoundedAdapter, NotJson, Serializer, system_trust
from pvewatch.secrets import Secret

DEFAULT_TIMEOUT_SECONDS = 5.0
# A ticket is good for two hours; https://pve.proxmox.com/wiki/Proxmox_VE_API#Authentication
TICKET_SECONDS = 3600.0
# PVE delays every refused login by 3 s and counts them: what was refused is not tried again at once.
REFUSED_LOGIN_RESTS_SECONDS = 30.0

Observer = Callable[[str, str, str, float], None]


@dataclass(frozen=True, slots=True)
class Login:
    """Who asks, and how hosts are reached and trusted. `secret` is the token's when `token_name` is set.

    `verify` is true, false, or the path of a CA file; `user` has its realm, such as `prometheus@pve`.
    """

    user: str
    secret: Secret
    token_name: str | None = None
    verify: bool | str = True
    fingerprint: str | None = None
    port: int = 8006
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    path_prefix: str | None = None
    client_certificate: str | None = None
    proxies: Mapping[str, str] = field(default_factory=dict)


class OneHost:
    """One host. Safe for use by several threads; nothing is sent before the first `get`."""

    def __init__(self, host: str, port: int, login: Login, *, observe: Observer | None = None) -> None:
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._login = login
        self._observe = observe or (lambda *_: None)
        self._lock = threading.Lock()
        self._logged_in_at: float | None = None
        self._refused: tuple[float, AuthFailed] | None = None
        self._session = requests.Session()
        # PVE never redirects an API call; following one would carry the secret to a host of somebody's choice.
        self._session.max_redirects = 0
        # A proxy or .netrc of the environment must not come between us and the hypervisor.
        self._session.trust_env = False
        self._session.proxies.update(login.proxies)
        self._session.cert = login.client_certificate
        self._session.verify = False if login.fingerprint else login.verify
        if self._session.verify is True:
            self._session.verify = system_trust()
        timeout = login.timeout_seconds
        self._session.mount("https://", BoundedAdapter(login.fingerprint, 2 * timeout, 8, (timeout, timeout)))
        token = f"PVEAPIToken={login.user}!{login.token_name}={login.secret.reveal()}" if login.token_name else None
        self._auth = _Auth(token)
        self._session.auth = self._auth
        prefix = f"/{login.path_prefix.strip('/')}" if login.path_prefix else ""
        self._base_url = f"https://{self.address}{prefix}/api2/json"
        self._root = ProxmoxResource(base_url=self._base_url, session=self._session, serializer=Serializer())

    def get(self, template: str, **parts: str | int) -> Any:
        """The `data` of a GET; `template` such as `/nodes/{node}/qemu`. Raises a PveError and nothing else."""
        if self._login.token_name is None:
            self._log_in()
        path = template.format(**{key: quote(str(value), safe="") for key, value in parts.items()})
        try:
            return self._translated(template, path, lambda: self._root(path.lstrip("/")).get())
        except AuthFailed:
            with self._lock:
                # The ticket may have been taken back, by a restart for example: the next call logs in anew.
                self._logged_in_at = None
            raise

    def close(self) -> None:
        """Close the kept connections."""
        self._session.close()

    def _log_in(self) -> None:
        with self._lock:
            now = time.monotonic()
            if self._logged_in_at is not None and now - self._logged_in_at < TICKET_SECONDS:
                return
            if self._refused is not None and now - self._refused[0] < REFUSED_LOGIN_RESTS_SECONDS:
                raise self._refused[1].with_traceback(None)  # or each time would add to it
            self._auth.ticket = None
            try:
                ticket, needs_more = self._translated("/access/ticket", "/access/ticket", self._ask_for_ticket)
            except AuthFailed as error:
                self._refused = now, error
                raise
            if ticket is None:
                raise BadAnswer("the login's answer holds no ticket", host=self.address, path="/access/ticket")
            if needs_more:
                needs = AuthFailed(
                    f"{self._login.user} needs a second factor, which a program cannot give; use an API token",
                    host=self.address,
                    path="/access/ticket",
                )
                self._refused = now, needs
                raise needs
            self._auth.ticket = ticket
            self._logged_in_at, self._refused = now, None

    def _ask_for_ticket(self) -> tuple[str | None, bool]:
        """The ticket, None where the answer holds no usable one; and whether it asks for a second factor."""
        # Not by the resource, which would log what it sends, and so the password.
        answer = self._session.post(
            f"{self._base_url}/access/ticket",
            data={"username": self._login.user, "password": self._login.secret.reveal()},
        )
        if answer.status_code != 200:
            raise ResourceException(answer.status_code, answer.reason, answer.reason)
        found = Serializer().loads(answer)
        ticket = found.get("ticket") if isinstance(found, dict) else None
        if not isinstance(ticket, str) or not ticket.isprintable() or ";" in ticket:
            return None, False
        return ticket, bool(found.get("NeedTFA"))

    def _translated(self, template: str, path: str, ask: Callable[[], Any]) -> Any:
        begun = time.monotonic()
        problem: PveError | None = None
        try:
            return ask()
        except ResourceException as error:
            problem = translate(error, self.address, path)
        except (NotJson, AnswerTooLarge, requests.TooManyRedirects) as error:
            problem = BadAnswer(str(error), host=self.address, path=path)
        except (requests.RequestException, HTTPException, OSError) as error:
            problem = Unreachable(connection_words(error), host=self.address, path=path)
        finally:
            outcome = problem.error_class if problem else "ok"
            self._observe(self.address, template, outcome, time.monotonic() - begun)
        # Not `from` what was caught: that and the frames of its traceback hold the answer, which may be megabytes, for
        # as long as anybody holds the error.
        raise problem


class _Auth(AuthBase):
    """Puts the token, or the ticket of a password login, on each request."""

    def __init__(self, token: str | None) -> None:
        self._token = token
        self.ticket: str | None = None

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token is not None:
            request.headers["Authorization"] = self._token
        elif self.ticket is not None:
            request.headers["Cookie"] = f"PVEAuthCookie={quote(self.ticket, safe='')}"
        return request
