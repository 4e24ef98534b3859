"""Snapshots, pending changes and guest agents: one call for each guest, spread over time."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from exporter.collectors import guest_snapshots, sweep
from tests.exporter.conftest import Bench, Clock, RecordedCluster, recorded
from tests.pve.conftest import Answer

SNAPSHOTS = "/nodes/pve1/qemu/100/snapshot"
FSINFO = "/nodes/pve1/qemu/100/agent/get-fsinfo"
PING = "/nodes/pve1/qemu/100/agent/ping"
FORBIDDEN = recorded("as-vmpower-only-100-qemu-101-current")
# What `qm guest cmd ID get-fsinfo` prints, as the API wraps it.
FILESYSTEMS = Answer(
    body=json.dumps(
        {
            "data": {
                "result": [
                    {"mountpoint": "/snap/firefox/6782", "name": "loop19", "type": "squashfs", "total-bytes": 9},
                    {
                        "mountpoint": "/boot",
                        "name": "sda2",
                        "type": "ext4",
                        "total-bytes": 1916223488,
                        "used-bytes": 275972096,
                    },
                ]
            }
        }
    ).encode()
)
Make = Callable[..., Bench]


@pytest.fixture
def guests(pve: RecordedCluster) -> RecordedCluster:
    """The cluster with snapshots and pending changes of its first node's guests, and an agent in the VM 100."""
    pve.answers[SNAPSHOTS] = recorded("qemu-101-snapshot-list")
    pve.answers["/nodes/pve1/qemu/101/snapshot"] = recorded("qemu-100-snapshot")
    pve.answers["/nodes/pve1/lxc/200/snapshot"] = recorded("lxc-200-snapshot")
    pve.answers["/nodes/pve1/qemu/100/pending"] = recorded("qemu-100-pending")
    pve.answers[FSINFO] = FILESYSTEMS
    pve.answers[PING] = Answer(body=b'{"data":{"result":{}}}')
    pve.change("/nodes/pve1/qemu/100/config", lambda row: {**row, "agent": "1"})
    return pve


@pytest.fixture
def version_9(guests: RecordedCluster) -> RecordedCluster:
    """The same on a node that says it is PVE 9."""
    guests.answers["/version"] = recorded("version", "recorded-9.2")
    status = recorded("node-status", "recorded-9.2")
    guests.answers["/nodes/pve1/status"] = status
    return guests


