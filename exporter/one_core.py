"""Keeping all of the exporter's threads on one processor core.

Python's threads compute one after the other anyway. Where each turn may go to another core, that core is woken for it
first, and who answers heartbeats and scrapes waits the longer for his.

Which core: the one on which the system wakes a thread that may run anywhere, an idle one therefore if there is any. It
is asked again every minute, so that whoever else takes that core does not slow the exporter down for long. Linux only;
where it is not allowed, threads run anywhere, as everywhere else.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Set
from pathlib import Path

LOOK_SECONDS = 60.0
_SLEEP_SECONDS = 0.01
_log = logging.getLogger(__name__)


def keep(stopped: threading.Event) -> None:
    """Keep all threads on one of the cores that this process may use, until `stopped` is set.

    To be called before there are other threads. What the administrator allows (taskset, CPUAffinity=, cpusets) counts
    as it is at that moment.
    """
    if not hasattr(os, "sched_getaffinity"):
        return
    allowed = frozenset(os.sched_getaffinity(0))
    if len(allowed) < 2:
        return

    def look() -> None:
        while not stopped.wait(LOOK_SECONDS):
            gather(allowed)

    if gather(allowed) is not None:
        threading.Thread(target=look, name="one-core", daemon=True).start()


def gather(allowed: Set[int]) -> int | None:
    """Put every thread of this process on one core of `allowed`; returns its number, None where that is not possible.

    Takes some ten milliseconds of waiting. The calling thread is the one that is woken somewhere.
    """
    try:
        os.sched_setaffinity(0, allowed)
        time.sleep(_SLEEP_SECONDS)
        core = _core()
        for thread in Path("/proc/self/task").iterdir():
            with contextlib.suppress(ProcessLookupError):  # it has ended
                os.sched_setaffinity(int(thread.name), {core})
    except (OSError, ValueError, IndexError) as error:
        _log.debug("threads run on any core: %s", error)
        return None
    return core


def _core() -> int:
    """The core that the calling thread runs on: `processor` of proc_pid_stat(5), the 39th field."""
    # The name of the program comes second, in brackets, and may hold spaces.
    _, _, rest = Path("/proc/thread-self/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")
    return int(rest.split()[36])
