"""What Proxmox VE reports about disks, ZFS and thin pools of one node, and about Ceph, as typed values.

A figure that PVE did not give is None, never 0. Bytes and ratios (0..1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pvewatch.pve.models import Number

DiskHealth = Literal["passed", "failed", "unknown"]


@dataclass(frozen=True, slots=True)
class Disk:
    """A physical disk in `GET /nodes/{node}/disks/list`.

    `name` stays the same whatever the order in which the kernel finds disks: the serial number, else the WWN, else the
    device. `device` is such as `/dev/sda`. `wear_ratio` is the used-up part of its rated life, 0 when new; only SSDs
    tell. `type` is ssd, nvme, hdd, usb or unknown; `use` what is on it (LVM, ZFS, ext4 …).
    """

    name: str
    device: str
    health: DiskHealth
    wear_ratio: float | None
    size_bytes: Number | None
    type: str | None
    model: str | None
    serial: str | None
    wwn: str | None
    use: str | None


@dataclass(frozen=True, slots=True)
class NodeDisks:
    """The disks of one node, by name."""

    node: str
    disks: tuple[Disk, ...]


@dataclass(frozen=True, slots=True)
class ZfsPool:
    """A pool in `GET /nodes/{node}/disks/zfs`. `health` is ZFS's word, such as DEGRADED."""

    name: str
    health: str | None
    size_bytes: Number | None
    allocated_bytes: Number | None
    free_bytes: Number | None
    fragmentation_ratio: float | None


@dataclass(frozen=True, slots=True)
class NodeZfs:
    """The ZFS pools of one node, by name."""

    node: str
    pools: tuple[ZfsPool, ...]


@dataclass(frozen=True, slots=True)
class ThinPool:
    """An LVM thin pool in `GET /nodes/{node}/disks/lvmthin`. `name` is volume group and pool, such as `pve/data`."""

    name: str
    size_bytes: Number | None
    used_bytes: Number | None
    metadata_size_bytes: Number | None
    metadata_used_bytes: Number | None


@dataclass(frozen=True, slots=True)
class NodeThinPools:
    """The thin pools of one node, by name."""

    node: str
    pools: tuple[ThinPool, ...]


@dataclass(frozen=True, slots=True)
class CephStatus:
    """`GET /cluster/ceph/status`.

    `health` is such as HEALTH_WARN. `checks` maps the code of each health check that is not muted, such as OSD_DOWN, to
    its severity. `placement_groups` maps a state such as `active+clean` to how many have it.
    """

    health: str | None
    checks: Mapping[str, str]
    osds: Number | None
    osds_up: Number | None
    osds_in: Number | None
    monitors: Number | None
    monitors_in_quorum: Number | None
    size_bytes: Number | None
    used_bytes: Number | None
    available_bytes: Number | None
    placement_groups: Mapping[str, Number]
