"""Recorded answers of real servers: served over HTTPS, read by the exporter, and asked of a real Prometheus.

The expected figures are taken from the recording itself, the whole-cluster answer that is served; nothing here knows
how the exporter comes to its figures.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from pvewatch.config import load_settings
from pvewatch.render import write_all
from pvewatch.stack import parts
from pvewatch.stack.observe import Prometheus
from pvewatch.stack.ports import LISTENERS
from pvewatch.stack.processes import Part, Processes
from tests.e2e.running import free_ports, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
RECORDINGS = {"8.4": "c3-cluster-resources.json", "9.2": "cluster-resources.json"}

# Figure of the recording → metric, for guests and nodes. Bytes and seconds are the recording's own.
FIGURES = {
    "cpu": "pve_cpu_usage_ratio",
    "maxcpu": "pve_cpu_usage_limit",
    "mem": "pve_memory_usage_bytes",
    "maxmem": "pve_memory_size_bytes",
    "maxdisk": "pve_disk_size_bytes",
    "uptime": "pve_uptime_seconds",
}


@pytest.fixture(scope="module", params=sorted(RECORDINGS))
def recorded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[list[dict[str, Any]], Prometheus]]:
    """The rows of the recording, and a Prometheus that has scraped an exporter that has read them."""
    version: str = request.param
    tmp_path = tmp_path_factory.mktemp("recorded")
    ports = free_ports()
    told = tmp_path / "server" / "simulator.json"
    processes = Processes(tmp_path / "logs", threading.Event())
    try:
        processes.start(
            Part(
                "simulator",
                parts.pvewatch("simulator", "--replay", FIXTURES / f"recorded-{version}", "--data", told.parent),
                told.exists,
            )
        )
        server = json.loads(told.read_text())
        token = server["tokens"]["monitor"]
        secret = tmp_path / "monitor"
        secret.touch(mode=0o600)
        secret.write_text(token["secret"])
        document: dict[str, Any] = {
            "clusters": [
                {
                    "name": "recorded",
                    "hosts": [f"{server['host']}:{server['port']}"],
                    "fingerprint": server["fingerprint"],
                    "monitor": {"token_id": token["id"], "token_secret_file": "monitor"},
                }
            ],
            "prometheus": {"scrape_interval_seconds": 1},
        }
        for listener in LISTENERS:
            document.setdefault(listener.section, {})[listener.key] = f"127.0.0.1:{ports[listener.name]}"
        config = tmp_path / "pvewatch.yaml"
        config.write_text(yaml.safe_dump(document))
        settings = load_settings(config, {})
        files = write_all(settings, tmp_path / "rendered", "native")
        wanted = [*parts.services(settings, config), *parts.engines(settings, files)]
        for part in wanted:
            if part.name in {"exporter", "prometheus"}:
                processes.start(part)
        prometheus = Prometheus(settings.prometheus_url)
        until(lambda: prometheus.query('pve_guest_info{cluster="recorded"}'), "the first scrape")
        yield _rows(version, server, token), prometheus
    finally:
        processes.stop()


def test_prometheus_shows_exactly_the_recorded_figures(recorded: tuple[list[dict[str, Any]], Prometheus]) -> None:
    rows, prometheus = recorded
    for key, metric in FIGURES.items():
        shown = {
            sample.labels["id"]: sample.value
            for sample in prometheus.query(f'{metric}{{cluster="recorded",id=~"(qemu|lxc|node)/.*"}}')
        }
        recorded_figures = {row["id"]: float(row[key]) for row in rows if key in row}
        idle = {row["id"] for row in rows if row["status"] == "stopped" and key in {"cpu", "mem", "uptime"}}
        # A stopped guest has no load: its zeros may be shown or left out.
        assert shown == {i: figure for i, figure in recorded_figures.items() if i in shown or i not in idle}, metric


def test_prometheus_shows_exactly_the_recorded_states(recorded: tuple[list[dict[str, Any]], Prometheus]) -> None:
    rows, prometheus = recorded
    for kinds, metric in ((("qemu", "lxc"), "pve_guest_status"), (("node",), "pve_node_status")):
        shown = {
            sample.labels["id"]: sample.labels["status"]
            for sample in prometheus.query(f'{metric}{{cluster="recorded"}} == 1')
        }
        assert shown == {row["id"]: row["status"] for row in rows if row["type"] in kinds}


def test_prometheus_knows_the_recorded_names_and_nodes(recorded: tuple[list[dict[str, Any]], Prometheus]) -> None:
    rows, prometheus = recorded
    shown = {
        sample.labels["id"]: (sample.labels["name"], sample.labels["node"])
        for sample in prometheus.query('pvewatch_guest_info{cluster="recorded"}')
    }
    assert shown == {row["id"]: (row["name"], row["node"]) for row in rows if row["type"] in {"qemu", "lxc"}}


def _rows(version: str, server: dict[str, Any], token: dict[str, str]) -> list[dict[str, Any]]:
    """The guests and nodes of the recording, once it is seen that this very recording is what is served."""
    recording = json.loads((FIXTURES / f"recorded-{version}" / RECORDINGS[version]).read_text(encoding="utf-8"))
    served = requests.get(
        f"{server['url']}/api2/json/cluster/resources",
        headers={"Authorization": f"PVEAPIToken={token['id']}={token['secret']}"},
        verify=server["ca_file"],
        timeout=10,
    )
    assert served.json() == recording["body"]
    return [row for row in recording["body"]["data"] if row["type"] in {"qemu", "lxc", "node"}]
