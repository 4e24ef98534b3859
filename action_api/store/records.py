"""What the store hands out: one frozen record per row. Times are unix seconds (UTC)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["viewer", "operator", "admin"]
Origin = Literal["person", "automation"]
RunState = Literal["pending", "claimed", "executing", "following", "succeeded", "failed", "refused", "unknown"]
IncidentState = Literal["open", "recovered", "cleared", "exhausted"]

UNFINISHED_STATES: tuple[RunState, ...] = ("pending", "claimed", "executing", "following")
FINISHED_STATES: tuple[RunState, ...] = ("succeeded", "failed", "refused", "unknown")
INCIDENT_STATES: tuple[IncidentState, ...] = ("open", "recovered", "cleared", "exhausted")


class NameTaken(Exception):
    """A person of this name exists already."""

    def __init__(self, name: str) -> None:
        super().__init__(f"a user named {name!r} exists already")
        self.name = name


class GuestBusy(Exception):
    """The guest has an unfinished action run; ``run_id`` says which."""

    def __init__(self, cluster: str, vmid: int, run_id: int) -> None:
        super().__init__(
            f"guest {vmid} of cluster {cluster} has an unfinished action (run {run_id}); wait for it to end"
        )
        self.run_id = run_id


class StoreUnavailable(Exception):
    """The database could not be opened or does not answer; the message holds no password."""


@dataclass(frozen=True, slots=True)
class User:
    """A person who may sign in."""

    id: int
    name: str
    password_hash: str
    role: Role
    totp_secret: str | None
    totp_confirmed_at: float | None
    last_totp_step: int | None
    disabled_at: float | None
    created_at: float

    def __repr__(self) -> str:
        return f"User(id={self.id}, name={self.name!r}, role={self.role!r})"  # neither hash nor secret in a log


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in browser. ``second_factor_at`` is None until the second factor was given."""

    id_hash: str
    user_id: int
    created_at: float
    expires_at: float
    last_seen_at: float
    second_factor_at: float | None
    revoked_at: float | None


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A redeemed confirmation: the person saw ``state_shown`` when the page was made."""

    cluster: str
    kind: str
    vmid: int
    action: str
    state_shown: str
    created_at: float


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the audit log. ``guest`` is PVE's id such as ``qemu/100``."""

    id: int
    at: float
    actor: str
    origin: str
    event: str
    cluster: str | None
    guest: str | None
    detail: dict[str, Any]
    remote: str | None


@dataclass(frozen=True, slots=True)
class ActionRun:
    """One attempt to change a guest."""

    id: int
    cluster: str
    kind: str
    vmid: int
    guest_name: str | None
    action: str
    origin: Origin
    requested_by: str
    incident_id: int | None
    state: RunState
    reason_code: str | None
    reason: str | None
    created_at: float
    claimed_at: float | None
    claimed_by: str | None
    lease_until: float | None
    call: str | None
    intent_at: float | None
    upid: str | None
    node: str | None
    finished_at: float | None
    outcome: str | None

    @property
    def guest_id(self) -> str:
        """PVE's id of the guest, such as ``qemu/100``."""
        return f"{self.kind}/{self.vmid}"

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to this run."""
        return self.state in FINISHED_STATES


@dataclass(frozen=True, slots=True)
class RunEvent:
    """One sentence of a run's progress, in the order of ``id``."""

    id: int
    run_id: int
    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Incident:
    """One period in which a guest needed help. ``closed_at`` is None while it lasts."""

    id: int
    cluster: str
    kind: str
    vmid: int
    guest_name: str | None
    alertname: str
    state: IncidentState
    opened_at: float
    alert_started_at: float
    last_alert_at: float
    alert_resolved_at: float | None
    closed_at: float | None
    attempts: int
    next_look_at: float | None
    last_reason_code: str | None
    last_reason: str | None

    @property
    def guest_id(self) -> str:
        """PVE's id of the guest, such as ``qemu/100``."""
        return f"{self.kind}/{self.vmid}"


DeliveryState = Literal["waiting", "sending", "sent", "dead"]
DELIVERY_STATES: tuple[DeliveryState, ...] = ("waiting", "sending", "sent", "dead")


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message for one channel. Times are unix seconds.

    ``message`` is what Alertmanager posted. ``interrupted``: a worker ended while it was sending, so that it may have
    arrived already.
    """

    id: int
    channel: str
    digest: str
    message: str
    received_at: float
    state: DeliveryState
    attempts: int
    next_at: float
    claimed_by: str | None
    lease_until: float | None
    interrupted: bool
    last_error: str | None
    finished_at: float | None


@dataclass(frozen=True, slots=True)
class PveAlert:
    """A notification of Proxmox VE as an alert. Times are unix seconds; ``said_at`` is by the clock of the node."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    said_at: float
    starts_at: float
    ends_at: float


@dataclass(frozen=True, slots=True)
class ThresholdOverride:
    """A threshold set at run time. Times are unix seconds.

    ``id`` and ``figure`` are those of the metric pvewatch_threshold. ``until`` is None where it has to be cleared.
    """

    cluster: str
    id: str
    figure: str
    value: float
    set_by: str
    set_at: float
    until: float | None
    comment: str
