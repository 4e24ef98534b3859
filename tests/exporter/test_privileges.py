"""The table of privileges tells every call that the exporter makes, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.collectors import COLLECTORS
from exporter.service import Exporter
from pvewatch.config import Cluster, ExporterSettings, HostPort, Secret, Settings, TokenRef
from pvewatch.pve.grouping import Group
from pvewatch.pve.privileges import calls_of, features, needs
from pvewatch.settings import CollectorSettings
from pvewatch.simulator.server import Options, Simulator

NAMES = [collector.name for collector in COLLECTORS]
# Asked to tell an answer that is short from one that is short for lack of rights.
WITHOUT_NEED = {"/access/permissions"}


def test_every_collector_is_in_the_table_and_everything_else_there_has_a_space_in_its_name() -> None:
    assert [name for name in features("monitor") if " " not in name] == NAMES


@pytest.mark.parametrize(("version", "major"), [("8.4", 8), ("9.2", 9)])
def test_the_calls_of_the_table_are_those_that_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, major: int
) -> None:
    options = Options(
        data=tmp_path / "simulator", pve_version=version, auth_delay_seconds=0, extras=("ha", "replication", "qdevice")
    )
    simulator = Simulator(options)
    simulator.start()
    try:
        made = _calls_made(simulator, tmp_path, monkeypatch)
    finally:
        simulator.stop()

    wanted = {
        call.rpartition(" ")[2] for need in needs("monitor", major) if need.feature in NAMES for call in need.calls
    }
    # The simulated agents answer, so no ping is needed; which of groups and rules there are shows when asked; a node is
    # asked for Ceph only where the host that answers has none.
    optional = {
        *("/nodes/{node}/qemu/{vmid}/agent/ping", "/cluster/ha/groups", "/cluster/ha/rules"),
        "/nodes/{node}/ceph/status",
    }
    assert made - WITHOUT_NEED - optional == wanted - optional
    assert made - WITHOUT_NEED <= {call.rpartition(" ")[2] for name in NAMES for call in calls_of(name)}


def _calls_made(simulator: Simulator, folder: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The templates of all calls of a few polls, the guest agents' included."""
    known = simulator.details
    monkeypatch.setenv("TEST_TOKEN_SECRET", known["tokens"]["monitor"]["secret"])
    cluster = Cluster(
        name="lab",
        hosts=(HostPort(host=known["host"], port=known["port"]),),
        fingerprint=known["fingerprint"],
        monitor=TokenRef(token_id=known["tokens"]["monitor"]["id"], token_secret_env="TEST_TOKEN_SECRET"),
    )
    settings = Settings(
        clusters=(cluster,),
        data_dir=folder / "data",
        exporter=ExporterSettings(
            poll_interval_seconds=0.001,
            node_interval_seconds=0.001,
            collectors={name: CollectorSettings(enabled=True) for name in ("guest_agent", "addresses")},
        ),
    )
    exporter = Exporter(settings, (Group(cluster, ("lab",)),), Secret("heartbeat-secret"))
    try:
        for _ in range(4):
            for poller in exporter.pollers:
                poller.poll()
                assert poller.settle(30), "a node was still being asked after 30 s"
        page = exporter.own.text().decode()
    finally:
        exporter.stop()
    return {
        sample.labels["endpoint"]
        for family in text_string_to_metric_families(page)
        if family.name == "pvewatch_pve_requests"
        for sample in family.samples
    }
