"""What can go wrong when Proxmox VE is asked, translated once; the caller decides by class, never by text."""

from __future__ import annotations

import re
from typing import ClassVar

_CHECK_FAILED = re.compile(r"Permission check failed \((?P<path>/[^,]*), (?P<privilege>[^)]+)\)")


class PveError(Exception):
    """A call to Proxmox VE failed.

    `status` is the HTTP status (None when no answer came), `reason` the server's own words: PVE puts them into the
    reason phrase, and the body is often empty. `path` is the API path, without host or secret.
    """

    error_class: ClassVar[str] = "rejected"

    def __init__(self, message: str, *, host: str, path: str, status: int | None = None, reason: str = "") -> None:
        super().__init__(f"{host} {path}: {message}")
        self.host = host
        self.path = path
        self.status = status
        self.reason = reason


class Unreachable(PveError):
    """No answer in time: connection refused, time-out, or PVE's own 595 and 596 for a node that it cannot reach."""

    error_class = "unreachable"


class AuthFailed(PveError):
    """401: the token is unknown, expired, disabled or its secret wrong; PVE does not say which."""

    error_class = "auth"


class Forbidden(PveError):
    """403: the token is known but may not. `missing_path` and `privilege` are named where PVE names them."""

    error_class = "forbidden"

    @property
    def missing_path(self) -> str | None:
        """The ACL path that lacks the privilege, such as /nodes/pve1."""
        match = _CHECK_FAILED.search(self.reason)
        return match["path"] if match else None

    @property
    def privilege(self) -> str | None:
        """The missing privilege; alternatives are joined with `|`."""
        match = _CHECK_FAILED.search(self.reason)
        return match["privilege"] if match else None


class NotFound(PveError):
    """The guest, node, task or path does not exist (PVE says 500, 400 or 501, not 404)."""

    error_class = "not_found"


class Rejected(PveError):
    """PVE refused the request or failed while working on it."""

    error_class = "rejected"


class BadAnswer(PveError):
    """The answer is not what the API gives: not JSON, another shape, or too large."""

    error_class = "bad_answer"
