"""Starts commands of pvewatch as a person would, and proves afterwards that nothing of them is left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pvewatch.stack import tools
from pvewatch.stack.ports import LISTENERS, free_port

PATIENCE_SECONDS = 90.0
# Inherited by whatever a command starts, at any depth.
MARK = "STARTED_BY_TEST"


def until(condition: Callable[[], Any], what: str, within: float = PATIENCE_SECONDS) -> Any:
    """The first true answer of `condition`; fails naming `what` was waited for."""
    deadline = time.monotonic() + within
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)
    return answer


def free_ports() -> dict[str, int]:
    """A port for each listener of the stack, all different."""
    ports: dict[str, int] = {}
    while len(ports) < len(LISTENERS):
        port = free_port()
        if port not in ports.values():
            ports[LISTENERS[len(ports)].name] = port
    return ports


def is_busy(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Command:
    """A running command line; `output` is everything it has said so far."""

    def __init__(self, *arguments: str | Path, cwd: Path | None = None, environment: Mapping[str, str] | None = None):
        self._mark = uuid.uuid4().hex
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("PVEWATCH_", "PROXMOX_"))}
        self.process = subprocess.Popen(
            [str(argument) for argument in arguments],
            cwd=cwd,
            env={
                **clean,
                "PATH": tools.search_path(),
                "PYTHONUNBUFFERED": "1",
                **(environment or {}),
                MARK: self._mark,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid in self.left_behind():
            os.kill(pid, signal.SIGKILL)

    @property
    def output(self) -> str:
        return "".join(self._lines)

    def says(self, words: str, within: float = PATIENCE_SECONDS) -> None:
        """Wait until the command has printed `words`."""
        until(lambda: words in self.output or self.process.poll() is not None, f"{words!r}", within)
        assert words in self.output, f"ended with {self.process.returncode} without saying {words!r}:\n{self.output}"

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ends(self, within: float = 30.0) -> int:
        """Wait for the end; returns the exit status."""
        status = self.process.wait(within)
        # A child that outlived its parent would hold the pipe open: that is found by left_behind, not here.
        self._reader.join(5)
        return status

    def left_behind(self) -> list[int]:
        """The processes that this command or its children started and that still run."""
        return [pid for pid in _pids() if pid != self.process.pid and _carries(pid, f"{MARK}={self._mark}")]

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.append(line)


def pvewatch(*arguments: str | Path, **more: Any) -> Command:
    """The command line of pvewatch itself."""
    return Command(Path(sys.executable).with_name("pvewatch"), *arguments, **more)


def demo(ports: Mapping[str, int], *arguments: str | Path, **more: Any) -> Command:
    """`pvewatch demo` on these ports."""
    moved = [f"--port={name}={port}" for name, port in ports.items()]
    return pvewatch("demo", *moved, *arguments, **more)


def nothing_is_left(command: Command, ports: Mapping[str, int]) -> None:
    """Fails if a process or a busy port of an ended command remains."""
    until(lambda: not command.left_behind(), "the end of the last process", 15)
    assert [name for name, port in ports.items() if is_busy(port)] == []


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _carries(pid: int, variable: str) -> bool:
    try:
        environment = (Path("/proc") / str(pid) / "environ").read_bytes()
        state = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    return variable.encode() in environment.split(b"\0") and state != "Z"
