"""What Proxmox VE reports, as typed values. A figure that PVE did not give is None, never 0.

Bytes, seconds and ratios (0..1) throughout; time stamps are unix seconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

GuestKind = Literal["qemu", "lxc"]
Number = int | float

# From 100 to 999999999. Source: https://pve.proxmox.com/pve-docs/api-viewer/#/cluster/nextid
_VMID = re.compile(r"[1-9][0-9]{2,8}")
_TAG_SEPARATORS = re.compile(r"[;,\s]+")


@dataclass(frozen=True, slots=True)
class Version:
    """`GET /version` of the host that answered. `major` is None when the text is not a version."""

    version: str
    release: str | None
    repoid: str | None

    @property
    def major(self) -> int | None:
        """The leading number: 7, 8 or 9."""
        # No other digits than ours, and few: int() refuses "²", and thousands of them.
        head = re.match(r"(\d{1,4})(\.|$)", self.version, re.ASCII)
        return int(head[1]) if head else None


@dataclass(frozen=True, slots=True)
class NodeStatusRow:
    """A node in `GET /cluster/status`. `level` is the support level's letter, empty without a subscription."""

    name: str
    nodeid: int | None
    ip: str | None
    level: str | None
    local: bool
    online: bool


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """`GET /cluster/status`. A standalone host has no cluster row: all but `nodes` is None."""

    name: str | None
    quorate: bool | None
    version: int | None
    node_count: int | None
    nodes: tuple[NodeStatusRow, ...]

    @property
    def local_node(self) -> str | None:
        """The node that answered."""
        return next((node.name for node in self.nodes if node.local), None)


@dataclass(frozen=True, slots=True)
class Guest:
    """A VM or container row of `GET /cluster/resources`; `id` is `qemu/100` or `lxc/200`.

    `status` is the QMP state where PVE gives it here (running, stopped, paused, …, unknown). For QEMU
    `disk_used_bytes` is always 0; only the limit is known. `tags` is the text as PVE gives it.
    """

    id: str
    kind: GuestKind
    vmid: int
    node: str
    status: str
    name: str | None = None
    template: bool = False
    cpu_ratio: Number | None = None
    cpu_limit: Number | None = None
    memory_used_bytes: Number | None = None
    memory_limit_bytes: Number | None = None
    memory_host_bytes: Number | None = None
    disk_used_bytes: Number | None = None
    disk_limit_bytes: Number | None = None
    net_in_bytes: Number | None = None
    net_out_bytes: Number | None = None
    disk_read_bytes: Number | None = None
    disk_write_bytes: Number | None = None
    uptime_seconds: Number | None = None
    pool: str | None = None
    lock: str | None = None
    tags: str | None = None
    ha_state: str | None = None

    @property
    def tag_list(self) -> tuple[str, ...]:
        """The single tags, sorted; PVE separates them by `;` since 7.3, by `,` before."""
        return tuple(sorted({tag for tag in _TAG_SEPARATORS.split(self.tags or "") if tag}))


@dataclass(frozen=True, slots=True)
class Node:
    """A node row of `GET /cluster/resources`; without Sys.Audit on the node it has a status and no figures."""

    id: str
    name: str
    status: str
    cpu_ratio: Number | None = None
    cpu_limit: Number | None = None
    memory_used_bytes: Number | None = None
    memory_limit_bytes: Number | None = None
    disk_used_bytes: Number | None = None
    disk_limit_bytes: Number | None = None
    uptime_seconds: Number | None = None
    level: str | None = None
    ha_state: str | None = None


@dataclass(frozen=True, slots=True)
class Storage:
    """A storage as one node sees it; a shared storage stands once for each node. `content` is sorted."""

    id: str
    storage: str
    node: str
    status: str
    plugin_type: str | None = None
    content: tuple[str, ...] = ()
    shared: bool = False
    disk_used_bytes: Number | None = None
    disk_limit_bytes: Number | None = None


