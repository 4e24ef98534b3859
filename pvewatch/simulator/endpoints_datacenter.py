"""Votes, backup jobs, HA groups or rules, and nodes' histories: what is asked about a whole datacenter, seldom."""

from __future__ import annotations

import math
from typing import Any

from pvewatch.simulator.answers import Answer, failed, not_implemented
from pvewatch.simulator.figures import Wave
from pvewatch.simulator.routes import Call, Parameter, Route
from pvewatch.simulator.world import GIB

_SYS_AUDIT = ("/", "Sys.Audit")
_BACKUP_HOUR = 2
_DAY = 86400
_MINUTES_KEPT = 70


def voting_nodes(call: Call) -> Answer:
    """/cluster/config/nodes: numbers are strings; empty on a single host, which has no corosync."""
    world = call.cluster.world
    if not world.clustered:
        return Answer([])
    return Answer(
        [
            {
                "name": node.name,
                "node": node.name,
                "nodeid": str(node.nodeid),
                "quorum_votes": "1",
                "ring0_addr": node.ip,
            }
            for node in world.nodes.values()
        ]
    )


def backup_jobs(call: Call) -> Answer:
    """/cluster/backup: one job at night, with all guests that /cluster/backup-info/not-backed-up does not name."""
    guests = call.cluster.world.guests.values()
    kept = [str(guest.vmid) for guest in guests if not guest.template and guest.vmid % 5]
    row: dict[str, Any] = {
        "id": "backup-nightly",
        "type": "vzdump",
        "enabled": 1,
        "mode": "snapshot",
        "schedule": f"{_BACKUP_HOUR:02}:30",
        "storage": "nas",
        "vmid": ",".join(kept),
        "next-run": _next_backup(call.now),
    }
    return Answer([row])


def _next_backup(now: float) -> int:
    moment = int(now) // _DAY * _DAY + _BACKUP_HOUR * 3600 + 1800
    return moment if moment > now else moment + _DAY


def ha_groups(call: Call) -> Answer:
    """/cluster/ha/groups: gone since 9, which says where to."""
    if call.cluster.world.version.major >= 9:
        raise failed("cannot index groups: ha groups have been migrated to rules")
    groups = sorted({guest.ha_group for guest in call.cluster.world.guests.values() if guest.ha_group})
    members = ",".join(call.cluster.world.nodes)
    return Answer([{"group": name, "nodes": members, "type": "group", "digest": "0" * 40} for name in groups])


def ha_rules(call: Call) -> Answer:
    """/cluster/ha/rules: since 9."""
    if call.cluster.world.version.major < 9:
        raise not_implemented("GET", "/cluster/ha/rules")
    found: dict[str, list[str]] = {}
    for guest in call.cluster.world.guests.values():
        if guest.ha_group:
            found.setdefault(guest.ha_group, []).append(f"{'vm' if guest.kind == 'qemu' else 'ct'}:{guest.vmid}")
    members = ",".join(call.cluster.world.nodes)
    return Answer(
        [
            {
                "rule": name,
                "type": "node-affinity",
                "resources": ",".join(resources),
                "nodes": members,
                "order": place,
                "digest": "0" * 40,
            }
            for place, (name, resources) in enumerate(sorted(found.items()), start=1)
        ]
    )


def history(call: Call) -> Answer:
    """/nodes/N/rrddata: a row for each minute; of those in which nobody wrote statistics only the time.

    Plausible, and no sum of the guests: that for each minute would cost more than all other answers.
    """
    world, node = call.cluster.world, call.node
    newest = math.floor(call.now / 60) * 60
    written_until = call.cluster.published_at(node)
    rows = []
    for moment in range(newest - 60 * (_MINUTES_KEPT - 1), newest + 60, 60):
        row: dict[str, Any] = {"time": moment}
        if node.booted_at < moment <= written_until:
            row |= _sample(call, f"{world.seed}/{world.name}/{node.name}", float(moment))
        rows.append(row)
    return Answer(rows)


def _sample(call: Call, own: str, moment: float) -> dict[str, Any]:
    node = call.node
    cpu = Wave(f"{own}/cpu", 0.3).at(moment)
    used = int(node.memory_bytes * 0.6)
    row: dict[str, Any] = {
        "cpu": cpu,
        "iowait": Wave(f"{own}/wait", 0.008).at(moment),
        "loadavg": cpu * node.cores,
        "maxcpu": node.cores,
        "memtotal": node.memory_bytes,
        "memused": used,
        "netin": 4e6 * Wave(f"{own}/netin", 0.5).at(moment),
        "netout": 2e6 * Wave(f"{own}/netout", 0.5).at(moment),
        "roottotal": node.disk_bytes,
        "rootused": int(node.disk_bytes * 0.2),
        "swaptotal": 8 * GIB,
        "swapused": int(GIB * Wave(f"{own}/swap", 0.4).at(moment)),
    }
    if call.cluster.world.version.major >= 9:
        row |= {"arcsize": 2 * GIB, "memavailable": node.memory_bytes - used}
        for name in ("cpusome", "iosome", "iofull", "memorysome", "memoryfull"):
            row[f"pressure{name}"] = 100 * Wave(f"{own}/pressure{name}", 0.02).at(moment)
    return row


ROUTES = (
    Route("GET", "/cluster/config/nodes", voting_nodes, permission=_SYS_AUDIT),
    Route("GET", "/cluster/backup", backup_jobs, permission=_SYS_AUDIT),
    Route("GET", "/cluster/ha/groups", ha_groups, permission=_SYS_AUDIT),
    Route("GET", "/cluster/ha/rules", ha_rules, permission=_SYS_AUDIT),
    Route(
        "GET",
        "/nodes/{node}/rrddata",
        history,
        (Parameter("timeframe", ("hour", "day", "week", "month", "year")), Parameter("cf", ("AVERAGE", "MAX"))),
        permission=("/nodes/{node}", "Sys.Audit"),
    ),
)
