"""Answers about single guests → models: node lists, counters of disks and cards, snapshots, pending changes, agent.

Bounded: a guest has no more devices or file systems here than the limits below, whatever an answer holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pvewatch.pve.models import GuestKind, Number
from pvewatch.pve.models_guests import (
    DiskCounters,
    Filesystem,
    GuestActivity,
    GuestSnapshots,
    NicCounters,
    Pressure,
    PressureResource,
    PressureStall,
)
from pvewatch.pve.parsers import flag, mapping, number, rows, text

_Device = TypeVar("_Device", DiskCounters, NicCounters)

MAX_DISKS = 16
MAX_NICS = 8
MAX_FILESYSTEMS = 16

# The devices of a configuration, for example scsi0, efidisk0, net0; anything else is no name of PVE's.
_DISK = re.compile(r"(?:ide|sata|scsi|virtio|efidisk|tpmstate)\d{1,3}", re.ASCII)
_TAP = re.compile(r"(?:tap|veth)[1-9]\d*i(?P<index>\d{1,3})", re.ASCII)
_NET = re.compile(r"net\d{1,3}", re.ASCII)
_PRESSURES: tuple[tuple[PressureResource, PressureStall], ...] = (
    ("cpu", "some"),
    ("cpu", "full"),
    ("io", "some"),
    ("io", "full"),
    ("memory", "some"),
    ("memory", "full"),
)
# Full by nature or gone with the next reboot: nothing to watch.
_PASSING_TYPES = frozenset(
    {"autofs", "cdfs", "devtmpfs", "erofs", "iso9660", "nsfs", "overlay", "ramfs", "squashfs", "tmpfs", "udf"}
)
# Containers and removable media come and go under names that are never the same twice.
_PASSING_PLACES = (
    "/media/",
    "/proc/",
    "/run/",
    "/snap/",
    "/sys/",
    "/var/lib/containerd/",
    "/var/lib/containers/",
    "/var/lib/docker/",
    "/var/lib/kubelet/",
    "/var/snap/",
)


def activities(data: object, kind: GuestKind) -> dict[str, GuestActivity]:
    """`/nodes/{node}/qemu` (with or without `full=1`) or `/lxc`, by id such as `qemu/100`."""
    found = (activity(row, kind) for row in rows(data))
    return {item.id: item for item in found if item is not None}


def activity(row: Mapping[str, Any], kind: GuestKind) -> GuestActivity | None:
    """One row; None when it has no VMID. VMIDs come as texts too, a container's pressures always do."""
    vmid = number(row.get("vmid"))
    if vmid is None or vmid <= 0 or vmid != int(vmid):
        return None
    guest_id = f"{kind}/{int(vmid)}"
    if text(row.get("status")) != "running":
        return GuestActivity(guest_id, kind, running=False)
    return GuestActivity(
        id=guest_id,
        kind=kind,
        running=True,
        balloon_bytes=number(row.get("balloon")),
        balloon_minimum_bytes=number(row.get("balloon_min")),
        memory_free_bytes=number(row.get("freemem")),
        swap_used_bytes=number(row.get("swap")) if kind == "lxc" else None,
        swap_limit_bytes=number(row.get("maxswap")) if kind == "lxc" else None,
        pressures=tuple(_pressures(row)),
        disks=_bounded(_disks(row.get("blockstat")), MAX_DISKS),
        nics=_bounded(_nics(row.get("nics")), MAX_NICS),
    )


def netstat(data: object) -> dict[int, tuple[NicCounters, ...]]:
    """`/nodes/{node}/netstat`: the network cards of all running guests, by VMID; every value is a text."""
    found: dict[int, dict[str, NicCounters]] = {}
    for row in rows(data):
        vmid, device = number(row.get("vmid")), text(row.get("dev"))
        if vmid is not None and vmid == int(vmid) and device is not None and _NET.fullmatch(device):
            card = NicCounters(device, number(row.get("in")), number(row.get("out")))
            found.setdefault(int(vmid), {})[device] = card
    return {vmid: _bounded(cards.values(), MAX_NICS) for vmid, cards in found.items()}


