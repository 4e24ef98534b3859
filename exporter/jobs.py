"""The threads of one cluster: who works when, and how fast at most.

Daemon threads: a call that hangs must not hold up the end.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

_log = logging.getLogger(__name__)

MAX_WAITING = 4096
GAP_SECONDS = 0.025
STRETCH_SECONDS = 0.002
REST = 1.5


@dataclass(frozen=True, slots=True)
class _Job:
    lane: tuple[str, bool]
    run: Callable[[], None]


class JobPool:
    """Runs jobs, quick ones before slow ones, each kind in its order.

    Of one group (a node, say) one quick and one slow job run at a time, and slow ones never take more than half of the
    threads: whatever hangs or takes its time, quick jobs of other groups find a thread.
    """

    def __init__(self, name: str, threads: int) -> None:
        self._name = name
        self._limit = threads
        self._changed = threading.Condition()
        self._waiting: dict[bool, deque[_Job]] = {False: deque(), True: deque()}
        self._running: set[tuple[str, bool]] = set()
        self._threads = 0
        self._idle = 0
        self._ended = False

    def submit(self, group: str, run: Callable[[], None], *, slow: bool) -> bool:
        """Hand over a job that raises nothing. False when too many are waiting, or after the end."""
        with self._changed:
            if self._ended or sum(map(len, self._waiting.values())) >= MAX_WAITING:
                return False
            self._waiting[slow].append(_Job((group, slow), run))
            if self._idle == 0 and self._threads < self._limit:
                name = f"{self._name}-{self._threads}"
                self._threads += 1
                threading.Thread(target=self._work, name=name, daemon=True).start()
            self._changed.notify()
        return True

    def end(self) -> None:
        """Let the threads end; what waits is not begun any more."""
        with self._changed:
            self._ended = True
            for waiting in self._waiting.values():
                waiting.clear()
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                job = self._next()
                while job is None:
                    if self._ended:
                        return
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
                    job = self._next()
                self._running.add(job.lane)
            try:
                job.run()
            except Exception:  # noqa: BLE001 - nobody would put another thread in this one's place
                _log.exception("a mistake in pvewatch ended what %s was doing", threading.current_thread().name)
            finally:
                with self._changed:
                    self._running.discard(job.lane)
                    self._changed.notify()

    def _next(self) -> _Job | None:
        """Take out the first job whose group is free, a quick one if there is one."""
        slow_running = sum(slow for _, slow in self._running)
        for slow in (False, True):
            if slow and slow_running >= max(1, self._limit // 2):
                return None
            waiting = self._waiting[slow]
            for place, job in enumerate(waiting):
                if job.lane not in self._running:
                    del waiting[place]
                    return job
        return None


class Considerate:
    """Long work that lets others have their turn: after each stretch it rests for REST times as long.

    Without, threads that compute hold up those that answer, which need a turn of the interpreter for each system call.
    """

    def __init__(self) -> None:
        self._begun = time.perf_counter()

    def breathe(self) -> None:
        """Rest if it is time to; to be called every millisecond or so."""
        worked = time.perf_counter() - self._begun
        if worked > STRETCH_SECONDS:
            time.sleep(worked * REST)
            self._begun = time.perf_counter()


class Pace:
    """A bounded rate of calls to the nodes of one cluster: `burst` in a row, then `per_second`, whoever asks.

    Also of a burst no two come within GAP_SECONDS: Proxmox VE has three processes that answer, and here many answers at
    the same moment would keep those waiting who want one of us.
    """

    def __init__(self, per_second: float, burst: float, stopped: threading.Event) -> None:
        self._per_second = per_second
        self._burst = burst
        self._stopped = stopped
        self._lock = threading.Lock()
        self._level = burst
        self._since = time.monotonic()
        self._last = 0.0

    def wait(self, endpoint: str) -> None:
        """Wait for one's turn; `endpoint` is a template. Cluster-wide calls, a few a minute, have no turn."""
        if not endpoint.startswith("/nodes/"):
            return
        with self._lock:
            now = time.monotonic()
            # Below zero: those who wait have taken theirs already, each a place further back.
            self._level = min(self._burst, self._level + (now - self._since) * self._per_second) - 1
            self._since = now
            delay = max(-self._level / self._per_second, self._last + GAP_SECONDS - now)
            self._last = now + max(0.0, delay)
        if delay > 0:
            self._stopped.wait(delay)
