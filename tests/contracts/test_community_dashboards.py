"""Dashboards made for prometheus-pve-exporter find what they ask for: on /pve, and on /metrics of one cluster.

The data is names only: metric → the labels that dashboards match, join, group or show it by.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.own_metrics import OwnMetrics
from exporter.peer.alone import create_app
from exporter.peer.endpoint import Peer
from exporter.service import TABLES
from pvewatch.config import ExporterSettings, Settings
from pvewatch.simulator.server import Options, Simulator

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = ("ha", "locks", "qdevice", "replication", "subscription")

# https://grafana.com/grafana/dashboards/10347 "Proxmox via Prometheus", as it is in use in its version for Grafana 11.
DASHBOARD_10347: dict[str, set[str]] = {
    "pve_guest_info": {"id", "name", "type"},
    "pve_node_info": {"id"},
    "pve_storage_info": {"id", "storage"},
    "pve_up": {"id"},
    "pve_cpu_usage_ratio": {"id"},
    "pve_cpu_usage_limit": {"id"},
    "pve_memory_usage_bytes": {"id"},
    "pve_memory_size_bytes": {"id"},
    "pve_disk_usage_bytes": {"id"},
    "pve_disk_size_bytes": {"id"},
    "pve_network_receive_bytes": {"id"},
    "pve_network_transmit_bytes": {"id"},
    "pve_disk_read_bytes": {"id"},
    "pve_disk_write_bytes": {"id"},
}
# What other published dashboards and rules use besides: state, HA, locks, backups, replication, subscriptions.
OTHERS: dict[str, set[str]] = {
    "pve_guest_info": {"id", "node", "name", "type", "template", "tags"},
    "pve_node_info": {"id", "level", "name", "nodeid"},
    "pve_storage_info": {"id", "node", "storage", "plugintype", "content"},
    "pve_storage_shared": {"id"},
    "pve_cluster_info": {"id", "nodes", "quorate", "version"},
    "pve_version_info": {"release", "repoid", "version"},
    "pve_uptime_seconds": {"id"},
    "pve_network_receive_bytes_total": {"id"},
    "pve_network_transmit_bytes_total": {"id"},
    "pve_disk_read_bytes_total": {"id"},
    "pve_disk_written_bytes_total": {"id"},
    "pve_ha_state": {"id", "state"},
    "pve_lock_state": {"id", "state"},
    "pve_onboot_status": {"id", "node", "type"},
    "pve_not_backed_up_total": {"id"},
    "pve_not_backed_up_info": {"id"},
    "pve_qdevice_up": {"id"},
    "pve_qdevice_info": {"id", "model", "algorithm", "qnetd_host", "tie_breaker", "state"},
    "pve_replication_info": {"id", "type", "source", "target", "guest"},
    "pve_replication_duration_seconds": {"id"},
    "pve_replication_last_sync_timestamp_seconds": {"id"},
    "pve_replication_last_try_timestamp_seconds": {"id"},
    "pve_replication_next_sync_timestamp_seconds": {"id"},
    "pve_replication_failed_syncs": {"id"},
    "pve_subscription_info": {"id", "level"},
    "pve_subscription_status": {"id", "status"},
    "pve_subscription_next_due_timestamp_seconds": {"id"},
}
# Joined by id: a second series of one id would be "many-to-many matching not allowed".
JOINED = ("pve_guest_info", "pve_node_info", "pve_storage_info")


def labels_of(page: str) -> dict[str, list[dict[str, str]]]:
    """Sample name → the labels of each of its series."""
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


def lacking(page: str, used: dict[str, set[str]]) -> dict[str, set[str]]:
    """Metric → the labels it lacks, all of them where it is not there; nothing where all is well."""
    found = labels_of(page)
    missing = {name: labels - set.intersection(*map(set, found.get(name, [{}]))) for name, labels in used.items()}
    return {name: labels for name, labels in missing.items() if labels or name not in found}


def ids_twice(page: str) -> list[str]:
    ids = [(name, labels["id"]) for name in JOINED for labels in labels_of(page)[name]]
    return sorted({f"{name} {of}" for name, of in ids if ids.count((name, of)) > 1})


def golden(version: str) -> str:
    return (ROOT / "tests" / "golden" / f"metrics-{version}.prom").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pve_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """/pve of a cluster that uses everything."""
    data = tmp_path_factory.mktemp("simulator")
    simulator = Simulator(Options(data=data, nodes=3, guests=12, extras=EXTRAS, auth_delay_seconds=0))
    simulator.start()
    target = f"127.0.0.1:{simulator.details['port']}"
    token = simulator.details["tokens"]["monitor"]
    user, name = token["id"].split("!")
    login = {"PVE_USER": user, "PVE_TOKEN_NAME": name, "PVE_TOKEN_VALUE": token["secret"], "PVE_VERIFY_SSL": "false"}
    peer = Peer(Settings(exporter=ExporterSettings(pve_targets=(target,))), login)
    try:
        answer = create_app(peer, OwnMetrics()).test_client().get(f"/pve?target={target}")
        assert answer.status_code == 200, answer.text
        return answer.text
    finally:
        peer.close()
        simulator.stop()


def test_dashboard_10347_finds_everything_on_pve(pve_page: str) -> None:
    assert lacking(pve_page, DASHBOARD_10347) == {}


def test_other_dashboards_find_everything_on_pve(pve_page: str) -> None:
    assert lacking(pve_page, OTHERS) == {}


@pytest.mark.parametrize("version", ["8.4", "9.2"])
def test_dashboard_10347_finds_everything_on_metrics(version: str) -> None:
    assert lacking(golden(version), DASHBOARD_10347) == {}


def test_other_dashboards_find_everything_on_metrics_where_it_is_in_use() -> None:
    exposed = {metric.name: set(metric.labels) for _, table in TABLES for metric in table}
    assert {name: labels - exposed.get(name, set()) for name, labels in OTHERS.items()} == {
        name: set() for name in OTHERS
    }


def test_guests_nodes_and_storages_can_be_joined_by_id(pve_page: str) -> None:
    assert [ids_twice(page) for page in (pve_page, golden("8.4"), golden("9.2"))] == [[], [], []]


def test_a_metric_or_label_that_is_lost_is_noticed(pve_page: str) -> None:
    renamed = pve_page.replace("pve_up{", "pve_upp{").replace("name=", "title=")
    assert lacking(renamed, DASHBOARD_10347) == {"pve_up": {"id"}, "pve_guest_info": {"name"}}
