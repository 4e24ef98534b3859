"""/nodes/N/disks and Ceph: disks, ZFS and thin pools of a node, the cluster's Ceph, and what is broken in them.

Every node has two NVMe disks for the system, an SSD and a hard disk, one in a Ceph cluster an SSD more for its OSD. A
single host has its guests on LVM and neither ZFS nor Ceph; two nodes have no Ceph. The shapes are those of the API
reference, the refusals recorded ones.
"""

from __future__ import annotations

from typing import Any

from pvewatch.simulator.answers import Answer, Refusal, failed
from pvewatch.simulator.figures import Wave, fraction
from pvewatch.simulator.readings import storage_used_bytes
from pvewatch.simulator.routes import Call, Parameter, Route
from pvewatch.simulator.world import GIB, MIB, Node, World

_SYS_AUDIT = ("/", "Sys.Audit")
_THIN_BYTES = 900 * GIB
_OSD_BYTES = 3840 * 10**9
_COPIES = 3
_MONITORS = 3


def disks(call: Call) -> Answer:
    """/nodes/N/disks/list: `wearout` is what is left in per cent, "N/A" for what is no SSD."""
    world, node = call.cluster.world, call.node
    if not call.token.may(f"/nodes/{node.name}", "Sys.Audit"):
        raise Refusal(403, "Permission check failed")
    failing, worn = (call.cluster.has_fault(kind, node.name) for kind in ("disk-failed", "disk-worn"))
    system = "ZFS" if world.has_zfs else "LVM"
    rows = [
        _disk(world, node, "/dev/nvme0n1", "nvme", "Samsung SSD 980 PRO 2TB", 2_000_398_934_016, system, worn=worn),
        _disk(world, node, "/dev/nvme1n1", "nvme", "Samsung SSD 980 PRO 2TB", 2_000_398_934_016, system),
        _disk(world, node, "/dev/sda", "ssd", "INTEL_SSDSC2KB960G8", 960_197_124_096, "LVM"),
        _disk(world, node, "/dev/sdb", "hdd", "ST4000NM000A-2HZ100", 4_000_787_030_016, "ext4", failing=failing),
    ]
    if world.has_ceph:
        rows.append(_disk(world, node, "/dev/sdc", "ssd", "SAMSUNG_MZ7L33T8HBLT", _OSD_BYTES, "LVM") | _osd(node))
    return Answer(rows)


def _osd(node: Node) -> dict[str, Any]:
    osd = str(node.nodeid - 1)
    return {"osdid": osd, "osdid-list": [osd], "bluestore": 1, "osdencrypted": 0}


def _disk(
    world: World,
    node: Node,
    devpath: str,
    kind: str,
    model: str,
    size: int,
    used: str,
    *,
    failing: bool = False,
    worn: bool = False,
) -> dict[str, Any]:
    own = fraction(world.seed, world.name, node.name, devpath)
    serial = f"S{int(own * 36**7):010d}"
    left = 4 if worn else 99 - int(own * 30)
    return {
        "devpath": devpath,
        "model": model,
        "vendor": "ATA     " if kind != "nvme" else "unknown",
        "serial": serial,
        "wwn": f"0x5000{int(own * 16**12):012x}" if kind != "nvme" else f"eui.{int(own * 16**16):016x}",
        "by_id_link": f"/dev/disk/by-id/{'nvme' if kind == 'nvme' else 'ata'}-{model.replace(' ', '_')}_{serial}",
        "size": size,
        "type": kind,
        # As text where udev tells it, as a number where it follows from the kind.
        "rpm": "7200" if kind == "hdd" else 0,
        "health": "FAILED!" if failing else "PASSED",
        "wearout": left if kind != "hdd" else "N/A",
        "used": used,
        "gpt": int(used != "LVM"),
        "osdid": -1,
        "osdid-list": None,
    }


def zfs(call: Call) -> Answer:
    """/nodes/N/disks/zfs: a pool that cannot be used has a size of 0."""
    world, node = call.cluster.world, call.node
    if not world.has_zfs:
        raise failed("zfsutils-linux not installed")
    if call.cluster.has_fault("pool-faulted", node.name):
        health, size, used = "FAULTED", 0, 0
    else:
        health = "DEGRADED" if call.cluster.has_fault("pool-degraded", node.name) else "ONLINE"
        size = 1856 * GIB
        used = storage_used_bytes(world, world.disk_storage, node, call.now)
    frag = 5 + int(25 * fraction(world.seed, world.name, node.name, "frag"))
    row = {"name": "rpool", "health": health, "size": size, "alloc": used, "free": size - used}
    return Answer([row | {"frag": frag if size else 0, "dedup": 1.0}])


