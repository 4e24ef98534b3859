"""Real Prometheus and Alertmanager for tests: started on a free port, awaited until ready, ended by the test."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import requests

from pvewatch.stack import tools
from pvewatch.stack.ports import free_port

READY_SECONDS = 30.0


def wait_until(condition: Callable[[], bool], what: str, seconds: float = READY_SECONDS) -> None:
    """Return as soon as `condition` holds; fail naming `what` when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.05)


@contextmanager
def running(command: Sequence[str], url: str, log: Path, ready_path: str = "/-/ready") -> Iterator[str]:
    """Run a server until the block ends; gives its address once its ready_path answers 200."""

    def ready() -> bool:
        assert process.poll() is None, f"{command[0]} ended:\n{log.read_text(encoding='utf-8')[-3000:]}"
        try:
            return requests.get(f"{url}{ready_path}", timeout=2).status_code == 200
        except requests.ConnectionError:
            return False

    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            wait_until(ready, f"{url}{ready_path}")
            yield url
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def prometheus(config: Path, storage: Path, *flags: str) -> Iterator[str]:
    """A Prometheus with this configuration and history."""
    url = f"http://127.0.0.1:{free_port()}"
    command = [
        str(tools.find("prometheus")),
        f"--config.file={config}",
        f"--storage.tsdb.path={storage}",
        f"--web.listen-address={url.removeprefix('http://')}",
        *flags,
    ]
    with running(command, url, storage.parent / "prometheus.log") as address:
        yield address


@contextmanager
def alertmanager(config: Path, storage: Path, *cluster: str, url: str | None = None) -> Iterator[str]:
    """An Alertmanager with this configuration, at `url` or on a free port; in no cluster unless the flags say so."""
    url = url or f"http://127.0.0.1:{free_port()}"
    command = [
        str(tools.find("alertmanager")),
        f"--config.file={config}",
        f"--storage.path={storage}",
        f"--web.listen-address={url.removeprefix('http://')}",
        *(cluster or ("--cluster.listen-address=",)),
    ]
    with running(command, url, storage.parent / "alertmanager.log") as address:
        yield address
