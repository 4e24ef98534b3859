"""What Proxmox VE posts to /webhook/pve/<cluster>, in the body that docs/notifications.md has people configure.

https://pve.proxmox.com/pve-docs/chapter-notifications.html#notification_targets_webhook
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Value = Annotated[str, StringConstraints(max_length=1024)]


class PveNotification(BaseModel):
    """One notification. The body is our own template, so that anything else in it is a mistake and is named."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    title: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    message: str
    """Any length that fits into the request: the log of a backup is in it."""
    severity: Literal["info", "notice", "warning", "error", "unknown"]
    timestamp: Annotated[int, Field(ge=0, le=253_402_300_799)]
    """Unix seconds, by the clock of the node."""
    fields: Annotated[dict[Name, Value], Field(max_length=32)] = {}
    """Metadata: `type`, and where they apply `hostname` and `job-id`."""
