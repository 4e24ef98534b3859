"""Child processes: started in order, watched, and stopped in reverse order, leaving nothing behind.

Each child leads a process group of its own, so that Ctrl-C in a terminal reaches the parent alone and a stop reaches
the child's own children too. Its output goes to a log file, whose end is quoted when it dies.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import requests

STOP_SECONDS = 5.0
TAIL_LINES = 15
TAIL_BYTES = 16_384
_POLL_SECONDS = 0.1
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

# Looked up here: after a fork nothing may be imported or allocated by chance.
_PRCTL = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None


class StackError(Exception):
    """The stack cannot start or go on; the message names the part, the place and the remedy."""


class Stopped(Exception):
    """The user asked to stop while something was being waited for."""


@dataclass(frozen=True, slots=True)
class Part:
    """A process of the stack: what to run, and how to see that it is ready to be used by the next one."""

    name: str
    command: tuple[str, ...]
    ready: Callable[[], bool] | None = None
    ready_timeout_seconds: float = 30.0
    environment: Mapping[str, str] = field(default_factory=dict)
    # For a program that prints secrets for a person: only its standard error goes to the log.
    prints_secrets: bool = False


@dataclass(slots=True)
class _Child:
    part: Part
    process: subprocess.Popen[bytes]
    log: Path


class Processes:
    """The running parts of one stack. `stop` (an event) ends every wait; see `stop_signals`."""

    def __init__(self, logs: Path, stop: threading.Event, environment: Mapping[str, str] | None = None) -> None:
        self._logs = logs
        self._stop = stop
        self._environment = dict(os.environ if environment is None else environment)
        self._children: list[_Child] = []
        # The agent host starts and ends children from its own thread.
        self._lock = threading.Lock()
        logs.mkdir(parents=True, exist_ok=True)

    def log(self, name: str) -> Path:
        """The log file of the part of that name."""
        return self._logs / f"{name}.log"

    def start(self, part: Part) -> float:
        """Start a part and wait until it is ready; returns the seconds that took.

        Raises StackError when it ends or is not ready in time, Stopped when the user asked to stop.
        """
        self.pause(0)
        began = time.monotonic()
        child = self._spawn(part)
        while part.ready is not None and not part.ready():
            if child.process.poll() is not None:
                raise StackError(self._obituary(child))
            if time.monotonic() - began > part.ready_timeout_seconds:
                waited = f"{part.name} was not ready after {part.ready_timeout_seconds:.0f} s"
                raise StackError(f"{waited}; the end of {child.log}:\n{tail(child.log)}")
            self.pause(_POLL_SECONDS)
        if child.process.poll() is not None:
            raise StackError(self._obituary(child))
        return time.monotonic() - began

    def end(self, name: str, *, hard: bool = False) -> None:
        """Stop the newest part of that name, if it runs; `hard` gives it no chance to say goodbye."""
        with self._lock:
            child = next((child for child in reversed(self._children) if child.part.name == name), None)
            if child is None:
                return
            self._children.remove(child)
        _terminate([child], 0.0 if hard else STOP_SECONDS)

    def running(self, name: str) -> bool:
        """Whether a part of that name was started and has not ended."""
        with self._lock:
            return any(child.part.name == name and child.process.poll() is None for child in self._children)

    def check(self) -> None:
        """Raise StackError if a part has ended by itself, with the end of its log."""
        with self._lock:
            dead = next((child for child in self._children if child.process.poll() is not None), None)
        if dead is not None:
            raise StackError(self._obituary(dead))

    def pause(self, seconds: float) -> None:
        """Wait that long; raises Stopped as soon as the user asks to stop."""
        if self._stop.wait(seconds):
            raise Stopped

    def stop(self) -> None:
        """End every part, the newest first; what has not ended in time is killed with all its children."""
        with self._lock:
            children, self._children = self._children, []
        _terminate(list(reversed(children)), STOP_SECONDS)

    def _spawn(self, part: Part) -> _Child:
        log = self.log(part.name)
        with log.open("ab") as output:
            try:
                process = subprocess.Popen(
                    part.command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL if part.prints_secrets else output,
                    stderr=output,
                    env={**self._environment, **part.environment},
                    start_new_session=True,
                    preexec_fn=_die_with_parent(os.getpid()),  # noqa: PLW1509  # it makes one system call only
                )
            except OSError as error:
                raise StackError(f"{part.name} cannot be started: {part.command[0]}: {error.strerror}") from error
        child = _Child(part, process, log)
        with self._lock:
            self._children.append(child)
        return child

    def _obituary(self, child: _Child) -> str:
        status = child.process.returncode
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return f"{child.part.name} {how}; the end of {child.log}:\n{tail(child.log)}"


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Within this block Ctrl-C and SIGTERM set the event that is handed out instead of ending the program."""
    stop = threading.Event()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, ask_to_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def answers(url: str) -> Callable[[], bool]:
    """A readiness test: `url` answers 200."""

    def ready() -> bool:
        try:
            return requests.get(url, timeout=2, allow_redirects=False).status_code == 200
        except requests.RequestException:
            return False

    return ready


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """The last lines of a log, indented; says so when there are none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError as error:
        return f"    ({error.strerror})"
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:]) or "    (empty)"


def _die_with_parent(parent: int) -> Callable[[], None] | None:
    """What a child does first: have the kernel end it when this process is killed and so cannot stop it."""
    if _PRCTL is None:
        return None

    def arrange() -> None:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return arrange


def _terminate(children: list[_Child], patience_seconds: float) -> None:
    """Ask each to end in the given order, together wait, and kill the groups of those that stay."""
    for child in children:
        if patience_seconds:
            _signal_group(child, signal.SIGTERM)
    deadline = time.monotonic() + patience_seconds
    for child in children:
        try:
            child.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            continue
        finally:
            # Also after an orderly end: what the child itself had started is in the group.
            _signal_group(child, signal.SIGKILL)
    for child in children:
        child.process.wait()


def _signal_group(child: _Child, number: signal.Signals) -> None:
    try:
        os.killpg(child.process.pid, number)
    except ProcessLookupError:
        return
