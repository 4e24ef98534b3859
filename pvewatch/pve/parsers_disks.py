"""Answers of Proxmox VE about disks, ZFS and thin pools of a node, and about Ceph → models.

What is read follows the API reference and the sources of Proxmox VE (pve-storage: PVE/Diskmanage.pm, PVE/API2/Disks;
pve-manager: PVE/Ceph/Tools.pm). Recorded are answers of servers with a virtual disk and without ZFS and Ceph only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pvewatch.pve.models import Number
from pvewatch.pve.models_disks import (
    CephStatus,
    Disk,
    DiskHealth,
    NodeDisks,
    NodeThinPools,
    NodeZfs,
    ThinPool,
    ZfsPool,
)
from pvewatch.pve.parsers import WrongShape, amount, mapping, number, rows, text

# More than any node has: a list beyond this is not that list.
MAX_DISKS = 256
MAX_POOLS = 64
# Ceph knows some 70 checks and two dozen words for placement groups, of which few come together.
MAX_CHECKS = 64
MAX_PLACEMENT_STATES = 32
OTHER = "other"
_LONGEST_WORD = 64
# What smartctl says of a sound disk: ATA and NVMe, SAS.
_SOUND = frozenset({"PASSED", "OK"})


def disks(data: object, node: str) -> NodeDisks:
    """`/nodes/{node}/disks/list`, by name; a row without a device is left out.

    Several rows with one serial number (a disk seen on two paths, namespaces of an NVMe disk, cheap USB enclosures)
    are told apart by their devices.
    """
    found: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for row in rows(data):
        device = _word(row.get("devpath"))
        if device is not None:
            found[device] = (_word(row.get("serial")) or _word(row.get("wwn")) or device, row)
    shared = Counter(name for name, _ in found.values())
    named = {
        f"{name} {device}" if shared[name] > 1 else name: (device, row) for device, (name, row) in sorted(found.items())
    }
    return NodeDisks(node, tuple(_disk(name, *named[name]) for name in sorted(named)[:MAX_DISKS]))


def _disk(name: str, device: str, row: Mapping[str, Any]) -> Disk:
    return Disk(
        name=name,
        device=device,
        health=_health(row.get("health")),
        wear_ratio=_wear(row.get("wearout")),
        size_bytes=amount(row.get("size")),
        type=_word(row.get("type")),
        model=_word(row.get("model")),
        serial=_word(row.get("serial")),
        wwn=_word(row.get("wwn")),
        use=_word(row.get("used")),
    )


def _health(value: object) -> DiskHealth:
    """ATA and NVMe disks say FAILED!, SAS disks sentences such as FAILURE PREDICTION THRESHOLD EXCEEDED.

    Virtual disks and those behind a RAID controller say nothing: UNKNOWN, or that SMART is disabled.
    """
    said = (text(value) or "").strip().upper()
    if said in _SOUND:
        return "passed"
    return "failed" if "FAIL" in said else "unknown"


def _wear(value: object) -> float | None:
    """PVE's `wearout` is the per cent of life that is *left*, 100 for a new disk, and below 0 beyond the rated life.

    It is 100 less NVMe's and SAS's "Percentage Used", or the normalized value of an ATA attribute, which counts down.
    More than 100 is a vendor's own scale and says nothing.
    """
    left = number(value)
    return None if left is None or left > 100 else min(1.0, (100 - left) / 100)


def zfs_pools(data: object, node: str) -> NodeZfs:
    """`/nodes/{node}/disks/zfs`, by name. A pool that cannot be used has a size of 0, which is not known."""
    found = {}
    for row in rows(data):
        name = _word(row.get("name"))
        if name is not None:
            size = amount(row.get("size")) or None
            fragmentation = amount(row.get("frag"))
            known = size is not None
            found[name] = ZfsPool(
                name=name,
                health=_word(row.get("health")),
                size_bytes=size,
                allocated_bytes=amount(row.get("alloc")) if known else None,
                free_bytes=amount(row.get("free")) if known else None,
                fragmentation_ratio=fragmentation / 100 if known and fragmentation is not None else None,
            )
    return NodeZfs(node, tuple(found[name] for name in sorted(found)[:MAX_POOLS]))


def thin_pools(data: object, node: str) -> NodeThinPools:
    """`/nodes/{node}/disks/lvmthin`, by name."""
    found = {}
    for row in rows(data):
        volume = _word(row.get("lv"))
        if volume is not None:
            name = f"{_word(row.get('vg')) or ''}/{volume}"
            found[name] = ThinPool(
                name=name,
                size_bytes=amount(row.get("lv_size")),
                used_bytes=amount(row.get("used")),
                metadata_size_bytes=amount(row.get("metadata_size")),
                metadata_used_bytes=amount(row.get("metadata_used")),
            )
    return NodeThinPools(node, tuple(found[name] for name in sorted(found)[:MAX_POOLS]))


def ceph_status(data: object) -> CephStatus:
    """`/cluster/ceph/status`. Raises WrongShape where it says nothing of health: then it is no status of Ceph.

    Since Ceph 15 `osdmap` holds the figures itself, before another `osdmap`.
    """
    row = mapping(data)
    health = _part(row, "health")
    if not health:
        raise WrongShape("the answer has no health of Ceph")
    osds = _part(row, "osdmap")
    osds = _part(osds, "osdmap") or osds
    monitors, groups = _part(row, "monmap"), _part(row, "pgmap")
    return CephStatus(
        health=_word(health.get("status")) or _word(health.get("overall_status")),
        checks=_checks(health.get("checks")),
        osds=amount(osds.get("num_osds")),
        osds_up=amount(osds.get("num_up_osds")),
        osds_in=amount(osds.get("num_in_osds")),
        monitors=_length(monitors.get("mons"), monitors.get("num_mons")),
        monitors_in_quorum=_length(row.get("quorum_names"), row.get("quorum")),
        size_bytes=amount(groups.get("bytes_total")),
        used_bytes=amount(groups.get("bytes_used")),
        available_bytes=amount(groups.get("bytes_avail")),
        placement_groups=_placement_groups(groups.get("pgs_by_state")),
    )


def _checks(value: object) -> dict[str, str]:
    found = {}
    for code, check in sorted(value.items()) if isinstance(value, dict) else ():
        # A muted check is one that somebody wants to hear nothing of; Ceph leaves it out of its health too.
        if isinstance(check, dict) and not check.get("muted"):
            found[str(code)[:_LONGEST_WORD]] = _word(check.get("severity")) or OTHER
    return dict(list(found.items())[:MAX_CHECKS])


def _placement_groups(value: object) -> dict[str, Number]:
    counted: dict[str, Number] = {}
    for row in rows(value) if isinstance(value, list) else ():
        state, count = _word(row.get("state_name")), amount(row.get("count"))
        if state and count is not None:
            name = state if state in counted or len(counted) < MAX_PLACEMENT_STATES else OTHER
            counted[name] = counted.get(name, 0) + count
    return counted


def _part(row: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = row.get(name)
    return found if isinstance(found, dict) else {}


def _length(*values: object) -> Number | None:
    """How many the first value that tells counts: a list's length, or the number itself."""
    told: Iterable[Number | None] = (len(value) if isinstance(value, list) else number(value) for value in values)
    return next((found for found in told if found is not None), None)


def _word(value: object) -> str | None:
    """A text of bounded length; PVE says `unknown` where it has none."""
    found = " ".join((text(value) or "").split())[:_LONGEST_WORD].strip()
    return None if not found or found == "unknown" else found