@dataclass(frozen=True, slots=True)
class Resources:
    """`GET /cluster/resources`. `skipped` counts rows that could not be read, so that none is lost in silence."""

    guests: tuple[Guest, ...]
    nodes: tuple[Node, ...]
    storages: tuple[Storage, ...]
    pools: tuple[str, ...]
    skipped: int = 0
    _by_node: dict[str, list[Guest]] = field(init=False, repr=False, compare=False)
    _by_id: dict[str, Guest] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Every collector of every node asks for its own guests: looking through all each time costs more than this."""
        by_node: dict[str, list[Guest]] = {}
        for guest in self.guests:
            by_node.setdefault(guest.node, []).append(guest)
        object.__setattr__(self, "_by_node", by_node)
        object.__setattr__(self, "_by_id", {guest.id: guest for guest in self.guests})

    def guest(self, guest_id: str) -> Guest | None:
        """The guest with an id such as `qemu/100`."""
        return self._by_id.get(guest_id)

    def guests_on(self, node: str) -> Sequence[Guest]:
        """The guests of one node, in their order."""
        return self._by_node.get(node, ())


@dataclass(frozen=True, slots=True)
class NodeDetail:
    """`GET /nodes/{node}/status`."""

    node: str
    load: tuple[Number | None, Number | None, Number | None] = (None, None, None)
    io_wait_ratio: Number | None = None
    cpu_ratio: Number | None = None
    cpus: Number | None = None
    memory_used_bytes: Number | None = None
    memory_free_bytes: Number | None = None
    memory_available_bytes: Number | None = None
    memory_total_bytes: Number | None = None
    swap_used_bytes: Number | None = None
    swap_total_bytes: Number | None = None
    rootfs_used_bytes: Number | None = None
    rootfs_total_bytes: Number | None = None
    ksm_shared_bytes: Number | None = None
    uptime_seconds: Number | None = None
    kernel_version: str | None = None
    pve_version: str | None = None


@dataclass(frozen=True, slots=True)
class GuestConfig:
    """The part of a guest's configuration that is used; `onboot` None means the key is absent (PVE's default: no).

    `smbios_uuid` is lower case; None for containers, and where none is set. `addresses` are the fixed ones of its
    network cards, `probe_requests` those in its notes (see pvewatch.probes).
    """

    onboot: bool | None
    agent: bool
    protection: bool
    template: bool
    smbios_uuid: str | None = None
    addresses: tuple[str, ...] = ()
    probe_requests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GuestStatus:
    """`GET …/status/current`: what PVE says of one guest now. `qmp_status` is None for containers."""

    status: str
    qmp_status: str | None
    lock: str | None
    uptime_seconds: Number | None
    ha_managed: bool
    ha_state: str | None
    template: bool
    name: str | None


@dataclass(frozen=True, slots=True)
class Task:
    """A task of PVE. `ok` is None while it runs; a warning counts as done."""

    upid: str
    node: str
    type: str
    id: str
    user: str
    started: float
    ended: float | None
    running: bool
    exit_status: str | None

    @property
    def vmid(self) -> int | None:
        """The guest it is about; None when `id` is no VMID, but a storage, a service or nothing."""
        return int(self.id) if _VMID.fullmatch(self.id) else None

    @property
    def ok(self) -> bool | None:
        """Whether it ended well: exit status `OK` or `WARNINGS: n`."""
        if self.running or self.exit_status is None:
            return None
        text = self.exit_status.strip()
        return text == "OK" or text.startswith("WARNINGS")


Permissions = Mapping[str, frozenset[str]]


Roles = Mapping[str, frozenset[str]]
"""`GET /access/roles`: role → privileges."""


@dataclass(frozen=True, slots=True)
class AclRow:
    """A row of `GET /access/acl`. `kind` is user, group or token, `holder` its name."""

    path: str
    role: str
    kind: str
    holder: str