def snapshots(data: object) -> GuestSnapshots:
    """`…/snapshot`. The row `current` stands for the present state and is no snapshot."""
    named = {name: row for row in rows(data) if (name := text(row.get("name"))) is not None}
    parent = text(named.pop("current", {}).get("parent"))
    chain: set[str] = set()
    while parent in named and parent not in chain:
        chain.add(parent)
        parent = text(named[parent].get("parent"))
    # One that is just being made has no time yet.
    times = [at for row in named.values() if (at := number(row.get("snaptime"))) is not None]
    return GuestSnapshots(count=len(named), oldest_at=min(times, default=None), depth=len(chain))


def pending_changes(data: object) -> int:
    """`…/pending`: how many options have another value than the running guest's, or wait to be removed."""
    keys = {
        key
        for row in rows(data)
        if (key := text(row.get("key"))) is not None and (row.get("pending") is not None or _removed(row.get("delete")))
    }
    return len(keys)


def filesystems(data: object) -> tuple[Filesystem, ...]:
    """`…/agent/get-fsinfo`: the file systems that last, sorted; one for each device, under its shortest mount point.

    Windows volumes have mount points such as `C:\\`. A guest agent before QEMU 3 tells no sizes: then there are none.
    """
    chosen: dict[str, Filesystem] = {}
    result = mapping(data).get("result")
    if isinstance(result, dict):
        return ()  # An agent whose administrator has switched this question off answers with an error of its own.
    for row in rows(result):
        mountpoint, size = text(row.get("mountpoint")), number(row.get("total-bytes"))
        kind = (text(row.get("type")) or "").lower()
        if mountpoint is None or not size or size < 0 or kind in _PASSING_TYPES or len(mountpoint) > 200:
            continue
        if f"{mountpoint}/".startswith(_PASSING_PLACES):
            continue
        device = text(row.get("name")) or mountpoint
        known = chosen.get(device)
        if known is None or (len(mountpoint), mountpoint) < (len(known.mountpoint), known.mountpoint):
            chosen[device] = Filesystem(mountpoint, size, number(row.get("used-bytes")))
    # Two devices mounted over each other: what is seen at that place is one file system.
    found = {filesystem.mountpoint: filesystem for filesystem in chosen.values()}
    return tuple(sorted(found.values(), key=lambda item: (len(item.mountpoint), item.mountpoint))[:MAX_FILESYSTEMS])


def _removed(value: object) -> bool:
    return flag(value) or number(value) == 2  # 2: even when the guest must be forced


def _pressures(row: Mapping[str, Any]) -> Iterable[Pressure]:
    for resource, stall in _PRESSURES:
        percent = number(row.get(f"pressure{resource}{stall}"))
        if percent is not None:
            yield Pressure(resource, stall, percent / 100)


def _disks(stats: object) -> Iterable[DiskCounters]:
    for device, row in stats.items() if isinstance(stats, dict) else ():
        if isinstance(row, dict) and _DISK.fullmatch(str(device)):
            yield DiskCounters(
                device=device,
                read_bytes=_counter(row.get("rd_bytes")),
                written_bytes=_counter(row.get("wr_bytes")),
                reads=_counter(row.get("rd_operations")),
                writes=_counter(row.get("wr_operations")),
            )


def _nics(cards: object) -> Iterable[NicCounters]:
    """`tap100i0` is net0 of VM 100."""
    for device, row in cards.items() if isinstance(cards, dict) else ():
        match = _TAP.fullmatch(str(device))
        if match is not None and isinstance(row, dict):
            name = f"net{int(match['index'])}"
            yield NicCounters(name, _counter(row.get("netin")), _counter(row.get("netout")))


def _counter(value: object) -> Number | None:
    found = number(value)
    return found if found is not None and found >= 0 else None


def _bounded(found: Iterable[_Device], limit: int) -> tuple[_Device, ...]:
    by_name = {item.device: item for item in found}
    return tuple(sorted(by_name.values(), key=lambda item: (len(item.device), item.device))[:limit])
