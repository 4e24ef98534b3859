"""SIGHUP: clusters come and go while the others are watched on, and what is wrong changes nothing."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import requests

from pvewatch.config import HostPort
from tests.exporter.conftest import RecordedCluster
from tests.exporter.running import Running, free_port

SHOWN = 'pve_guest_status{cluster="lab0",id="qemu/100",status="running"} 1'


class Scraper(threading.Thread):
    """Reads the page again and again; `gaps` are those without the first cluster's guest."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._url = f"http://127.0.0.1:{port}/metrics"
        self._ending = threading.Event()
        self.scrapes = 0
        self.gaps = 0

    def run(self) -> None:
        while not self._ending.is_set():
            try:
                self.gaps += SHOWN not in requests.get(self._url, timeout=10).text
            except requests.RequestException:
                self.gaps += 1
            self.scrapes += 1

    def end(self) -> None:
        self._ending.set()
        self.join(30)


def test_clusters_come_and_go_at_a_reload_and_the_others_are_never_missing(
    pve: RecordedCluster, tmp_path: Path, started: list[Running]
) -> None:
    exporter = Running(tmp_path, pve.host.address)
    started.append(exporter)
    exporter.wait_for("/-/ready")
    scraper = Scraper(exporter.port)
    scraper.start()

    nobody = HostPort(host="127.0.0.1", port=free_port())
    exporter.configure(pve.host.address, nobody)
    exporter.reload("ok", 1)
    exporter.wait_for("/-/ready")
    assert 'pve_collector_success{cluster="lab1",collector="resources",node=""} 0' in exporter.page()

    (tmp_path / "pvewatch.yaml").write_text("clusters: [")
    page = exporter.reload("failed", 1)
    assert 'pve_collector_success{cluster="lab1"' in page

    exporter.configure(pve.host.address)
    assert 'pve_collector_success{cluster="lab1"' not in exporter.reload("ok", 2)
    scraper.end()
    assert scraper.scrapes > 3
    assert scraper.gaps == 0
    assert exporter.end() == 0


def test_a_pve_yml_that_is_wrong_is_refused_at_a_reload_and_the_next_one_is_heard(
    pve: RecordedCluster, tmp_path: Path, started: list[Running]
) -> None:
    logins = tmp_path / "pve.yml"
    good = "default: {user: a@pve, token_name: b, token_value: c, verify_ssl: false}\n"
    logins.write_text(good)
    exporter = Running(tmp_path, pve.host.address, more=f"  pve_config: {logins}\n  pve_targets: [127.0.0.1]\n")
    started.append(exporter)
    exporter.wait_for("/-/ready")
    logins.write_text("default: {user: a@pve")
    exporter.reload("failed", 1)
    logins.write_text(good)
    assert SHOWN in exporter.reload("ok", 1)
    assert exporter.end() == 0


def test_the_drop_in_alone_outlives_a_reload(tmp_path: Path, started: list[Running]) -> None:
    logins = tmp_path / "pve.yml"
    logins.write_text("default: {user: a@pve, token_name: b, token_value: c, verify_ssl: false}\n")
    exporter = Running(tmp_path, more=f"  pve_config: {logins}\n  pve_targets: [127.0.0.1]\n")
    started.append(exporter)
    exporter.wait_for("/-/healthy")
    exporter.process.send_signal(signal.SIGHUP)
    exporter.wait_for("/-/healthy")
    assert exporter.end() == 0
