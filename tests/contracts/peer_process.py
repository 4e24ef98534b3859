"""prometheus-pve-exporter itself, from PyPI, in an environment of its own that is made when it is missing."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import requests

VERSION = "3.10.2"
ENVIRONMENT = Path(__file__).resolve().parents[2] / ".cache" / "peer" / VERSION
START_SECONDS = 30.0


class CannotInstall(Exception):
    """The package could not be installed; the message says why."""


def python_of_peer() -> Path:
    """The interpreter of its environment, which is kept between runs. Raises CannotInstall."""
    python, complete = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "complete"
    if not complete.exists():
        wanted = (
            [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)],
            [str(python), "-m", "pip", "install", "--quiet", f"prometheus-pve-exporter=={VERSION}"],
        )
        for command in wanted:
            done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
            if done.returncode != 0:
                raise CannotInstall(f"prometheus-pve-exporter {VERSION}: {done.stderr[-500:]}")
        complete.touch()
    return python


class PeerProcess:
    """It runs with its default flags; `stop` ends it."""

    def __init__(self, config: Path, log: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        command = [str(python_of_peer()), "-m", "pve_exporter", "--config.file", str(config)]
        command += ["--web.listen-address", f"127.0.0.1:{port}"]
        with log.open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise AssertionError(f"prometheus-pve-exporter does not serve: {log.read_text()[-2000:]}")
            time.sleep(0.1)

    def get(self, query: str) -> requests.Response:
        """The answer to /pve?query."""
        return requests.get(f"{self.url}/pve?{query}", timeout=60)

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(20)

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/", timeout=5).ok
        except requests.ConnectionError:
            return False
