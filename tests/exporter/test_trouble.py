"""One cluster or node in trouble beside others that are well: what it costs, what is said, and when it is over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.service import Exporter
from pvewatch.config import Cluster, ExporterSettings, Secret, Settings, TokenRef
from pvewatch.pve.grouping import Group
from tests.exporter.conftest import Bench, Clock, RecordedCluster, recorded
from tests.pve.conftest import Answer, FakeHost

Make = Callable[..., Bench]

TROUBLE = {
    "595": (Answer(595, "No route to host", b""), "unreachable"),
    "596": (Answer(596, "Connection timed out", b""), "unreachable"),
    "401": (recorded("err-bad-secret"), "auth"),
    "403": (recorded("as-privsep-noacl-node-status"), "forbidden"),
    "500": (Answer(500, "got timeout", b'{"data":null}'), "rejected"),
    "garbage": (Answer(body=b"<html>\x00\xff"), "bad_answer"),
    "empty": (Answer(body=b""), "bad_answer"),
    "another shape": (Answer(body=b'{"data":[1,2,3]}'), "bad_answer"),
    "megabytes": (Answer(body=b'{"data":"' + b"x" * (65 * 2**20) + b'"}'), "bad_answer"),
    "cut off": (Answer(drop=True), "unreachable"),
}


@pytest.fixture
def other(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path / "other")


@pytest.mark.parametrize("trouble", TROUBLE)
def test_a_node_in_trouble_costs_only_its_own_figures(pve: RecordedCluster, bench: Bench, trouble: str) -> None:
    answer, error_class = TROUBLE[trouble]
    pve.answers["/nodes/pve2/status"] = answer
    bench.poll()
    assert bench.value("pve_collector_error", collector="node", node="pve2", **{"class": error_class}) == 1
    assert bench.value("pve_node_load1", id="node/pve2") is None
    assert bench.value("pve_collector_success", collector="node", node="pve1") == 1
    assert bench.value("pve_node_load1", id="node/pve1") == 4.92
    assert bench.value("pve_guest_status", id="qemu/110", status="running") == 1


@pytest.mark.parametrize("trouble", sorted(set(TROUBLE) - {"403"}))
def test_a_cluster_in_trouble_costs_only_itself(
    pve: RecordedCluster, other: FakeHost, make_bench: Make, trouble: str
) -> None:
    answer, error_class = TROUBLE[trouble]
    other.answer = lambda _method, _path: answer
    bench = make_bench(other.address, pve)
    try:
        bench.poll()
    finally:
        other.close()
    assert bench.value("pve_collector_error", cluster="lab", collector="resources", **{"class": error_class}) == 1
    assert not [line for line in bench.lines("pve_up") if 'cluster="lab"' in line], "nothing is called down"
    assert bench.value("pve_guest_status", cluster="lab1", id="qemu/100", status="running") == 1
    assert bench.value("pvewatch_snapshot_age_seconds", cluster="lab") is None
    assert bench.value("pvewatch_snapshot_age_seconds", cluster="lab1") == 0


def test_another_host_is_asked_within_the_same_poll_and_the_bad_one_rests(
    pve: RecordedCluster, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_TOKEN_SECRET", "secret")
    bad = FakeHost(tmp_path / "bad")
    bad.answer = lambda _method, _path: Answer(500, "RPCEnvironment init request failed: Unable to load access", b"")
    token = TokenRef(token_id="pvewatch@pve!monitor", token_secret_env="TEST_TOKEN_SECRET")
    cluster = Cluster(name="lab", hosts=(bad.address, pve.host.address), verify_tls=False, monitor=token)
    settings = Settings(
        clusters=(cluster,), data_dir=tmp_path / "data", exporter=ExporterSettings(poll_interval_seconds=0.001)
    )
    exporter = Exporter(settings, (Group(cluster, ("lab",)),), Secret("heartbeat"), clock=clock)
    bench = Bench(exporter)
    try:
        bench.poll()
        assert bench.value("pve_guest_status", id="qemu/100", status="running") == 1
        assert bench.value("pve_collector_success", collector="resources") == 1
        asked = len(bad.asked)
        bench.poll()
        assert len(bad.asked) == asked, "it rests"
    finally:
        exporter.stop()
        bad.close()


def test_own_metrics_count_requests_by_template_with_a_histogram_and_the_series(
    pve: RecordedCluster, bench: Bench
) -> None:
    bench.poll()
    requests = bench.lines("pvewatch_pve_requests_total")
    assert bench.value("pvewatch_pve_requests_total", endpoint="/nodes/{node}/status", outcome="ok") == 2
    assert not [line for line in requests if "/pve1" in line or "/100" in line]
    buckets = bench.lines("pvewatch_pve_request_duration_seconds_bucket")
    assert [line for line in buckets if 'endpoint="/cluster/resources"' in line and 'le="+Inf"' in line]
    assert bench.value("pvewatch_collector_runs_total", collector="resources", outcome="ok") == 1
    # Those of the cluster on the page, without agents' and the exporter's own.
    own = ("pvewatch_snapshot_", "pvewatch_series", "pvewatch_pve_", "pvewatch_collector_", "pvewatch_heartbeat")
    about = [
        line for line in bench.lines() if 'cluster="lab"' in line and not line.startswith((*own, "pvewatch_agent"))
    ]
    assert bench.value("pvewatch_series") == len(about)


def test_an_error_says_its_class_and_how_long_it_took(pve: RecordedCluster, bench: Bench, clock: Clock) -> None:
    bench.poll()
    good = clock.now
    clock.now += 30
    pve.answers["/cluster/status"] = recorded("as-privsep-noacl-cluster-status")
    bench.poll()
    assert bench.value("pve_collector_success", collector="status") == 0
    assert bench.value("pve_collector_error", collector="status", **{"class": "forbidden"}) == 1
    assert bench.value("pve_collector_last_success_timestamp_seconds", collector="status") == good
    assert (bench.value("pve_collector_duration_seconds", collector="status") or 0) > 0
    assert bench.value("pve_cluster_quorate") == 1, "the last good answer counts until it is too old"
    clock.now += 121
    assert bench.value("pve_cluster_quorate") is None
