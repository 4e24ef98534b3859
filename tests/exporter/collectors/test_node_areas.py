"""What is asked of each node beyond its status, out of recorded answers of 8.4 and 9.2."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.exporter.conftest import RECORDED_AT, Bench, Clock, RecordedCluster, recorded
from tests.pve.conftest import Answer

Make = Callable[..., Bench]
HISTORY = "/nodes/pve1/rrddata"
NODE = "node/pve1"


@pytest.fixture
def nodes(pve: RecordedCluster) -> RecordedCluster:
    """The recorded cluster with everything that its first node is asked."""
    pve.answers |= {
        HISTORY: recorded("node-rrddata-hour"),
        "/nodes/pve1/services": recorded("node-services"),
        "/nodes/pve1/time": Answer(body=json.dumps({"data": {"time": int(RECORDED_AT) + 42}}).encode()),
        "/nodes/pve1/certificates/info": recorded("as-auditor-node-certs"),
        "/nodes/pve1/subscription": recorded("as-auditor-node-subscription"),
    }
    return pve


def test_network_rates_come_from_the_newest_minute(nodes: RecordedCluster, bench: Bench) -> None:
    nodes.change(HISTORY, lambda rows: rows[-1].update(netin=35853.7, netout=1200.5))
    bench.poll()
    assert bench.value("pve_node_network_receive_bytes_per_second", id=NODE) == 35853.7
    assert bench.value("pve_node_network_transmit_bytes_per_second", id=NODE) == 1200.5
    assert bench.lines("pve_node_pressure_ratio") == [], "8.4 has none"


def test_pressure_and_the_zfs_cache_are_shown_on_9(nodes: RecordedCluster, bench: Bench) -> None:
    nodes.answers[HISTORY] = recorded("node-rrddata-hour", "recorded-9.2")
    bench.poll()
    assert bench.value("pve_node_pressure_ratio", id=NODE, resource="cpu", kind="some") == pytest.approx(0.651041666)
    assert len(bench.lines("pve_node_pressure_ratio")) == 5
    assert bench.value("pve_node_zfs_arc_size_bytes", id=NODE) == 0


def test_a_history_whose_last_minutes_are_empty_gives_no_figures(nodes: RecordedCluster, bench: Bench) -> None:
    nodes.answers[HISTORY] = recorded("pve2-rrddata-gap-after-pvestatd-outage")
    nodes.change(HISTORY, lambda rows: [*rows, {"time": rows[-1]["time"] + 3600}])
    bench.poll()
    assert bench.lines("pve_node_network_receive_bytes_per_second") == []
    assert bench.value("pve_collector_success", collector="node_history", node="pve1") == 1


def test_a_node_that_has_no_statistics_yet_is_no_error(nodes: RecordedCluster, bench: Bench) -> None:
    words = "RRD error: opening '/var/lib/rrdcached/db/pve2-node/pve1': No such file or directory"
    nodes.answers[HISTORY] = Answer(500, words, b'{"data":null}')
    bench.poll()
    assert bench.value("pve_collector_success", collector="node_history", node="pve1") == 1


@pytest.mark.parametrize("folder", ["recorded-8.4", "recorded-9.2"])
def test_services_have_a_state_set_and_those_not_installed_no_series(
    nodes: RecordedCluster, bench: Bench, folder: str
) -> None:
    nodes.answers["/nodes/pve1/services"] = recorded("node-services", folder)
    bench.poll()
    listed = json.loads(recorded("node-services", folder).body)["data"]
    installed = [row for row in listed if row["unit-state"] not in ("not-found", "masked")]
    for row in installed:
        state = row["active-state"] if row["active-state"] in ("active", "inactive", "failed") else "other"
        assert bench.value("pve_node_service_state", id=NODE, service=row["service"], state=state) == 1
    assert len(bench.lines("pve_node_service_state")) == 4 * len(installed)


def test_a_service_that_has_failed_is_failed_also_as_pve_7_says_it(nodes: RecordedCluster, bench: Bench) -> None:
    seven = [{"service": "pveproxy", "name": "pveproxy", "desc": "", "state": "failed"}]
    nodes.answers["/nodes/pve1/services"] = Answer(body=json.dumps({"data": seven}).encode())
    bench.poll()
    assert bench.value("pve_node_service_state", id=NODE, service="pveproxy", state="failed") == 1


def test_a_clock_that_is_ahead_has_a_positive_difference(nodes: RecordedCluster, bench: Bench) -> None:
    bench.poll()
    assert bench.value("pve_node_clock_offset_seconds", id=NODE) == pytest.approx(42, abs=2)


@pytest.mark.parametrize(
    ("folder", "name"), [("recorded-8.4", "as-auditor-node-certs"), ("recorded-9.2", "node-certificates-info")]
)
def test_each_certificate_has_its_end(nodes: RecordedCluster, bench: Bench, folder: str, name: str) -> None:
    nodes.answers["/nodes/pve1/certificates/info"] = recorded(name, folder)
    bench.poll()
    for row in json.loads(recorded(name, folder).body)["data"]:
        shown = bench.value("pve_node_certificate_expiry_timestamp_seconds", id=NODE, filename=row["filename"])
        assert shown == row["notafter"]


def test_a_node_without_a_subscription_says_so(nodes: RecordedCluster, bench: Bench) -> None:
    bench.poll()
    found = json.loads(recorded("as-auditor-node-subscription").body)["data"]
    assert bench.value("pve_subscription_status", id=NODE, status=found["status"]) == 1
    assert len(bench.lines("pve_subscription_status")) == 6


def test_a_subscription_has_its_level_and_due_day(nodes: RecordedCluster, bench: Bench) -> None:
    row = {"status": "active", "level": "c", "nextduedate": "2026-12-31"}
    nodes.answers["/nodes/pve1/subscription"] = Answer(body=json.dumps({"data": row}).encode())
    bench.poll()
    assert bench.value("pve_subscription_info", id=NODE, level="c") == 1
    assert bench.value("pve_subscription_next_due_timestamp_seconds", id=NODE) == 1798675200


def test_different_versions_of_the_nodes_are_counted(nodes: RecordedCluster, bench: Bench) -> None:
    nodes.change("/nodes/pve2/status", lambda row: row.update(pveversion="pve-manager/9.2.11/14a22df35955d97d"))
    bench.poll()
    assert bench.value("pve_cluster_versions") == 2


def test_memory_shared_by_ksm_and_swap_are_shown(nodes: RecordedCluster, bench: Bench) -> None:
    def edit(row: dict[str, Any]) -> None:
        row["ksm"] = {"shared": 5_000_000_000}
        row["swap"] = {"total": 8_000_000_000, "used": 1_000_000_000, "free": 7_000_000_000}

    nodes.change("/nodes/pve1/status", edit)
    bench.poll()
    assert bench.value("pve_node_ksm_shared_bytes", id=NODE) == 5_000_000_000
    assert bench.value("pve_node_swap_usage_bytes", id=NODE) == 1_000_000_000
    assert bench.value("pve_node_swap_size_bytes", id=NODE) == 8_000_000_000


def test_available_memory_is_shown_on_9(nodes: RecordedCluster, bench: Bench) -> None:
    nodes.answers["/nodes/pve1/status"] = recorded("node-status", "recorded-9.2")
    bench.poll()
    available = json.loads(recorded("node-status", "recorded-9.2").body)["data"]["memory"]["available"]
    assert bench.value("pve_node_memory_available_bytes", id=NODE) == available


REFUSED = ("rrddata", "services", "time", "certificates/info", "subscription", "status")


@pytest.mark.parametrize("ending", REFUSED)
def test_one_refused_call_costs_only_its_own_figures(nodes: RecordedCluster, bench: Bench, ending: str) -> None:
    nodes.answers[f"/nodes/pve1/{ending}"] = recorded("as-privsep-noacl-node-status")
    bench.poll()
    failed = [line for line in bench.lines("pve_collector_error") if 'node="pve1",class="forbidden"' in line]
    assert len(failed) == 1, failed


@pytest.mark.parametrize("ending", REFUSED)
def test_an_empty_answer_costs_only_its_own_figures(nodes: RecordedCluster, bench: Bench, ending: str) -> None:
    nodes.answers[f"/nodes/pve1/{ending}"] = Answer(body=b'{"data":null}')
    bench.poll()
    assert not [line for line in bench.lines("pve_collector_error") if 'class="internal"' in line]
    assert bench.value("pve_guest_status", id="qemu/100", status="running") == 1


def test_a_node_that_is_off_keeps_its_configuration_figures_and_loses_the_others_with_time(
    nodes: RecordedCluster, bench: Bench, clock: Clock
) -> None:
    bench.poll()
    nodes.row("node/pve1", status="offline", uptime=None, cpu=None, mem=None, disk=None)
    clock.now += 200
    bench.poll()
    assert bench.lines("pve_node_load1") == [line for line in bench.lines("pve_node_load1") if "pve1" not in line]
    assert bench.value("pve_node_network_receive_bytes_per_second", id=NODE) is None
    assert bench.lines("pve_node_certificate_expiry_timestamp_seconds"), "a certificate ends when it ends"