def later(bench: Bench, clock: Clock, pve: RecordedCluster, seconds: float) -> None:
    """Some time passes, and the node's figures go on."""
    clock.now += seconds

    def advance(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            if row["type"] == "node":
                row["uptime"] = row.get("uptime", 0) + int(seconds) + 1

    pve.change("/cluster/resources", advance)
    bench.poll()


@pytest.fixture
def eager(guests: RecordedCluster, make_bench: Make) -> Bench:
    """An exporter whose runs come at every poll."""
    return make_bench(guests, node_interval_seconds=0.001)


def test_snapshots_are_counted_with_the_oldest_and_the_depth(guests: RecordedCluster, bench: Bench) -> None:
    bench.poll()
    assert bench.value("pve_guest_snapshots", id="qemu/100") == 1
    assert bench.value("pve_guest_snapshot_oldest_timestamp_seconds", id="qemu/100") == 1795252874
    assert bench.value("pve_guest_snapshot_depth", id="qemu/100") == 1


def test_a_guest_without_snapshots_has_none_and_no_oldest(guests: RecordedCluster, bench: Bench) -> None:
    bench.poll()
    assert bench.value("pve_guest_snapshots", id="lxc/200") == 0
    assert bench.value("pve_guest_snapshot_oldest_timestamp_seconds", id="lxc/200") is None
    assert bench.value("pve_guest_snapshot_depth", id="lxc/200") is None


def test_templates_are_not_asked(guests: RecordedCluster, bench: Bench) -> None:
    bench.poll()
    assert guests.asked("/9000/snapshot") == guests.asked("/9000/pending") == 0


def test_changes_that_wait_for_a_start_are_counted(guests: RecordedCluster, bench: Bench) -> None:
    bench.poll()
    assert bench.value("pve_guest_pending_changes", id="qemu/100") == 0


def test_a_guest_that_is_forbidden_is_told_and_the_others_are_shown(guests: RecordedCluster, bench: Bench) -> None:
    guests.answers[SNAPSHOTS] = FORBIDDEN
    bench.poll()
    assert bench.value("pve_guest_snapshots", id="qemu/100") is None
    assert bench.value("pve_guest_snapshots", id="lxc/200") == 0
    assert bench.value("pve_collector_error", collector="guest_snapshots", node="pve1", **{"class": "forbidden"}) == 1


def test_a_guest_is_asked_again_only_when_it_is_its_turn(guests: RecordedCluster, eager: Bench, clock: Clock) -> None:
    eager.poll()
    later(eager, clock, guests, 300)
    assert guests.asked("/qemu/100/snapshot") == 1
    later(eager, clock, guests, 1500)
    assert guests.asked("/qemu/100/snapshot") == 2


def test_the_configuration_sets_how_often_a_guest_is_asked(
    guests: RecordedCluster, make_bench: Make, clock: Clock
) -> None:
    often = {"guest_snapshots": {"interval_seconds": 60}}
    bench = make_bench(guests, node_interval_seconds=0.001, collectors=often)
    bench.poll()
    later(bench, clock, guests, 60)
    assert guests.asked("/qemu/100/snapshot") == 2


def test_a_collector_that_is_switched_off_asks_nothing(guests: RecordedCluster, make_bench: Make) -> None:
    make_bench(guests, collectors={"guest_snapshots": {"enabled": False}}).poll()
    assert guests.asked("/snapshot") == 0


def test_a_refusal_later_on_keeps_the_last_answer(guests: RecordedCluster, eager: Bench, clock: Clock) -> None:
    eager.poll()
    guests.answers[SNAPSHOTS] = FORBIDDEN
    later(eager, clock, guests, 1800)
    assert guests.asked("/qemu/100/snapshot") == 2
    assert eager.value("pve_guest_snapshots", id="qemu/100") == 1


def test_a_node_that_cannot_be_reached_ends_the_run_and_keeps_what_is_known(
    guests: RecordedCluster, eager: Bench, clock: Clock
) -> None:
    eager.poll()
    guests.answers[SNAPSHOTS] = guests.answers["/nodes/pve1/lxc/200/snapshot"] = Answer(595, "No route to host", b"")
    later(eager, clock, guests, 1800)
    assert eager.value("pve_guest_snapshots", id="qemu/100") == 1
    assert eager.value("pve_collector_error", collector="guest_snapshots", node="pve1", **{"class": "unreachable"}) == 1


def test_no_more_guests_are_asked_in_a_minute_than_planned(
    guests: RecordedCluster, make_bench: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = json.loads(recorded("c3-cluster-resources").body)["data"]
    model = next(row for row in many if row["id"] == "qemu/100")
    many += [{**model, "id": f"qemu/{vmid}", "vmid": vmid} for vmid in range(1000, 1200)]
    guests.answers["/cluster/resources"] = Answer(body=json.dumps({"data": many}).encode())
    for vmid in range(1000, 1200):
        guests.answers[f"/nodes/pve1/qemu/{vmid}/snapshot"] = recorded("qemu-100-snapshot")
    # The others would only take their turns at the same pace.
    others = {name: {"enabled": False} for name in ("config", "guest_pending", "guest_activity")}
    # As many as were due meanwhile are asked at no bounded rate here: that has a test of its own.
    monkeypatch.setattr("exporter.service.CALLS_PER_SECOND", 1e6)
    bench = make_bench(guests, node_interval_seconds=0.001, collectors=others)
    bench.poll()
    # A third of a hundred: the cluster has three nodes.
    assert guests.asked("/snapshot") <= 34 * 3
    on_first = sum(path.startswith("/nodes/pve1/") and path.endswith("/snapshot") for _, path, _ in guests.host.asked)
    assert on_first == 34
    later(bench, clock, guests, 3600)
    now = sum(path.startswith("/nodes/pve1/") and path.endswith("/snapshot") for _, path, _ in guests.host.asked)
    assert now - on_first <= 34 * sweep.MAX_MINUTES_AT_ONCE


def test_a_guest_that_moves_takes_its_snapshots_along(guests: RecordedCluster, eager: Bench, clock: Clock) -> None:
    eager.poll()
    guests.row("qemu/100", node="pve2")
    later(eager, clock, guests, 60)
    assert eager.value("pve_guest_snapshots", id="qemu/100") == 1
    assert guests.asked("/nodes/pve2/qemu/100/snapshot") == 0


def test_an_agent_of_pve_9_tells_its_file_systems(version_9: RecordedCluster, make_bench: Make, clock: Clock) -> None:
    bench = make_bench(version_9, node_interval_seconds=0.001)
    bench.poll()
    later(bench, clock, version_9, 10)
    assert bench.value("pve_guest_agent_up", id="qemu/100") == 1
    assert bench.lines("pve_guest_filesystem_usage_bytes") == [
        'pve_guest_filesystem_usage_bytes{cluster="lab",id="qemu/100",mountpoint="/boot"} 275972096'
    ]
    assert bench.value("pve_guest_filesystem_size_bytes", id="qemu/100", mountpoint="/boot") == 1916223488
    assert version_9.asked("/agent/ping") == 0, "PVE has asked the agent already"


def test_an_agent_that_is_silent_is_down(version_9: RecordedCluster, make_bench: Make, clock: Clock) -> None:
    version_9.answers[FSINFO] = recorded("qemu-101-agent-network")
    bench = make_bench(version_9, node_interval_seconds=0.001)
    bench.poll()
    later(bench, clock, version_9, 10)
    assert bench.value("pve_guest_agent_up", id="qemu/100") == 0
    assert bench.value("pve_collector_success", collector="guest_agent", node="pve1") == 1


def test_an_agent_that_answers_only_a_ping_is_up_without_file_systems(
    version_9: RecordedCluster, make_bench: Make, clock: Clock
) -> None:
    version_9.answers[FSINFO] = Answer(500, "VM 100 qga command 'guest-get-fsinfo' failed - got timeout", b"")
    bench = make_bench(version_9, node_interval_seconds=0.001)
    bench.poll()
    later(bench, clock, version_9, 10)
    assert bench.value("pve_guest_agent_up", id="qemu/100") == 1
    assert bench.lines("pve_guest_filesystem_size_bytes") == []


def test_a_token_that_may_not_ask_agents_says_so(version_9: RecordedCluster, make_bench: Make, clock: Clock) -> None:
    version_9.answers[FSINFO] = FORBIDDEN
    bench = make_bench(version_9, node_interval_seconds=0.001)
    bench.poll()
    later(bench, clock, version_9, 10)
    assert bench.value("pve_guest_agent_up", id="qemu/100") is None
    assert bench.value("pve_collector_error", collector="guest_agent", node="pve1", **{"class": "forbidden"}) == 1


def test_agents_are_left_alone_on_pve_8_unless_the_configuration_says_otherwise(
    guests: RecordedCluster, make_bench: Make, clock: Clock
) -> None:
    for collectors, expected in (({}, 0), ({"guest_agent": {"enabled": True}}, 1)):
        bench = make_bench(guests, data=f"data{expected}", node_interval_seconds=0.001, collectors=collectors)
        bench.poll()
        later(bench, clock, guests, 10)
        assert guests.asked("/agent/get-fsinfo") == expected


def test_what_was_inside_a_vm_is_gone_when_it_stops_or_its_node_does(
    version_9: RecordedCluster, make_bench: Make, clock: Clock
) -> None:
    bench = make_bench(version_9, node_interval_seconds=0.001)
    bench.poll()
    later(bench, clock, version_9, 10)
    version_9.row("qemu/100", status="stopped")
    later(bench, clock, version_9, 10)
    assert bench.lines("pve_guest_agent_up") == []
    version_9.row("qemu/100", status="running")
    later(bench, clock, version_9, 10)
    assert bench.value("pve_guest_agent_up", id="qemu/100") == 1
    version_9.row("node/pve1", status="offline")
    later(bench, clock, version_9, 10)
    assert bench.lines("pve_guest_agent_up") == bench.lines("pve_guest_filesystem_size_bytes") == []


def test_guests_drift_apart_after_a_common_start() -> None:
    assert guest_snapshots.COLLECTOR.sweeps
    shares = {sweep._share(f"qemu/{vmid}") for vmid in range(100, 200)}
    assert len(shares) > 50
    assert min(shares) >= 0.75
    assert max(shares) <= 1
