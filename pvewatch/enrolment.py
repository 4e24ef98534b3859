"""How the action API has the exporter make what brings an agent into a guest: the contract, and the client.

The secret from which agents' tokens derive stays with the exporter. Whoever may ask for one guest's token at a time
holds another, `enrolment`, which opens nothing else; the inventory's secret does not open this.
"""

from __future__ import annotations

from typing import Literal

import requests
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pvewatch.secrets import Secret

ENROLMENT_PATH = "/api/v1/enrolment"
MAX_ENROLMENT_BYTES = 4 * 1024 * 1024
_CHUNK_BYTES = 256 * 1024

Platform = Literal["linux", "windows"]
PLATFORMS: tuple[Platform, ...] = ("linux", "windows")


class EnrolmentRequest(BaseModel):
    """Which guest, and the platform of its installer; None for the token alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cluster: str = Field(max_length=63)
    vmid: int = Field(ge=100, le=999_999_999)
    platform: Platform | None = None


class Enrolment(BaseModel):
    """The guest's token, where its agent shall send (None: not configured), and the installer if asked for."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    # Not in the repr: it must get into no log by accident.
    token: str = Field(repr=False)
    url: str | None = None
    script: str | None = Field(default=None, repr=False)


class EnrolmentRefused(Exception):
    """The exporter makes no token or installer; the message says why and what to do."""


class EnrolmentClient:
    """Asks the exporter; threads may share a client."""

    def __init__(self, url: str, secret: Secret, timeout: float = 10) -> None:
        self._url = url.rstrip("/") + ENROLMENT_PATH
        self._secret = secret
        self._timeout = timeout

    def ask(self, cluster: str, vmid: int, platform: Platform | None) -> Enrolment:
        """The token and installer of one guest. Raises EnrolmentRefused."""
        wanted = EnrolmentRequest(cluster=cluster, vmid=vmid, platform=platform)
        headers = {"Authorization": f"Bearer {self._secret.reveal()}"}
        try:
            with requests.Session() as session:
                # A proxy or .netrc of the environment must neither see the token nor put another in its place.
                session.trust_env = False
                with session.post(
                    self._url, json=wanted.model_dump(), headers=headers, timeout=self._timeout,
                    allow_redirects=False, stream=True,
                ) as answer:  # fmt: skip
                    status, body = answer.status_code, self._read(answer)
        except requests.RequestException as error:
            reason = type(error).__name__
            raise EnrolmentRefused(f"the exporter does not answer ({reason}); is it running?") from error
        if status != 200:
            raise EnrolmentRefused(_reason(status, body))
        try:
            return Enrolment.model_validate_json(body)
        except ValidationError as error:
            # Not the error's own text, which quotes the answer and so the token.
            raise EnrolmentRefused("the exporter sent an answer of another version") from error

    def _read(self, answer: requests.Response) -> bytes:
        body = bytearray()
        for chunk in answer.iter_content(_CHUNK_BYTES):
            body += chunk
            if len(body) > MAX_ENROLMENT_BYTES:
                raise EnrolmentRefused(f"the exporter sent more than {MAX_ENROLMENT_BYTES} bytes")
        return bytes(body)


class _Error(BaseModel):
    message: str = Field(max_length=1000)


class _ErrorAnswer(BaseModel):
    error: _Error


def _reason(status: int, body: bytes) -> str:
    try:
        return _ErrorAnswer.model_validate_json(body).error.message
    except ValidationError:
        return f"the exporter answered {status}"