def thin_pools(call: Call) -> Answer:
    """/nodes/N/disks/lvmthin: `used` and `metadata_used` are bytes."""
    world, node, minute = call.cluster.world, call.node, call.now // 60 * 60
    own = f"{world.seed}/{world.name}/{node.name}/thin"
    size, used = _THIN_BYTES, int(_THIN_BYTES * Wave(own, 0.4).at(minute))
    if not world.has_zfs:
        size, used = world.disk_storage.size_bytes, storage_used_bytes(world, world.disk_storage, node, call.now)
    metadata = max(GIB, size // 100) // MIB * MIB
    share = 0.93 if call.cluster.has_fault("thin-metadata", node.name) else Wave(f"{own}/metadata", 0.2).at(minute)
    return Answer(
        [
            {
                "lv": "data",
                "vg": "fast" if world.has_zfs else "pve",
                "lv_size": size,
                "used": used,
                "metadata_size": metadata,
                "metadata_used": int(metadata * share),
            }
        ]
    )


def ceph_status(call: Call) -> Answer:
    """/cluster/ceph/status, the same from each node: what `ceph status` and `ceph health detail` say together."""
    world = call.cluster.world
    if not call.token.may("/", "Sys.Audit", "Datastore.Audit"):
        raise Refusal(403, "Permission check failed (/, Sys.Audit|Datastore.Audit)")
    if not world.has_ceph:
        raise failed("binary not installed: /usr/bin/ceph-mon")
    nodes = list(world.nodes.values())
    lost = {node.name for node in nodes if node.offline_since is not None}
    monitors = [node.name for node in nodes[:_MONITORS]]
    quorum = [name for name in monitors if name not in lost]
    if call.cluster.has_fault("ceph-silent") or 2 * len(quorum) <= len(monitors):
        raise failed("got timeout")
    down = [node for node in nodes if node.name in lost or call.cluster.has_fault("osd-down", node.name)]
    health = _health(call, down=len(down), monitors_lost=len(monitors) - len(quorum))
    total = len(nodes) * _OSD_BYTES
    nearly_full = "OSD_NEARFULL" in health["checks"]
    used = int(total * (0.87 if nearly_full else Wave(f"{world.seed}/{world.name}/ceph", 0.3).at(call.now // 60 * 60)))
    groups = 32 * len(nodes) + 1
    short = min(groups, groups * len(down) // len(nodes))
    states = [("active+clean", groups - short), ("active+undersized+degraded", short)]
    return Answer(
        {
            "fsid": "5b8ae8c4-1f5c-4f4e-9a63-0c5c6a5d7e21",
            "health": health,
            "quorum": list(range(len(quorum))),
            "quorum_names": quorum,
            "monmap": {"num_mons": len(monitors), "mons": [{"name": name} for name in monitors]},
            "osdmap": {
                "num_osds": len(nodes),
                "num_up_osds": len(nodes) - len(down),
                "num_in_osds": len(nodes),
                "num_remapped_pgs": 0,
            },
            "pgmap": {
                "num_pgs": groups,
                "pgs_by_state": [{"state_name": name, "count": count} for name, count in states if count],
                "bytes_total": total,
                "bytes_used": used,
                "bytes_avail": total - used,
                "data_bytes": used // _COPIES,
            },
        }
    )


def _health(call: Call, *, down: int, monitors_lost: int) -> dict[str, Any]:
    found: list[tuple[str, str, str]] = []
    if call.cluster.has_fault("ceph-error"):
        found.append(("PG_DAMAGED", "HEALTH_ERR", "Possible data damage: 1 pg inconsistent"))
    if call.cluster.has_fault("ceph-warning"):
        found.append(("OSD_NEARFULL", "HEALTH_WARN", "1 nearfull osd(s)"))
    if monitors_lost:
        found.append(("MON_DOWN", "HEALTH_WARN", f"{monitors_lost}/{_MONITORS} mons down"))
    if down:
        found.append(("OSD_DOWN", "HEALTH_WARN", f"{down} osds down"))
        found.append(("PG_DEGRADED", "HEALTH_WARN", "Degraded data redundancy"))
    checks = {
        code: {"severity": severity, "summary": {"message": text, "count": 1}, "detail": [], "muted": False}
        for code, severity, text in found
    }
    severities = {severity for _, severity, _ in found}
    worst = next((state for state in ("HEALTH_ERR", "HEALTH_WARN") if state in severities), "HEALTH_OK")
    return {"status": worst, "checks": checks, "mutes": []}


ROUTES = (
    Route(
        "GET",
        "/nodes/{node}/disks/list",
        disks,
        parameters=(
            Parameter("include-partitions", "boolean"),
            Parameter("skipsmart", "boolean"),
            Parameter("type", ("unused", "journal_disks")),
        ),
    ),
    Route("GET", "/nodes/{node}/disks/zfs", zfs, permission=_SYS_AUDIT),
    Route("GET", "/nodes/{node}/disks/lvmthin", thin_pools, permission=_SYS_AUDIT),
    Route("GET", "/cluster/ceph/status", ceph_status),
    Route("GET", "/nodes/{node}/ceph/status", ceph_status),
)
