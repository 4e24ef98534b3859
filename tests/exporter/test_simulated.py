"""The exporter against whole simulated clusters: each release's shapes, a large one, and ten at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.service import Exporter
from pvewatch.config import Cluster, ExporterSettings, HostPort, Secret, Settings, TokenRef
from pvewatch.pve.grouping import Group
from pvewatch.simulator.server import Options, Simulator
from tests.exporter.conftest import Bench

Make = Callable[..., tuple[Bench, list[Simulator]]]
COLLECTORS = "pve_collector_success"


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Start simulators and an exporter over them; the clusters are called sim0, sim1 and so on."""
    started: list[Simulator] = []
    exporters: list[Exporter] = []

    def make(*options: dict[str, object], rights: str = "monitor", **own: object) -> tuple[Bench, list[Simulator]]:
        clusters = []
        for number, chosen in enumerate(options):
            simulator = Simulator(Options(data=tmp_path / f"sim{number}", name=f"lab{number}", **chosen))  # type: ignore[arg-type]  # chosen by each test
            simulator.start()
            started.append(simulator)
            told = simulator.details
            monkeypatch.setenv(f"TEST_SIM{number}", told["tokens"][rights]["secret"])
            clusters.append(
                Cluster(
                    name=f"sim{number}",
                    hosts=(HostPort(host=told["host"], port=told["port"]),),
                    fingerprint=told["fingerprint"],
                    monitor=TokenRef(token_id=told["tokens"][rights]["id"], token_secret_env=f"TEST_SIM{number}"),
                )
            )
        settings = Settings(
            clusters=tuple(clusters),
            data_dir=tmp_path / "data",
            exporter=ExporterSettings.model_validate({"poll_interval_seconds": 0.001, **own}),
        )
        exporter = Exporter(settings, tuple(Group(one, (one.name,)) for one in clusters), Secret("heartbeat"))
        exporters.append(exporter)
        return Bench(exporter), started

    yield make
    for exporter in exporters:
        exporter.stop()
    for simulator in started:
        simulator.stop()


def failing(bench: Bench) -> list[str]:
    """The collectors' error lines."""
    return bench.lines("pve_collector_error")


@pytest.mark.parametrize("version", ["7.4", "8.4", "9.2"])
def test_every_release_gives_sensible_figures_and_no_collector_fails(watch: Make, version: str) -> None:
    bench, _ = watch({"pve_version": version, "extras": ("replication", "subscription", "qdevice")})
    bench.poll()
    bench.poll()
    assert failing(bench) == []
    assert [line for line in bench.lines("pve_version_info") if f'release="{version}"' in line]
    assert bench.value("pve_cluster_quorate", cluster="sim0") == 1
    assert bench.value("pve_guest_status", id="qemu/101", status="running") == 1
    assert 0 <= (bench.value("pve_cpu_usage_ratio", id="qemu/101") or 0) <= 1
    assert bench.value("pve_cluster_votes_expected") == 3
    assert bench.value("pve_cluster_versions") == 1
    assert len(bench.lines("pve_node_kernel_info")) == len(bench.lines("pve_node_load1")) == 3
    assert 'kernel="' in bench.lines("pve_node_kernel_info")[0]
    assert 'kernel=""' not in bench.lines("pve_node_kernel_info")[0]
    assert bench.value("pve_node_service_state", id="node/pve1", service="pveproxy", state="active") == 1
    assert abs(bench.value("pve_node_clock_offset_seconds", id="node/pve1") or 0) < 5
    assert bench.lines("pve_node_network_receive_bytes_per_second")
    assert bench.value("pve_backup_job_enabled", job="backup-nightly") == 1
    assert bench.value("pve_not_backed_up_total") == len(bench.lines("pve_not_backed_up_info"))
    assert bench.lines("pve_replication_last_sync_timestamp_seconds")
    assert bench.value("pve_qdevice_up") == 1
    assert bench.value("pve_subscription_status", id="node/pve1", status="active") == 1
    assert bench.lines("pve_guest_snapshots")
    assert bench.lines("pve_guest_pending_changes")
    placement = {"7.4": "group", "8.4": "group", "9.2": "node-affinity"}[version]
    assert bench.value("pve_ha_placement_enabled", name="main", type=placement) == 1
    since_9 = ("pve_guest_pressure_ratio", "pve_node_pressure_ratio", "pve_guest_memory_host_bytes")
    assert {name: bool(bench.lines(name)) for name in (*since_9, "pve_guest_agent_up")} == dict.fromkeys(
        (*since_9, "pve_guest_agent_up"), version == "9.2"
    )


