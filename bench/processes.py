"""The processes that are measured: each on its own, watched through /proc (so Linux only)."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PEER_VERSION = "3.10.2"
PEER_PACKAGE = f"prometheus-pve-exporter=={PEER_VERSION}"
PEER = ROOT / ".cache" / "peer" / PEER_VERSION
INSTALL_SECONDS = 300.0
_TICKS = os.sysconf("SC_CLK_TCK")


class NotMeasured(Exception):
    """Something that was to be measured did not come up; the message says what, and where its log is."""


class Process:
    """A program running in the background, its output in a file."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **(env or {})},
                cwd=ROOT,
                start_new_session=True,
            )

    def wait_until(self, ready: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait for a condition; raises NotMeasured when it does not come true in time or the program ends."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = self.log.read_text(encoding="utf-8", errors="replace")[-2000:]
                raise NotMeasured(f"{self.name}: {what} did not happen within {seconds:.0f} s; its log ends:\n{log}")
            time.sleep(0.05)

    def _await(self, ready: Callable[[], bool], seconds: float, what: str) -> None:
        """`wait_until` of a program that nobody else could end yet."""
        try:
            self.wait_until(ready, seconds, what)
        except BaseException:
            self.stop()
            raise

    def cpu_seconds(self) -> float:
        """CPU time of the program and its children so far."""
        total = 0
        for pid in self._pids():
            with suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
        return total / _TICKS

    def peak_megabytes(self) -> float:
        """The most memory held at once (resident set), children included; in units of 1,000,000 bytes."""
        return sum(self._status(pid, "VmHWM") for pid in self._pids())

    def megabytes(self) -> float:
        """The memory held now, as above."""
        return sum(self._status(pid, "VmRSS") for pid in self._pids())

    def kill(self) -> None:
        """End it without a chance to tidy up, as a power cut would."""
        self._process.kill()
        self._process.wait(10)

    def stop(self) -> None:
        """End it and its children."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait(10)

    def close(self) -> None:
        """`stop`, for contextlib.closing."""
        self.stop()

    def _pids(self) -> list[int]:
        found = [self._process.pid]
        for pid in found:
            with suppress(OSError):
                text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
                found += [int(child) for child in text.split()]
        return found

    @staticmethod
    def _status(pid: int, field: str) -> float:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith(f"{field}:"):
                    return int(line.split()[1]) * 1024 / 1e6
        return 0.0


class Simulator(Process):
    """A simulated cluster; `details` is its simulator.json."""

    def __init__(self, folder: Path, *, nodes: int, guests: int, version: str = "8.4", name: str = "sim") -> None:
        data = folder / name
        command = [sys.executable, "-m", "pvewatch.simulator", "--listen", "127.0.0.1:0", "--data", str(data)]
        command += ["--nodes", str(nodes), "--guests", str(guests), "--pve-version", version, "--name", name]
        super().__init__(name, command, folder)
        self._await((data / "simulator.json").exists, 60, "listening")
        self.details: dict[str, Any] = json.loads((data / "simulator.json").read_text())

    def control(self, method: str, path: str, body: object = None) -> Any:
        """Ask the control listener."""
        request = urllib.request.Request(  # noqa: S310 - our own loopback address
            f"{self.details['control_url']}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.details['control_token']}",
                "Content-Type": "application/json",
            },
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - as above
            text = answer.read()
        return json.loads(text) if text else None

    def requests(self) -> int:
        """How many API requests it has answered so far."""
        return int(self.control("GET", "/requests")["total"])


class Ours(Process):
    """`pvewatch exporter` over some simulators. `settings` is the section exporter of pvewatch.yaml."""

    def __init__(
        self,
        folder: Path,
        simulators: Sequence[Simulator],
        name: str,
        *,
        settings: Mapping[str, Any],
        program: str = "pvewatch.cli",
    ) -> None:
        home = folder / name
        home.mkdir(parents=True, exist_ok=True)
        self.data = home / "data"
        self.port, self.heartbeat_port = free_port(), free_port()
        self._hurry_ends = home / "hurry-ends"
        env = {"PVEWATCH_BENCH_HURRY_ENDS": str(self._hurry_ends)}
        clusters = []
        for number, simulator in enumerate(simulators):
            monitor = simulator.details["tokens"]["monitor"]
            env[f"MONITOR_{number}"] = monitor["secret"]
            clusters.append(
                {
                    "name": f"c{number}",
                    "hosts": [f"{simulator.details['host']}:{simulator.details['port']}"],
                    "fingerprint": simulator.details["fingerprint"],
                    "monitor": {"token_id": monitor["id"], "token_secret_env": f"MONITOR_{number}"},
                }
            )
        own = {"listen": f"127.0.0.1:{self.port}", "heartbeat_listen": f"127.0.0.1:{self.heartbeat_port}"}
        # JSON is YAML.
        (home / "pvewatch.yaml").write_text(json.dumps({"clusters": clusters, "exporter": {**own, **settings}}))
        command = [sys.executable, "-m", program, "--config", str(home / "pvewatch.yaml"), "exporter"]
        super().__init__(name, command, folder, env)
        self._await(lambda: get(f"{self.url}/-/ready") is not None, 120, "ready")

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def end_hurry(self) -> None:
        """Let the program bench.hurried go on at the ordinary pace."""
        self._hurry_ends.touch()

    def page(self) -> str:
        """/metrics now."""
        text = get(f"{self.url}/metrics")
        if text is None:
            log = self.log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise NotMeasured(f"/metrics failed; the log ends:\n{log}")
        return text.decode()


class Peer(Process):
    """The real prometheus-pve-exporter in its own environment, with its default settings."""

    def __init__(self, folder: Path, simulator: Simulator) -> None:
        install_peer()
        monitor = simulator.details["tokens"]["monitor"]
        user, _, token = monitor["id"].partition("!")
        # Its time-out is 5 s by default, its certificate check cannot pin: as its own examples do, it is off here.
        module = {"user": user, "token_name": token, "token_value": monitor["secret"], "verify_ssl": False}
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "pve.yml"
        config.touch(mode=0o600)
        config.write_text(json.dumps({"default": {**module, "timeout": 60}}))
        self.port = free_port()
        self.target = f"{simulator.details['host']}:{simulator.details['port']}"
        command = [str(PEER / "bin" / "pve_exporter"), "--config.file", str(config)]
        super().__init__("peer", [*command, "--web.listen-address", f"127.0.0.1:{self.port}"], folder)
        self._await(lambda: get(f"http://127.0.0.1:{self.port}/") is not None, 60, "listening")

    @property
    def url(self) -> str:
        """One default scrape of the whole."""
        return f"http://127.0.0.1:{self.port}/pve?target={self.target}&cluster=1&node=1"


def install_peer() -> None:
    """Put the peer into its own environment below .cache, once. Raises NotMeasured where that is not possible."""
    complete = PEER / "complete"
    if complete.exists():
        return
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(PEER)],
        [str(PEER / "bin" / "python"), "-m", "pip", "install", "--quiet", PEER_PACKAGE],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
        if done.returncode != 0:
            raise NotMeasured(f"{PEER_PACKAGE} cannot be installed from the package index: {done.stderr[-500:]}")
    complete.touch()


def get(url: str, timeout: float = 120) -> bytes | None:
    """The body of a 200, None for anything else."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:  # noqa: S310 - loopback addresses of this module
            return bytes(answer.read())
    except (urllib.error.URLError, OSError):
        return None


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
