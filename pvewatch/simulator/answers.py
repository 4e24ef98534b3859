"""What an endpoint gives back: data, or the refusal with Proxmox VE's own status code and words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """`data` of a successful answer, and what stands beside it (`total` of lists)."""

    data: Any
    beside: dict[str, Any] = field(default_factory=dict)


class Refusal(Exception):
    """Any other answer: `status` with `text` as the reason phrase; the body repeats it unless `empty`."""

    def __init__(
        self, status: int, text: str, *, errors: dict[str, str] | None = None, empty: bool = False, newline: bool = True
    ) -> None:
        super().__init__(f"{status} {text}")
        self.status = status
        self.text = text
        self.errors = errors
        self.empty = empty
        self.newline = newline

    def body(self) -> dict[str, Any] | None:
        """The JSON body, None when the real one sends none (401, 595)."""
        if self.empty:
            return None
        body: dict[str, Any] = {"data": None, "message": self.text + ("\n" if self.newline else "")}
        if self.errors is not None:
            body["errors"] = self.errors
        return body


def not_implemented(method: str, path: str) -> Refusal:
    """A path or method that does not exist."""
    return Refusal(501, f"Method '{method} {path}' not implemented", newline=False)


def invalid(**errors: str) -> Refusal:
    """Parameters that the schema refuses; keys are parameter names (underscores stand for hyphens)."""
    return Refusal(
        400, "Parameter verification failed.", errors={key.replace("_", "-"): text for key, text in errors.items()}
    )


def forbidden(path: str, *privileges: str) -> Refusal:
    """One of `privileges` on `path` is missing."""
    return Refusal(403, f"Permission check failed ({path}, {'|'.join(privileges)})")


def failed(text: str) -> Refusal:
    """The generic 500 with the reason in its text."""
    return Refusal(500, text)


def unknown_node(node: str) -> Refusal:
    """A node that is not a member is looked up as a host name."""
    cause = f"failed to get address info for: {node}: Temporary failure in name resolution"
    return failed(f"hostname lookup '{node}' failed - {cause}")


def unreachable(reason: str = "No route to host") -> Refusal:
    """The answering node cannot reach the other one: non-standard 595 without a body."""
    return Refusal(595, reason, empty=True)
