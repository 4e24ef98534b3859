"""The answers have the keys and JSON types of the recorded ones."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.simulator.conftest import Bench, recorded

# Recordings of running, healthy servers; for each version every endpoint that is simulated and recorded.
COMPARED = {
    "8.4": (
        *("version", "cluster-resources-type-node", "c3-cluster-resources", "c3-cluster-status"),
        *("c3-cluster-tasks", "cluster-tasks-running", "c3-ha-status-current", "cluster-backup-info-not-backed-up"),
        *("c3-nodes", "node-version", "node-status", "c3-pve2-status", "node-storage", "node-services", "node-time"),
        *("node-subscription", "node-certificates-info", "node-tasks", "node-tasks-active", "node-tasks-errors"),
        *("qemu-list", "qemu-list-full", "lxc-list", "c3-pve2-qemu", "qemu-100-config", "lxc-200-config"),
        *("qemu-100-status-current", "qemu-101-status-current-agent", "c3-ha-qemu-111-current"),
        *("c3-cluster-config-nodes", "cluster-backup", "c3-ha-groups", "node-rrddata-hour"),
        *("qemu-9000-status-current-template", "lxc-200-status-current", "lxc-201-status-current-stopped"),
    ),
    "9.2": (
        *("version", "cluster-resources", "cluster-status", "cluster-tasks", "ha-status-current"),
        *("node-rrddata-hour", "not-backed-up", "nodes", "node-status", "node-storage", "node-services"),
        "node-subscription",
        *("node-certificates-info", "node-tasks", "qemu-list", "lxc-list", "qemu-100-config", "qemu-100-current"),
        *("lxc-200-current-stopped",),
    ),
}
# Keys that stand in a row only when they are set, and were or were not in that recording.
ONLY_WHEN_SET = {
    *("lock", "tags", "pool", "agent", "template"),
    *("cores", "ostype", "scsihw"),  # of a configuration
    "hastate",  # once HA manages something
    "status",  # running tasks have none in the list of the cluster
}
EXEMPT = {
    ("9.2", "node-subscription", "serverid"): "null on the recorded machine, text on any other",
    ("9.2", "qemu-100-current", "proxmox-support"): "the recorded machine ran a QEMU without it",
    ("8.4", "c3-ha-qemu-111-current", "blockstat"): "the recorded one has no disk",
}


def shape(value: Any, place: str = "") -> dict[str, set[str]]:
    """Path of every key → the JSON types seen there; rows of a list are one thing."""
    if isinstance(value, dict):
        shapes = {place: {"object"}} if place else {}
        for key, inner in value.items():
            name = f"{place}.{key}" if place else key
            for path, types in shape(inner, name).items():
                shapes.setdefault(path, set()).update(types)
        return shapes
    if isinstance(value, bool):
        return {place: {"boolean"}}
    if isinstance(value, int | float):
        return {place: {"number"}}
    if isinstance(value, list):
        return {place: {"array"}}
    return {place: {"null" if value is None else "string"}}


def kind(row: dict[str, Any]) -> tuple[Any, ...]:
    """What kind of row it is: rows of one list have different keys for good reasons."""
    if "upid" in row:
        return ("task", "endtime" in row, "tokenid" in row)
    status = row.get("status") if row.get("type") != "lrm" and row.get("type") != "master" else None
    if row.get("type") in ("service", "quorum", "fencing"):
        status = None
    return (row.get("type"), status, row.get("template"), row.get("active"))


def rows_by_kind(data: Any) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """An object counts as one row."""
    rows = data if isinstance(data, list) else [data]
    grouped: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(kind(row) if isinstance(data, list) else (), []).append(row)
    return grouped


@pytest.mark.parametrize(
    ("version", "name"), [(version, name) for version, names in COMPARED.items() for name in names]
)
def test_an_answer_has_the_shape_of_the_recorded_one(bench: Bench, single: Bench, version: str, name: str) -> None:
    asked = recorded(version, name)
    server = bench if version == "8.4" else single
    if "tasks" in name:
        server.post(f"/nodes/{'pve1' if version == '8.4' else 'pve9'}/qemu/100/status/start")
        server.wait(60)
        server.post(f"/nodes/{'pve1' if version == '8.4' else 'pve9'}/qemu/100/status/shutdown")
    ours, theirs = rows_by_kind(server.get(asked.path, **asked.parameters)), rows_by_kind(asked.body["data"])
    assert set(ours) & set(theirs)
    problems = set()
    for row_kind in set(ours) & set(theirs):
        their = [shape(row) for row in theirs[row_kind]]
        for row in map(shape, ours[row_kind]):
            problems |= differences(row, their)
    assert not {
        problem
        for problem in problems
        if problem.split()[0] not in ONLY_WHEN_SET and (version, name, re.split(r"[ .]", problem)[0]) not in EXEMPT
    }


def differences(row: dict[str, set[str]], their: list[dict[str, set[str]]]) -> set[str]:
    """What is different between one of our rows and all recorded ones of its kind."""
    always, ever = set.intersection(*map(set, their)), set.union(*map(set, their))
    found = {f"{key} is missing" for key in always - set(row)} | {f"{key} is not recorded" for key in set(row) - ever}
    for key in set(row) & ever:
        types = set.union(*(recorded_row.get(key, set()) for recorded_row in their))
        if not row[key] <= types:
            found.add(f"{key} is {row[key]}, recorded {types}")
    return found


@pytest.mark.parametrize("name", ["cluster-replication", "node-replication"])
def test_without_replication_the_lists_are_empty(bench: Bench, name: str) -> None:
    asked = recorded("8.4", name)
    assert bench.get(asked.path) == asked.body["data"] == []


def test_every_kind_of_row_is_compared(bench: Bench) -> None:
    whole = recorded("8.4", "c3-cluster-resources").body["data"]
    unknown = ("storage", "unknown", None, None)  # the recorded dead NFS: no such storage is simulated
    assert set(rows_by_kind(whole)) - {unknown} == set(rows_by_kind(bench.get("/cluster/resources")))
