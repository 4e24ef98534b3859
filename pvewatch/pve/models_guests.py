"""What Proxmox VE reports about single guests beyond `GET /cluster/resources`. A figure that it did not give is None.

Bytes, seconds and ratios (0..1) throughout; time stamps are unix seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pvewatch.pve.models import GuestKind, Number

PressureResource = Literal["cpu", "io", "memory"]
PressureStall = Literal["some", "full"]


@dataclass(frozen=True, slots=True)
class DiskCounters:
    """What QEMU has read and written on one virtual disk (`scsi0`) since it started."""

    device: str
    read_bytes: Number | None
    written_bytes: Number | None
    reads: Number | None
    writes: Number | None


@dataclass(frozen=True, slots=True)
class NicCounters:
    """What has gone through one virtual network card (`net0`) since the guest started, as the guest sees it."""

    device: str
    received_bytes: Number | None
    sent_bytes: Number | None


@dataclass(frozen=True, slots=True)
class Pressure:
    """Share of the last 10 s in which some, or all, of the guest's tasks waited for the resource, 0 to 1. PVE 9."""

    resource: PressureResource
    stall: PressureStall
    ratio: Number


@dataclass(frozen=True, slots=True)
class GuestActivity:
    """A row of `GET /nodes/{node}/qemu` or `/lxc`: what the guest's own node counts.

    `balloon_bytes` is the memory QEMU leaves to the guest now, `balloon_minimum_bytes` the configured floor,
    `memory_free_bytes` what the guest itself calls free; all three only with the balloon driver. Swap is a
    container's. A guest that does not run has no counters.
    """

    id: str
    kind: GuestKind
    running: bool
    balloon_bytes: Number | None = None
    balloon_minimum_bytes: Number | None = None
    memory_free_bytes: Number | None = None
    swap_used_bytes: Number | None = None
    swap_limit_bytes: Number | None = None
    pressures: tuple[Pressure, ...] = ()
    disks: tuple[DiskCounters, ...] = ()
    nics: tuple[NicCounters, ...] = ()


@dataclass(frozen=True, slots=True)
class GuestSnapshots:
    """`GET …/snapshot`: how many, when the oldest was made, and how many the present state builds upon."""

    count: int
    oldest_at: Number | None
    depth: int


@dataclass(frozen=True, slots=True)
class Filesystem:
    """A file system inside a VM, as its guest agent tells."""

    mountpoint: str
    size_bytes: Number
    used_bytes: Number | None
