"""All threads of the exporter stay on one processor core, of those that it may use."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter import one_core
from pvewatch.config import HostPort
from tests.exporter.running import Running

several_cores = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is only one core here")


@pytest.fixture
def allowed() -> Iterator[frozenset[int]]:
    """The cores that this process may use; it may use them all again after the test."""
    before = frozenset(os.sched_getaffinity(0))
    yield before
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # a thread of a test before, which has just ended
            os.sched_setaffinity(int(thread.name), before)


@pytest.fixture
def another_thread() -> Iterator[int]:
    """The id of a thread that waits until the test is over."""
    over, thread_id = threading.Event(), []

    def wait() -> None:
        thread_id.append(threading.get_native_id())
        began.set()
        over.wait()

    began = threading.Event()
    thread = threading.Thread(target=wait)
    thread.start()
    began.wait()
    yield thread_id[0]
    over.set()
    thread.join()


def cores_of(process: int) -> list[set[int]]:
    """For each thread of a process the cores it may run on."""
    cores = []
    for thread in Path(f"/proc/{process}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # it has ended
            cores.append(os.sched_getaffinity(int(thread.name)))
    return cores


@several_cores
def test_the_running_exporter_has_all_its_threads_on_one_core(tmp_path: Path, started: list[Running]) -> None:
    exporter = Running(tmp_path, HostPort(host="127.0.0.1", port=9))
    started.append(exporter)
    exporter.wait_for("/metrics")
    cores = cores_of(exporter.process.pid)
    assert len(cores) > 3
    assert all(core == cores[0] for core in cores)
    assert len(cores[0]) == 1


@several_cores
def test_threads_that_were_let_go_are_gathered_again(allowed: frozenset[int], another_thread: int) -> None:
    core = one_core.gather(allowed)
    assert core in allowed
    assert os.sched_getaffinity(another_thread) == os.sched_getaffinity(0) == {core}
    os.sched_setaffinity(another_thread, allowed)
    again = one_core.gather(allowed)
    assert os.sched_getaffinity(another_thread) == os.sched_getaffinity(0) == {again}


@several_cores
def test_it_moves_away_when_its_core_is_no_longer_among_those_allowed(
    allowed: frozenset[int], another_thread: int
) -> None:
    core = one_core.gather(allowed)
    other = max(allowed - {core})
    assert one_core.gather({other}) == other
    assert os.sched_getaffinity(another_thread) == {other}


@several_cores
def test_it_looks_again_for_a_core_as_long_as_it_runs(
    allowed: frozenset[int], another_thread: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_core, "LOOK_SECONDS", 0.01)
    gathered = threading.Semaphore(0)
    gather = one_core.gather

    def counted(cores: frozenset[int]) -> int | None:
        found = gather(cores)
        gathered.release()
        return found

    monkeypatch.setattr(one_core, "gather", counted)
    stopped = threading.Event()
    one_core.keep(stopped)
    try:
        os.sched_setaffinity(another_thread, allowed)
        # One may have been under way when the thread was let go.
        for _ in range(3):
            assert gathered.acquire(timeout=30)
        assert len(os.sched_getaffinity(another_thread)) == 1
    finally:
        stopped.set()
        for thread in threading.enumerate():
            if thread.name == "one-core":
                thread.join(30)


def test_cores_that_the_administrator_took_away_stay_unused() -> None:
    only = max(os.sched_getaffinity(0))
    program = (
        "import os, threading\nfrom exporter.one_core import keep\n"
        f"os.sched_setaffinity(0, {{{only}}})\nkeep(threading.Event())\nprint(os.sched_getaffinity(0))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == str({only})


def test_where_it_is_not_allowed_threads_run_anywhere(allowed: frozenset[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setaffinity", refused)
    assert one_core.gather(allowed) is None
    one_core.keep(threading.Event())
    monkeypatch.undo()
    assert os.sched_getaffinity(0) == allowed
    assert all(thread.name != "one-core" for thread in threading.enumerate())


def test_a_system_without_the_calls_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    one_core.keep(threading.Event())
    assert all(thread.name != "one-core" for thread in threading.enumerate())
