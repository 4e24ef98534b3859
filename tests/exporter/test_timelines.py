"""Recorded minutes of a running 8.4 cluster, moment by moment: what the exporter says of each.

A timeline has each moment's states, uptimes and nodes; what else stands in a row is taken from the recording of the
healthy cluster.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.exporter.conftest import RECORDED_AT, Bench, Clock, RecordedCluster, recorded
from tests.pve.conftest import Answer

FOLDER = Path(__file__).parents[1] / "fixtures" / "recorded-8.4"
Make = Callable[..., Bench]
_GUEST_FIGURES = ("cpu", "mem", "disk", "netin", "netout", "diskread", "diskwrite", "uptime")
_WITHOUT_NUMBERS = (*_GUEST_FIGURES, "maxcpu", "maxmem", "maxdisk", "name", "template")


def moments(name: str) -> Iterator[dict[str, Any]]:
    """Those at which the cluster answered."""
    for line in (FOLDER / f"timeline-{name}.jsonl").read_text().splitlines():
        moment = json.loads(line)
        if moment.get("resources_code") == 200 and "res" in moment:
            yield moment


def show(pve: RecordedCluster, healthy: dict[str, dict[str, Any]], moment: dict[str, Any]) -> None:
    """Let the cluster answer as at that moment."""
    rows = []
    for name, status in moment["res"].items():
        kind = name.partition("/")[0]
        row = {**healthy.get(name, {"id": name, "type": kind}), "status": status}
        if kind == "storage":
            _, row["node"], row["storage"] = name.split("/")
        elif kind == "node":
            row["node"] = name.partition("/")[2]
            if name not in moment["uptime"]:
                row = {key: value for key, value in row.items() if key not in _GUEST_FIGURES}
        else:
            row |= {"vmid": int(name.partition("/")[2]), "node": moment["nodeof"][name]}
            if status == "unknown":
                row = {key: value for key, value in row.items() if key not in _WITHOUT_NUMBERS}
        if name in moment["uptime"]:
            row["uptime"] = moment["uptime"][name]
        rows.append(row)
    pve.answers["/cluster/resources"] = Answer(body=json.dumps({"data": rows}).encode())
    if moment.get("cs"):

        def edit(status_rows: list[dict[str, Any]]) -> None:
            for row in status_rows:
                if row["type"] == "cluster":
                    row["quorate"] = moment["cs"]["cluster"]
                else:
                    row["online"] = moment["cs"].get(f"node/{row['name']}", row["online"])

        pve.change("/cluster/status", edit)


@pytest.fixture
def healthy() -> dict[str, dict[str, Any]]:
    rows = json.loads(recorded("c3-cluster-resources").body)["data"]
    return {row["id"]: row for row in rows}


@pytest.fixture
def replay(
    pve: RecordedCluster, make_bench: Make, clock: Clock, healthy: dict[str, dict[str, Any]]
) -> Callable[[str], Iterator[tuple[dict[str, Any], Bench]]]:
    """Plays a timeline: after each moment's poll the moment and the exporter."""

    def play(name: str) -> Iterator[tuple[dict[str, Any], Bench]]:
        others = ("tasks", "quorum", "qdevice", "ha", "backup", "node", "node_history", "replication", "services")
        more = ("clock", "certificates", "subscription", "config", "guest_activity", "guest_snapshots")
        off = {other: {"enabled": False} for other in (*others, *more, "guest_pending", "guest_agent")}
        bench = make_bench(pve, collectors=off)
        for moment in moments(name):
            clock.now = RECORDED_AT + moment["t"]
            show(pve, healthy, moment)
            bench.poll()
            yield moment, bench

    return play


Replay = Callable[[str], Iterator[tuple[dict[str, Any], Bench]]]


def shown(bench: Bench, family: str) -> dict[str, str]:
    """Id → the present state of a state set."""
    found = {}
    for line in bench.lines(family):
        if line.endswith(" 1"):
            labels = dict(part.split("=") for part in line.partition("{")[2].partition("}")[0].split(","))
            found[labels["id"].strip('"')] = labels["status"].strip('"')
    return found


def test_guests_of_a_lost_node_are_unknown_as_soon_as_it_is_offline(replay: Replay) -> None:
    repeated = 0
    for moment, bench in replay("node-loss-and-pvestatd-stop"):
        guests, nodes = shown(bench, "pve_guest_status"), shown(bench, "pve_node_status")
        for name, node in moment["nodeof"].items():
            if moment["res"][f"node/{node}"] == "offline":
                repeated += moment["res"][name] == "running"
                assert guests[name] == "unknown", (moment["t"], name)
                assert bench.value("pve_cpu_usage_ratio", id=name) is None
            elif node == "pve1":  # its statistics went on all the time; those of pve2 were stopped as well
                assert guests[name] == moment["res"][name], (moment["t"], name)
        assert all(nodes[name] == status for name, status in moment["res"].items() if name.startswith("node/"))
    assert repeated, "the recording has moments in which Proxmox VE repeats what the dead node said last"


def test_where_statistics_have_stopped_nothing_is_said_to_be_down_and_frozen_figures_go(replay: Replay) -> None:
    withheld_while_repeated = 0
    for moment, bench in replay("pvestatd-stopped-6min"):
        guests = shown(bench, "pve_guest_status")
        for name, status in moment["res"].items():
            if name in guests and status == "running":
                assert guests[name] in ("running", "unknown"), (moment["t"], name)
                if guests[name] == "unknown":
                    withheld_while_repeated += 1
                    assert bench.value("pve_uptime_seconds", id=name) is None
            elif name in guests and status == "unknown":
                assert guests[name] == "unknown"
        # /cluster/status goes on to say that all nodes are there.
        assert bench.value("pve_cluster_nodes", state="offline") == 0
    assert withheld_while_repeated, "frozen figures go before Proxmox VE itself gives them up"


def test_lost_quorum_is_told_and_guests_out_of_sight_are_not_called_stopped(replay: Replay) -> None:
    lost = False
    for moment, bench in replay("quorum-loss"):
        if not moment.get("cs"):
            continue
        quorate = moment["cs"]["cluster"]
        assert bench.value("pve_cluster_quorate") == quorate, moment["t"]
        lost |= quorate == 0
        for name, status in shown(bench, "pve_guest_status").items():
            assert status != "stopped" or moment["res"][name] == "stopped", (moment["t"], name)
    assert lost


def test_when_quorum_is_back_everything_is_as_it_is_said(replay: Replay) -> None:
    *_, (moment, bench) = replay("quorum-restored")
    assert bench.value("pve_cluster_quorate") == moment["cs"]["cluster"] == 1
    assert shown(bench, "pve_guest_status") == {name: moment["res"][name] for name in moment["nodeof"]}