@pytest.mark.parametrize("version", ["7.4", "8.4", "9.2"])
def test_a_token_without_rights_learns_why_and_claims_nothing(watch: Make, version: str) -> None:
    bench, _ = watch({"pve_version": version}, rights="none")
    bench.poll()
    for collector in ("resources", "status", "tasks", "backup", "ha"):
        assert bench.value("pve_collector_error", collector=collector, **{"class": "forbidden"}) == 1, collector
    for name in ("pve_guest_status", "pve_not_backed_up_total", "pve_not_backed_up_info", "pve_cluster_quorate"):
        assert bench.lines(name) == [], name
    assert not [line for line in bench.lines("pve_up") if line.endswith(" 0")]


def test_a_token_that_sees_no_guest_learns_why_and_keeps_the_storages(watch: Make) -> None:
    bench, (simulator,) = watch({"pve_version": "9.2"})
    assert simulator.cluster is not None
    simulator.cluster.tokens = tuple(
        replace(token, acl=tuple(replace(entry, privileges=entry.privileges - {"VM.Audit"}) for entry in token.acl))
        for token in simulator.cluster.tokens
    )
    bench.poll()
    assert bench.value("pve_collector_error", collector="resources", **{"class": "forbidden"}) == 1
    assert "the token lacks VM.Audit on /vms" in (bench.exporter.inventory().clusters[0].error or "")
    assert bench.lines("pve_guest_info") == []
    assert bench.lines("pve_storage_info")


def test_a_large_cluster_is_wholly_shown_and_its_configurations_a_few_at_a_time(
    watch: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    # How fast they are asked at most has a test of its own; here how many.
    monkeypatch.setattr("exporter.service.CALLS_PER_SECOND", 1e6)
    switched_off = ("guest_activity", "guest_agent", "guest_pending", "guest_snapshots", "node_history", "services")
    bench, (simulator,) = watch(
        {"nodes": 32, "guests": 5000, "pve_version": "9.2"},
        collectors={name: {"enabled": False} for name in switched_off},
    )
    (poller,) = bench.exporter.pollers
    poller.poll()
    assert poller.settle(60)
    bench.exporter.metrics()
    assert len(bench.lines("pvewatch_guest_info")) == 5000
    assert len(bench.lines("pve_node_load1")) == 32
    assert bench.value("pve_cluster_nodes", state="online") == 32
    assert simulator.cluster is not None
    asked = simulator.cluster.requests
    assert asked["GET /cluster/resources"] == asked["GET /cluster/status"] == 1
    configurations = sum(count for path, count in asked.items() if path.endswith("/config"))
    assert 0 < configurations <= 32 * 7, "each node's share of 200, rounded up"


def test_ten_clusters_of_three_releases_stand_on_one_page(watch: Make) -> None:
    releases = ("7.4", "8.4", "9.2")
    bench, _ = watch(*({"pve_version": releases[number % 3], "guests": 8, "seed": number} for number in range(10)))
    bench.poll()
    families = {family.name: family for family in text_string_to_metric_families(bench.exporter.metrics().decode())}
    names = {f"sim{number}" for number in range(10)}
    assert {sample.labels["cluster"] for sample in families["pve_guest_status"].samples} == names
    assert len(families["pvewatch_guest_info"].samples) == 80
    assert {sample.labels["cluster"] for sample in families["pvewatch_snapshot_age_seconds"].samples} == names
    assert failing(bench) == []


def test_time_alone_makes_no_new_series(watch: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, (simulator,) = watch({"pve_version": "9.2"}, node_interval_seconds=0.001)
    assert simulator.cluster is not None

    def series() -> set[str]:
        return {line.rpartition(" ")[0] for line in bench.lines() if 'cluster="sim0"' in line}

    bench.poll()
    bench.poll()
    before = series()
    later = simulator.cluster.clock() + 7200
    simulator.cluster.clock = lambda: later
    bench.poll()
    assert len(before) > 500
    # Figures have moved, guests have not: what comes and goes would be a new series each time.
    assert series() == before
