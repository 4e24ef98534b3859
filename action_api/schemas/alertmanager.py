"""Alertmanager's webhook message, version 4: the part that is used, strictly; the rest, ignored.

https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

MAX_ALERTS = 1000
RECOVER = "recover"

_GUEST_ID = re.compile(r"(qemu|lxc)/([1-9][0-9]{2,8})")

Label = Annotated[str, StringConstraints(max_length=2048)]
Annotation = Annotated[str, StringConstraints(max_length=16384)]


class _Part(BaseModel):
    # Alertmanager adds fields from version to version; these do not concern us.
    model_config = ConfigDict(extra="ignore", frozen=True)


class GuestOfAlert(_Part):
    """Which guest an alert is about."""

    cluster: str
    kind: Literal["qemu", "lxc"]
    vmid: int


class Alert(_Part):
    """One alert of a message. ``startsAt`` is when it began to fire, by Prometheus' clock."""

    status: Literal["firing", "resolved"]
    labels: dict[Label, Label] = Field(max_length=64)
    annotations: dict[Label, Annotation] = Field(default_factory=dict, max_length=64)
    startsAt: AwareDatetime  # noqa: N815  Alertmanager's own name
    endsAt: AwareDatetime | None = None  # noqa: N815  Alertmanager's own name
    fingerprint: Annotated[str, StringConstraints(max_length=64)] = ""

    @property
    def alertname(self) -> str:
        """The rule's name, at most 128 characters."""
        return self.labels.get("alertname", "")[:128]

    @property
    def wants_recovery(self) -> bool:
        """Whether the rule asks for automation."""
        return self.labels.get("automation") == RECOVER

    @property
    def started_at(self) -> float:
        """``startsAt`` as unix seconds."""
        started: datetime = self.startsAt
        return started.timestamp()

    @property
    def guest(self) -> GuestOfAlert | None:
        """The guest named by the labels ``cluster`` and ``id``; None where they name none."""
        match = _GUEST_ID.fullmatch(self.labels.get("id", ""))
        cluster = self.labels.get("cluster", "")
        if match is None or not cluster:
            return None
        return GuestOfAlert.model_validate({"cluster": cluster, "kind": match[1], "vmid": int(match[2])})


class AlertmanagerMessage(_Part):
    """The body of POST /webhook/alertmanager."""

    version: Literal["4"]
    status: Literal["firing", "resolved"]
    alerts: list[Alert] = Field(max_length=MAX_ALERTS)


class Notification(AlertmanagerMessage):
    """A message for people: the alerts of one group. ``truncatedAlerts`` of them are left out."""

    groupKey: Annotated[str, StringConstraints(max_length=4096)]  # noqa: N815  Alertmanager's own name
    commonLabels: dict[Label, Label] = Field(max_length=64)  # noqa: N815  Alertmanager's own name
    truncatedAlerts: Annotated[int, Field(ge=0)] = 0  # noqa: N815  Alertmanager's own name

    def digest(self) -> str:
        """A hash of what it says: which alerts, in which state, since when; the same when it is sent twice."""
        said = sorted(
            [alert.fingerprint or sorted(alert.labels.items()), alert.status, alert.startsAt.isoformat()]
            for alert in self.alerts
        )
        return hashlib.sha256(json.dumps([self.groupKey, self.status, said], default=str).encode()).hexdigest()
