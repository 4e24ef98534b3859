"""A probed service that stops, and the list of guests: real Prometheus and blackbox exporter, simulated cluster."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from exporter.http import create_app
from exporter.service import Exporter
from pvewatch.config import Secret, Settings, internal_secret
from pvewatch.pve.grouping import Group
from pvewatch.render import write_all
from pvewatch.serve import serve
from pvewatch.simulator.server import Options, Simulator
from pvewatch.stack import tools
from pvewatch.stack.observe import Prometheus
from pvewatch.stack.ports import free_port
from tests.rules.servers import prometheus, running, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


class Shop(BaseHTTPRequestHandler):
    """The service inside the guest."""

    def do_GET(self) -> None:
        """Answer /health, and nothing else."""
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@contextmanager
def shop(port: int = 0) -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", port), Shop)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    simulator = Simulator(Options(data=tmp_path / "simulator", refresh_seconds=1, auth_delay_seconds=0))
    simulator.start()
    yield simulator
    simulator.stop()


@pytest.fixture
def settings(simulator: Simulator, tmp_path: Path) -> Settings:
    secret = tmp_path / "monitor"
    secret.touch(mode=0o600)
    secret.write_text(simulator.details["tokens"]["monitor"]["secret"], encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    return Settings.model_validate(
        {
            "data_dir": tmp_path / "data",
            "clusters": [
                {
                    "name": "lab",
                    "hosts": [f"{simulator.details['host']}:{simulator.details['port']}"],
                    "fingerprint": simulator.details["fingerprint"],
                    "monitor": {"token_id": "pvewatch@pve!monitor", "token_secret_file": secret},
                }
            ],
            "exporter": {"listen": address, "poll_interval_seconds": 1, "config_interval_seconds": 1},
            "blackbox": {"listen": f"127.0.0.1:{free_port()}"},
            "prometheus": {"scrape_interval_seconds": 1, "evaluation_interval_seconds": 1},
            # The simulated guest's service is on this machine.
            "probes": {"interval_seconds": 1, "other_hosts": ["127.0.0.0/8"]},
            "alerting": {"time_scale": 0.02},
        }
    )


@pytest.fixture
def exporter(settings: Settings) -> Iterator[Exporter]:
    exporter = Exporter(settings, (Group(settings.clusters[0], ("lab",)),), Secret("heartbeat"))
    discovery = internal_secret(settings, "discovery", create=True)
    listener = serve(create_app(exporter, Secret("inventory"), discovery), settings.exporter.listen)
    exporter.start()
    listener.start()
    yield exporter
    listener.stop()
    exporter.stop()


def test_a_service_that_stops_is_told_and_one_that_returns_is_over(
    simulator: Simulator, settings: Settings, exporter: Exporter, tmp_path: Path
) -> None:
    assert simulator.cluster is not None
    guests = simulator.cluster.world.guests.values()
    guest = next(guest for guest in guests if guest.power.running and guest.kind == "qemu")
    out = tmp_path / "rendered"
    write_all(settings, out, "native")
    blackbox = [str(tools.find("blackbox")), f"--config.file={out}/blackbox/blackbox.yml"]
    blackbox += [f"--web.listen-address={settings.blackbox.listen}"]
    with (
        running(blackbox, settings.blackbox_url, tmp_path / "blackbox.log", ready_path="/-/healthy"),
        prometheus(out / "prometheus" / "prometheus.yml", tmp_path / "history") as address,
    ):
        engine = Prometheus(address)
        series = f'probe_success{{job="probes",cluster="lab",id="{guest.id}",probe=~"http.*"}}'

        def shown(value: int) -> bool:
            return [sample.value for sample in engine.query(series)] == [value]

        def firing() -> list[str]:
            return [f["id"] for f in engine.firing() if f["alertname"] == "ServiceProbeFailing"]

        with shop() as port:
            guest.notes = f"Our shop.\n\npvewatch-probe: http://127.0.0.1:{port}/health\npvewatch-probe: tcp:22"
            wait_until(lambda: shown(1), "a probe that succeeds", 60)
            (found,) = engine.query(series)
            assert found.labels["instance"] == f"http://127.0.0.1:{port}/health"
            assert firing() == []
        wait_until(lambda: shown(0), "the probe failing", 30)
        wait_until(lambda: firing() == [guest.id], "the alert", 30)
        entry = exporter.inventory().guest("lab", guest.vmid)
        assert entry is not None
        assert [probe.problem is None for probe in entry.probes] == [True, False], "no address of it is known"
        with shop(port):
            wait_until(lambda: shown(1), "the probe succeeding again", 30)
            wait_until(lambda: firing() == [], "the alert to end", 30)


def test_prometheus_takes_the_list_of_guests(settings: Settings, exporter: Exporter, tmp_path: Path) -> None:
    secret = settings.data_dir / "secrets" / "discovery"
    config = tmp_path / "prometheus.yml"
    # The example of docs/probes.md, with this test's addresses.
    config.write_text(
        f"""\
scrape_configs:
  - job_name: node
    scrape_interval: 1s
    http_sd_configs:
      - url: {settings.exporter_url}/sd/guests
        authorization: {{type: Bearer, credentials_file: {secret}}}
        refresh_interval: 1s
    relabel_configs:
      - {{source_labels: [__meta_pve_status], regex: running, action: keep}}
      - {{source_labels: [__meta_pve_cluster], target_label: cluster}}
      - {{source_labels: [__meta_pve_id], target_label: id}}
      - {{source_labels: [__address__], replacement: '$1:9100', target_label: __address__}}
""",
        encoding="utf-8",
    )

    def targets(address: str) -> set[str]:
        answer = requests.get(f"{address}/api/v1/targets", params={"state": "active"}, timeout=5).json()
        return {target["labels"]["id"] for target in answer["data"]["activeTargets"]}

    def running_guests() -> set[str]:
        guests = exporter.inventory().clusters[0].guests
        return {guest.id for guest in guests if guest.status == "running" and not guest.template}

    with prometheus(config, tmp_path / "history") as address:
        wait_until(
            lambda: bool(expected := running_guests()) and targets(address) == expected,
            f"{running_guests()} as targets, not {targets(address)}",
            12,
        )
