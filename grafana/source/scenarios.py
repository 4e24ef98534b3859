"""The situations in which every query is proved, and what can be expected of each.

A query names the features it `needs`. In a scenario that has all of them it must return something, and in one that
lacks any it must return nothing: so a panel that is wrongly empty is found, and one that is wrongly full as well.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that an installation has or lacks; `absent` tells a reader why a panel about it is then empty."""

    name: str
    absent: str


SEEN = Feature("seen", "no cluster is configured yet")
CLUSTERED = Feature("clustered", "a standalone host forms no cluster")
SEVERAL_NODES = Feature("several-nodes", "one node has no other")
HA = Feature("ha", "HA manages no guest here")
QDEVICE = Feature("qdevice", "there is no quorum device")
REPLICATION = Feature("replication", "no guest is replicated")
ZFS = Feature("zfs", "no node has a ZFS pool")
CEPH = Feature("ceph", "Proxmox VE runs no Ceph here")
BACKUP_JOBS = Feature("backup-jobs", "no backup job is configured")
BACKUP_FAILED = Feature("backup-failed", "no backup has failed")
TASKS_ENDED = Feature("tasks-ended", "no task has ended since pvewatch first looked")
SUBSCRIBED = Feature("subscribed", "no node has a subscription")
AGENTS = Feature("agents", "no guest has an agent")
PROBES = Feature("probes", "no guest asks to be probed")
SILENT = Feature("silent", "every guest that has an agent reports")
NODE_LOST = Feature("node-lost", "every node is there")
FIRING = Feature("firing", "no alert fires")
ACTED = Feature("acted", "nothing has been done to a guest yet")
ACTION_API = Feature("action-api", "the action API is not scraped")
EXPORTER = Feature("exporter", "the exporter is not scraped")

# Every installation that is watched has these; the fleet is all clusters together. What is counted for the whole
# installation, as actions are, is there whichever cluster is chosen.
_WATCHED = frozenset({SEEN, EXPORTER, ACTION_API, ACTED, TASKS_ENDED, BACKUP_JOBS})
_CLUSTER = _WATCHED | {CLUSTERED, SEVERAL_NODES, ZFS}
_USED = _CLUSTER | {HA, CEPH, QDEVICE, REPLICATION, SUBSCRIBED, AGENTS, PROBES}

FLEET = "fleet"
NOTHING_YET = "nothing-yet"

# Name → what it has. All but the first and the last are a cluster of that name, chosen alone.
SCENARIOS: dict[str, frozenset[Feature]] = {
    FLEET: _USED | {BACKUP_FAILED, SILENT, NODE_LOST, FIRING},
    "healthy": _USED,
    "standalone": _WATCHED,
    "node-lost": _CLUSTER | {HA, CEPH, NODE_LOST, FIRING},
    "migrated": _CLUSTER,
    "backup-failed": _CLUSTER | {BACKUP_FAILED},
    "hung-guest": _CLUSTER | {AGENTS, PROBES, SILENT, FIRING},
    NOTHING_YET: frozenset({EXPORTER}),
}
