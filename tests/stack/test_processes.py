"""Child processes are started, watched and stopped for real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pvewatch.stack.processes import Part, Processes, StackError, Stopped, stop_signals

PATIENCE_SECONDS = 30.0


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    # A zombie has ended; only its parent has not asked yet.
    return status.rpartition(")")[2].split()[0] == "Z"


def shell(name: str, script: str, **more: object) -> Part:
    return Part(name, ("sh", "-c", script), **more)  # type: ignore[arg-type]  # a test's shorthand


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


@pytest.fixture
def processes(tmp_path: Path, stop: threading.Event) -> Iterator[Processes]:
    running = Processes(tmp_path / "logs", stop)
    yield running
    running.stop()


def test_a_part_counts_as_started_once_it_is_ready(processes: Processes, tmp_path: Path) -> None:
    sign = tmp_path / "ready"

    processes.start(shell("slow", f"sleep 0.3; touch {sign}; sleep 60", ready=sign.exists))

    assert sign.exists()
    assert processes.running("slow")


def test_a_part_that_ends_while_starting_is_named_with_the_end_of_its_log(processes: Processes) -> None:
    with pytest.raises(StackError) as refused:
        processes.start(shell("prometheus", "echo 'bad storage path' >&2; exit 3", ready=lambda: False))

    assert "prometheus ended with status 3" in str(refused.value)
    assert "bad storage path" in str(refused.value)
    assert "prometheus.log" in str(refused.value)


def test_a_part_that_is_never_ready_is_given_up_with_its_log(processes: Processes) -> None:
    part = shell("mute", "echo thinking; sleep 60", ready=lambda: False, ready_timeout_seconds=0.5)

    with pytest.raises(StackError, match=r"mute was not ready after 0 s[\s\S]*thinking"):
        processes.start(part)


def test_a_program_that_does_not_exist_is_named(processes: Processes) -> None:
    with pytest.raises(StackError, match="grafana cannot be started: /nonexistent/grafana"):
        processes.start(Part("grafana", ("/nonexistent/grafana",)))


def test_a_part_that_dies_later_is_noticed_and_named(processes: Processes, tmp_path: Path) -> None:
    fatal = tmp_path / "fatal"
    processes.start(shell("worker", f"while [ ! -e {fatal} ]; do sleep 0.05; done; echo out of memory; kill -9 $$"))
    fatal.touch()

    with pytest.raises(StackError, match=r"worker was ended by SIGKILL[\s\S]*out of memory"):
        until(processes.check, "the worker's end")


def test_stopping_ends_children_of_children_too(processes: Processes, tmp_path: Path) -> None:
    told = tmp_path / "pids"
    processes.start(shell("agent", f"sleep 60 & echo $! > {told}.new; mv {told}.new {told}; wait", ready=told.exists))

    processes.stop()

    until(lambda: is_gone(int(told.read_text())), "the end of the grandchild")


def test_a_part_that_ignores_the_request_to_end_is_killed(processes: Processes, tmp_path: Path) -> None:
    told = tmp_path / "pid"
    script = f"import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('{told}', 'w').close(); "
    processes.start(Part("deaf", (sys.executable, "-c", script + "time.sleep(60)"), ready=told.exists))

    processes.stop()

    assert not processes.running("deaf")


def test_a_part_may_be_ended_without_a_goodbye(processes: Processes, tmp_path: Path) -> None:
    goodbye, ready = tmp_path / "goodbye", tmp_path / "ready"
    script = f"trap 'touch {goodbye}; exit' TERM; touch {ready}; while :; do sleep 0.1; done"
    processes.start(shell("agent", script, ready=ready.exists))

    processes.end("agent", hard=True)

    assert not processes.running("agent")
    assert not goodbye.exists()
    processes.check()


def test_waiting_ends_as_soon_as_the_user_asks_to_stop(processes: Processes, stop: threading.Event) -> None:
    threading.Timer(0.2, stop.set).start()

    with pytest.raises(Stopped):
        processes.start(shell("slow", "sleep 60", ready=lambda: False))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_ask_to_stop_instead_of_ending_the_program(number: signal.Signals) -> None:
    with stop_signals() as stop:
        os.kill(os.getpid(), number)
        assert stop.wait(PATIENCE_SECONDS)


def test_children_end_when_the_parent_is_killed_and_cannot_stop_them(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, threading, time\n"
            "from pathlib import Path\n"
            "from pvewatch.stack.processes import Part, Processes\n"
            f"told = Path({str(told)!r})\n"
            f"processes = Processes(Path({str(tmp_path)!r}), threading.Event())\n"
            "script = f'echo $$ > {told}.new; mv {told}.new {told}; exec sleep 60'\n"
            "processes.start(Part('child', ('sh', '-c', script), ready=told.exists))\n"
            "time.sleep(60)\n",
        ]
    )
    until(told.exists, "the child's start")
    child = int(told.read_text())

    parent.kill()
    parent.wait()

    until(lambda: is_gone(child), "the child's end")
