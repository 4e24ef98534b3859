"""Answers of Proxmox VE about the cluster as a whole → models: votes, HA, backup and replication jobs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pvewatch.pve.models_cluster import (
    BackupJob,
    HaDaemon,
    HaPlacement,
    HaService,
    HaStatus,
    QDevice,
    ReplicationJob,
    UnprotectedGuests,
    VotingNode,
)
from pvewatch.pve.parsers import flag, mapping, number, rows, text

# `pve3 (active, Sat Nov 21 09:30:54 2026)`; where nothing is known `pve3 (unable to read lrm status)`.
_BRACKETS = re.compile(r"\((?P<word>[^,()]+)[,)]")


def voting_nodes(data: object) -> tuple[VotingNode, ...]:
    """`/cluster/config/nodes`, by name; a standalone host has none. Votes come as strings."""
    found = {}
    for row in rows(data):
        name = text(row.get("node")) or text(row.get("name"))
        if name is not None:
            found[name] = VotingNode(name, _whole(row.get("quorum_votes")))
    return tuple(found[name] for name in sorted(found))


def qdevice(data: object) -> QDevice | None:
    """`/cluster/config/qdevice`; an empty mapping, or null, when none is set up."""
    row = mapping(data if data is not None else {})
    if not row:
        return None
    return QDevice(
        state=text(row.get("State")),
        model=text(row.get("Model")),
        algorithm=text(row.get("Algorithm")),
        qnetd_host=text(row.get("QNetd host")),
        tie_breaker=text(row.get("Tie-breaker")),
    )


def ha_status(data: object) -> HaStatus:
    """`/cluster/ha/status/current`; PVE puts its word for a daemon's state into a sentence."""
    quorate: bool | None = None
    master: HaDaemon | None = None
    armed: str | None = None
    lrms: dict[str, HaDaemon] = {}
    services: dict[str, HaService] = {}
    for row in rows(data):
        kind, node = row.get("type"), text(row.get("node"))
        if kind == "quorum" and "quorate" in row:
            quorate = flag(row.get("quorate"))
        elif kind == "master" and node:
            master = _daemon(row, node)
        elif kind == "lrm" and node:
            lrms[node] = _daemon(row, node)
        elif kind == "fencing":
            armed = text(row.get("armed-state"))
        elif kind == "service":
            sid = text(row.get("sid")) or (text(row.get("id")) or "").removeprefix("service:")
            if sid:
                state = text(row.get("state")) or text(row.get("crm_state"))
                services[sid] = HaService(sid, node, state, text(row.get("request_state")))
    return HaStatus(
        quorate=quorate,
        master=master,
        lrms=tuple(lrms[node] for node in sorted(lrms)),
        services=tuple(services[sid] for sid in sorted(services)),
        armed=armed,
    )


def _daemon(row: Mapping[str, Any], node: str) -> HaDaemon:
    match = _BRACKETS.search(text(row.get("status")) or "")
    return HaDaemon(node, match["word"].strip() if match else None, number(row.get("timestamp")))


def ha_groups(data: object) -> tuple[HaPlacement, ...]:
    """`/cluster/ha/groups` of PVE 7 and 8."""
    names = {name for row in rows(data) if (name := text(row.get("group")))}
    return tuple(HaPlacement(name, "group", True) for name in sorted(names))


def ha_rules(data: object) -> tuple[HaPlacement, ...]:
    """`/cluster/ha/rules` of PVE 9; a rule that is off has `disable` 1."""
    found = {}
    for row in rows(data):
        name = text(row.get("rule"))
        if name is not None:
            found[name] = HaPlacement(name, text(row.get("type")) or "", not flag(row.get("disable")))
    return tuple(found[name] for name in sorted(found))


def backup_jobs(data: object) -> tuple[BackupJob, ...]:
    """`/cluster/backup`, by id. A job without `enabled` is on; PVE 7 gives no next run."""
    found = {}
    for row in rows(data):
        name = text(row.get("id"))
        if name is not None:
            found[name] = BackupJob(
                id=name,
                enabled=flag(row["enabled"]) if "enabled" in row else True,
                schedule=text(row.get("schedule")),
                storage=text(row.get("storage")),
                mode=text(row.get("mode")),
                next_run=number(row.get("next-run")),
            )
    return tuple(found[name] for name in sorted(found))


def not_backed_up(data: object) -> UnprotectedGuests:
    """`/cluster/backup-info/not-backed-up`: guests, templates included, that no job covers."""
    ids = set()
    for row in rows(data):
        vmid, kind = _whole(row.get("vmid")), row.get("type")
        if vmid is not None and kind in ("qemu", "lxc"):
            ids.add(f"{kind}/{vmid}")
    return UnprotectedGuests(tuple(sorted(ids)))


def replication_jobs(data: object) -> tuple[ReplicationJob, ...]:
    """`/nodes/{node}/replication`, by id."""
    found = {}
    for row in rows(data):
        name = text(row.get("id"))
        if name is not None:
            found[name] = ReplicationJob(
                id=name,
                type=text(row.get("type")),
                source=text(row.get("source")),
                target=text(row.get("target")),
                guest=_whole(row.get("guest")),
                guest_kind=text(row.get("vmtype")),
                enabled=not flag(row.get("disable")),
                duration_seconds=number(row.get("duration")),
                last_sync=number(row.get("last_sync")),
                last_try=number(row.get("last_try")),
                next_sync=number(row.get("next_sync")),
                fail_count=number(row.get("fail_count")),
            )
    return tuple(found[name] for name in sorted(found))


def _whole(value: object) -> int | None:
    found = number(value)
    return int(found) if found is not None and found == int(found) else None
