"""`pvewatch exporter` as a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import requests

from pvewatch.config import HostPort
from tests.exporter.conftest import TOKEN_SECRET

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
