"""What proxmoxer and requests raise, translated once: into error classes, and into words that fit a table."""

from __future__ import annotations

import requests
from proxmoxer import ResourceException

from pvewatch.pve.errors import AuthFailed, Forbidden, NotFound, PveError, Rejected, Unreachable

_GONE_STATUS = {595, 596, 599}
_NOT_THERE = ("does not exist", "no such", "not exist")


def translate(error: ResourceException, host: str, path: str) -> PveError:
    """The error class of an answer that is not 2xx; `path` is the API path, without host or secret."""
    status = int(error.status_code)
    # proxmoxer puts the reason phrase into `content`; it is the only text that a 401 or 595 has.
    reason = " ".join(str(error.content or error.status_message or "").split())[:500]
    if isinstance(error.errors, dict):
        reason += " (" + "; ".join(f"{key}: {value}" for key, value in sorted(error.errors.items())).strip()[:500] + ")"
    kind: type[PveError]
    if status in _GONE_STATUS or "RPCEnvironment init request failed" in reason:
        kind = Unreachable
    elif status == 401:
        kind = AuthFailed
    elif status == 403:
        kind = Forbidden
    elif status == 404 or (status in (400, 500) and any(words in reason for words in _NOT_THERE)):
        kind = NotFound
    else:
        kind = Rejected
    return kind(f"{status} {reason}".strip(), host=host, path=path, status=status, reason=reason)


def connection_words(error: BaseException) -> str:
    """Why there was no answer, in words that fit a table; urllib3's own text repeats addresses and object ids."""
    text = str(error)
    if isinstance(error, requests.exceptions.SSLError):
        return certificate_trouble(error) or "the encrypted connection failed; is this a Proxmox VE host's port?"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, requests.exceptions.Timeout):
        return "no answer in time"
    for words in ("Connection refused", "No route to host", "Name or service not known", "reset by peer"):
        if words in text:
            return words.lower()
    return f"the connection failed ({type(error).__name__})"


def certificate_trouble(error: requests.exceptions.SSLError) -> str | None:
    """What is wrong with the host's certificate; None when TLS itself failed, before or after the request."""
    text = str(error)
    if "Fingerprints did not match" in text:
        return "the certificate is not the one whose fingerprint is configured"
    if "CERTIFICATE_VERIFY_FAILED" in text or "CertificateError" in text:
        return "the certificate cannot be verified; configure fingerprint or ca_file"
    return None
