"""What Proxmox VE reports about a cluster as a whole beyond its resources, as typed values.

A figure that PVE did not give is None, never 0. Seconds throughout; time stamps are unix seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from pvewatch.pve.models import Number


@dataclass(frozen=True, slots=True)
class VotingNode:
    """A node in `GET /cluster/config/nodes`, which shows corosync's configuration."""

    name: str
    votes: int | None


@dataclass(frozen=True, slots=True)
class QDevice:
    """`GET /cluster/config/qdevice`. `state` is `Connected` when the device takes part; other words are failures."""

    state: str | None
    model: str | None
    algorithm: str | None
    qnetd_host: str | None
    tie_breaker: str | None


@dataclass(frozen=True, slots=True)
class HaDaemon:
    """The CRM in charge (`master`) or one node's LRM. `status` is PVE's word within brackets, such as `active`."""

    node: str
    status: str | None
    timestamp: Number | None


@dataclass(frozen=True, slots=True)
class HaService:
    """A guest under HA; `sid` is `vm:100` or `ct:200`. `state` is what the CRM has made of it so far."""

    sid: str
    node: str | None
    state: str | None
    request_state: str | None

    @property
    def guest_id(self) -> str:
        """`qemu/100` or `lxc/200`; the sid itself where it is neither."""
        kind, _, vmid = self.sid.partition(":")
        return {"vm": f"qemu/{vmid}", "ct": f"lxc/{vmid}"}.get(kind, self.sid)


@dataclass(frozen=True, slots=True)
class HaStatus:
    """`GET /cluster/ha/status/current`. Without HA in use there is a quorum row and nothing else."""

    quorate: bool | None
    master: HaDaemon | None
    lrms: tuple[HaDaemon, ...]
    services: tuple[HaService, ...]
    armed: str | None

    @property
    def in_use(self) -> bool:
        """Whether anything has ever been put under HA."""
        return bool(self.master or self.lrms or self.services)


@dataclass(frozen=True, slots=True)
class HaPlacement:
    """A group of PVE 7 and 8, or a rule of PVE 9: where guests under HA may run."""

    name: str
    type: str
    enabled: bool


@dataclass(frozen=True, slots=True)
class BackupJob:
    """A job in `GET /cluster/backup`. `next_run` is None for a job that is off."""

    id: str
    enabled: bool
    schedule: str | None
    storage: str | None
    mode: str | None
    next_run: Number | None


@dataclass(frozen=True, slots=True)
class ReplicationJob:
    """A job in `GET /nodes/{node}/replication` of the node that sends. `last_sync` 0 means never."""

    id: str
    type: str | None
    source: str | None
    target: str | None
    guest: int | None
    guest_kind: str | None
    enabled: bool
    duration_seconds: Number | None
    last_sync: Number | None
    last_try: Number | None
    next_sync: Number | None
    fail_count: Number | None


@dataclass(frozen=True, slots=True)
class UnprotectedGuests:
    """`GET /cluster/backup-info/not-backed-up`: ids such as `qemu/100`, sorted. Only those the token may see."""

    ids: tuple[str, ...]
