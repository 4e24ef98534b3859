"""The exporter as a process: it starts, answers on both listeners, and ends when told to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from pvewatch.config import HostPort
from tests.exporter.conftest import TOKEN_SECRET, RecordedCluster

STOP_SECONDS = 5


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Running:
    """`pvewatch exporter` with a configuration file in `folder`."""

    def __init__(self, folder: Path, *hosts: HostPort, more: str = "") -> None:
        self.port, self.heartbeat_port = free_port(), free_port()
        self._folder, self._more = folder, more
        self.configure(*hosts)
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pvewatch.cli", "--config", str(folder / "pvewatch.yaml"), "exporter"],
                env={**os.environ, "MONITOR": TOKEN_SECRET},
                stdout=log,
                stderr=log,
            )

    def configure(self, *hosts: HostPort) -> None:
        """Write the configuration with the clusters lab0, lab1 and so on."""
        clusters = "".join(
            f"  - name: lab{number}\n    hosts: ['{host}']\n    verify_tls: false\n"
            "    monitor: {token_id: 'pvewatch@pve!monitor', token_secret_env: MONITOR}\n"
            for number, host in enumerate(hosts)
        )
        (self._folder / "pvewatch.yaml").write_text(
            f"{'clusters:' if hosts else ''}\n{clusters}exporter:\n{self._more}"
            f"  listen: 127.0.0.1:{self.port}\n  heartbeat_listen: 127.0.0.1:{self.heartbeat_port}\n"
        )

    def reload(self, outcome: str, times: int) -> str:
        """Send SIGHUP and wait until so many reloads have ended that way; returns a page of after that."""
        self.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 30
        while f'pvewatch_config_reloads_total{{outcome="{outcome}"}} {times}.0' not in self.page():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        return self.page()

    def page(self) -> str:
        return self.wait_for("/metrics").text

    def wait_for(self, path: str, status: int = 200, seconds: float = 30) -> requests.Response:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                answer = requests.get(f"http://127.0.0.1:{self.port}{path}", timeout=5)
            except requests.ConnectionError:
                time.sleep(0.02)
                continue
            if answer.status_code == status:
                return answer
            time.sleep(0.02)
        raise AssertionError(f"{path} did not answer {status}:\n{self.log.read_text()}")

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)


@pytest.fixture
def started() -> Iterator[list[Running]]:
    running: list[Running] = []
    yield running
    for one in running:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait(10)


def test_it_reads_answers_and_ends_cleanly(pve: RecordedCluster, tmp_path: Path, started: list[Running]) -> None:
    exporter = Running(tmp_path, pve.host.address)
    started.append(exporter)
    exporter.wait_for("/-/ready")
    page = exporter.wait_for("/metrics").text
    assert 'pve_guest_status{cluster="lab0",id="qemu/100",status="running"} 1' in page
    refused = requests.post(f"http://127.0.0.1:{exporter.heartbeat_port}/api/v1/heartbeat", json={}, timeout=5)
    assert refused.status_code == 401
    secret = (tmp_path / "data" / "secrets" / "inventory").read_text().strip()
    known = requests.get(
        f"http://127.0.0.1:{exporter.port}/api/v1/inventory", headers={"Authorization": f"Bearer {secret}"}, timeout=5
    )
    assert known.json()["clusters"][0]["name"] == "lab0"
    assert exporter.end() == 0
    assert TOKEN_SECRET not in exporter.log.read_text() + page
    assert secret not in exporter.log.read_text()


def test_a_cluster_that_never_answers_does_not_keep_it_from_ending(tmp_path: Path, started: list[Running]) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        exporter = Running(tmp_path, HostPort(host="127.0.0.1", port=silent.getsockname()[1]))
        started.append(exporter)
        exporter.wait_for("/-/healthy")
        exporter.wait_for("/-/ready", status=503)
        assert exporter.end() == 0


def test_what_is_wrong_with_every_cluster_is_said_before_anything_is_served(tmp_path: Path) -> None:
    (tmp_path / "pvewatch.yaml").write_text(
        "clusters:\n  - {name: one, hosts: [127.0.0.1]}\n"
        "  - {name: two, hosts: [127.0.0.2], monitor: {token_id: 'a@pve!bc', token_secret_env: NOT_SET_ANYWHERE}}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pvewatch.cli", "--config", str(tmp_path / "pvewatch.yaml"), "exporter"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "one: has no monitor token" in done.stderr
    assert "NOT_SET_ANYWHERE" in done.stderr


def test_a_store_that_cannot_be_opened_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "data" / "heartbeats.db").mkdir(parents=True)
    (tmp_path / "pvewatch.yaml").write_text(
        "clusters:\n  - {name: one, hosts: [127.0.0.1], monitor: {token_id: 'a@pve!bc', token_secret_env: MONITOR}}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pvewatch.cli", "--config", str(tmp_path / "pvewatch.yaml"), "exporter"],
        env={**os.environ, "MONITOR": TOKEN_SECRET},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert f"{tmp_path}/data/heartbeats.db: cannot be opened" in done.stderr
    assert "remedy: let the exporter's user write there" in done.stderr
