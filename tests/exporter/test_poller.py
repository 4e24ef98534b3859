"""Refreshing in the background: what fails is told, stays alone, and does not outlive its time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from exporter.poller import pause
from pvewatch.config import HostPort
from tests.exporter.conftest import TOKEN_SECRET, Bench, Clock, RecordedCluster, recorded
from tests.pve.conftest import Answer, FakeHost

Make = Callable[..., Bench]
NOBODY = HostPort(host="127.0.0.1", port=1)


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_a_node_that_hangs_does_not_keep_the_others_waiting(pve: RecordedCluster, bench: Bench) -> None:
    release = threading.Event()

    def hang() -> Answer:
        release.wait(30)
        return recorded("c3-pve2-status")

    pve.answers["/nodes/pve2/status"] = hang
    (poller,) = bench.exporter.pollers
    try:
        poller.poll()
        assert wait_until(lambda: bench.value("pve_node_load1", id="node/pve1") == 4.92)
        # The cluster's own rounds go on, and the hanging node is not asked a second time meanwhile.
        rounds = pve.asked("/cluster/resources")
        for _ in range(3):
            poller.poll()
        assert pve.asked("/cluster/resources") == rounds + 3
        assert pve.asked("/nodes/pve2/status") == 1
        assert bench.value("pve_node_load1", id="node/pve2") is None
        assert bench.value("pve_guest_status", id="qemu/110", status="running") == 1
    finally:
        release.set()
    assert poller.settle(20)
    assert bench.value("pve_node_load1", id="node/pve2") is not None


def test_a_cluster_that_hangs_does_not_keep_the_others_waiting(
    pve: RecordedCluster, make_bench: Make, tmp_path: object
) -> None:
    release = threading.Event()
    other = FakeHost(tmp_path / "hanging")  # type: ignore[operator]  # pytest's path
    other.answer = lambda _method, _path: Answer(500, "late", b"") if release.wait(30) else Answer()
    bench = make_bench(other.address, pve)
    bench.exporter.start()
    try:
        assert wait_until(lambda: bench.value("pve_guest_status", cluster="lab1", id="qemu/100", status="running") == 1)
        assert bench.exporter.untried == ["lab"]
    finally:
        release.set()
        bench.exporter.stop()
        other.close()


def test_a_cluster_that_cannot_be_reached_is_tried_once_and_all_its_collectors_say_so(
    make_bench: Make, caplog: pytest.LogCaptureFixture
) -> None:
    bench = make_bench(NOBODY)
    bench.poll()
    for collector in ("resources", "status", "tasks", "version"):
        assert bench.value("pve_collector_success", collector=collector) == 0
        assert bench.value("pve_collector_error", collector=collector, **{"class": "unreachable"}) == 1
    requests = bench.lines("pvewatch_pve_requests_total")
    assert requests == [
        'pvewatch_pve_requests_total{cluster="lab",endpoint="/cluster/resources",outcome="unreachable"} 1.0'
    ]
    bench.poll()
    # By its address: a thread that another test left hanging may still have something to say.
    told = [record for record in caplog.records if "127.0.0.1:1 " in record.getMessage()]
    assert len(told) == 1, "an outage is told when it begins, not at every round"


def test_a_refused_token_is_told_once_for_all_collectors_and_never_shown(
    pve: RecordedCluster, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    pve.answers["/cluster/resources"] = recorded("err-bad-secret")
    bench.poll()
    assert bench.value("pve_collector_error", collector="status", **{"class": "auth"}) == 1
    assert pve.asked("/cluster/status") == 0
    assert TOKEN_SECRET not in caplog.text
    assert TOKEN_SECRET.encode() not in bench.exporter.metrics()
    assert TOKEN_SECRET not in bench.exporter.inventory().model_dump_json()


def test_when_a_cluster_goes_its_nodes_collectors_say_so_and_when_it_returns_they_are_asked_at_once(
    pve: RecordedCluster, bench: Bench
) -> None:
    bench.poll()
    good = pve.answers["/cluster/resources"]
    pve.answers["/cluster/resources"] = recorded("outage-pmxcfs-stopped-resources")
    bench.poll()
    assert bench.value("pve_collector_error", collector="node", node="pve1", **{"class": "unreachable"}) == 1
    asked = pve.asked("/nodes/pve1/status")
    pve.answers["/cluster/resources"] = good
    bench.poll()
    assert pve.asked("/nodes/pve1/status") == asked + 1
    assert bench.value("pve_collector_success", collector="node", node="pve1") == 1


def test_figures_stay_through_a_short_outage_and_go_when_they_are_too_old(
    pve: RecordedCluster, bench: Bench, clock: Clock
) -> None:
    bench.poll()
    pve.answers["/cluster/resources"] = Answer(596, "Connection timed out", b"")
    clock.now += 119
    bench.poll()
    assert bench.value("pve_cpu_usage_ratio", id="qemu/100") is not None
    assert bench.exporter.inventory().clusters[0].age_seconds == pytest.approx(119)
    clock.now += 2
    assert bench.value("pve_cpu_usage_ratio", id="qemu/100") is None
    assert bench.lines("pve_up") == []
    assert bench.lines("pve_guest_status") == []
    entry = bench.exporter.inventory().clusters[0]
    assert entry.age_seconds is None
    assert entry.guests == []
    assert "Connection timed out" in (entry.error or "")


def test_when_it_last_succeeded_is_still_told_after_the_figures_have_gone(
    pve: RecordedCluster, bench: Bench, clock: Clock
) -> None:
    bench.poll()
    succeeded = clock.now
    pve.answers["/cluster/resources"] = Answer(596, "Connection timed out", b"")
    clock.now += 500
    bench.poll()
    assert bench.value("pve_collector_last_success_timestamp_seconds", collector="resources") == succeeded


def test_a_guest_that_is_gone_has_no_series_left(pve: RecordedCluster, bench: Bench) -> None:
    bench.poll()
    pve.change("/cluster/resources", lambda rows: [row for row in rows if row["id"] != "qemu/100"])
    bench.poll()
    assert not [line for line in bench.lines() if 'id="qemu/100"' in line]


def test_a_node_that_left_the_cluster_has_no_series_left(pve: RecordedCluster, bench: Bench) -> None:
    bench.poll()
    pve.change("/cluster/resources", lambda rows: [row for row in rows if row.get("node") != "pve3"])
    pve.change("/cluster/status", lambda rows: [row for row in rows if row["name"] != "pve3"])
    bench.poll()
    assert not [line for line in bench.lines() if "pve3" in line]


def test_rows_that_stand_twice_are_shown_once(pve: RecordedCluster, bench: Bench) -> None:
    pve.change("/cluster/resources", lambda rows: [*rows, *rows])
    bench.poll()
    assert bench.value("pve_up", id="qemu/100") == 1


def test_what_is_known_is_shown_while_the_next_call_still_hangs(pve: RecordedCluster, bench: Bench) -> None:
    release = threading.Event()

    def hang() -> Answer:
        release.wait(30)
        return recorded("c3-cluster-status")

    pve.answers["/cluster/status"] = hang
    bench.exporter.start()
    try:
        assert wait_until(lambda: bench.value("pve_guest_status", id="qemu/100", status="running") == 1)
        assert bench.lines("pve_node_info") == []
    finally:
        release.set()
        bench.exporter.stop()


@pytest.mark.parametrize(
    ("interval", "outage", "pauses"),
    [
        pytest.param(10, False, [10, 20, 40, 80, 160, 300, 300], id="asked at each poll"),
        pytest.param(10, True, [10, 20, 40, 60, 60], id="asked at each poll, of a node that hangs"),
        pytest.param(3600, False, [300, 600, 1200, 2400, 3600, 3600], id="asked once an hour"),
        pytest.param(
            3600, True, [60, 120, 240, 480, 960, 1920, 3600, 3600], id="asked once an hour, of a node that hangs"
        ),
    ],
)
def test_what_fails_is_asked_less_and_less_often_and_what_runs_seldom_soon_again(
    interval: float, outage: bool, pauses: list[float]
) -> None:
    assert [pause(interval, failed, outage=outage) for failed in range(len(pauses))] == pauses
    assert pause(interval, 10_000, outage=outage) == pauses[-1]
