"""`pvewatch exporter`, first reading all guests as fast as it can: `python -m bench.hurried --config FILE exporter`.

Calls for single guests are spread over an hour, so as to be no burden, and a benchmark cannot wait for that. Once the
file that PVEWATCH_BENCH_HURRY_ENDS names is there, the exporter goes on at its ordinary pace: what is measured then is
an ordinary day.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from exporter import service
from exporter.collectors import config, guest_agent, guest_pending, guest_snapshots
from exporter.jobs import Pace
from pvewatch.cli import main

_SWEEPS: tuple[Any, ...] = (guest_agent, guest_pending, guest_snapshots)
_over = threading.Event()


class _HurriedPace(Pace):
    def wait(self, endpoint: str) -> None:
        """Nobody waits as long as it hurries."""
        if _over.is_set():
            super().wait(endpoint)


def hurry(ends: Path) -> None:
    """Take away the limits until there is a file `ends`; returns at once."""
    new_guests, plans = config.NEW_GUESTS_PER_RUN, [sweep._PLAN for sweep in _SWEEPS]
    config.NEW_GUESTS_PER_RUN = 100_000
    for sweep in _SWEEPS:
        sweep._PLAN = replace(sweep._PLAN, per_minute=100_000)
    setattr(service, "Pace", _HurriedPace)  # noqa: B010 - for mypy it would be an assignment to a type

    def slow_down() -> None:
        while not ends.exists():
            time.sleep(0.2)
        config.NEW_GUESTS_PER_RUN = new_guests
        for sweep, plan in zip(_SWEEPS, plans, strict=True):
            sweep._PLAN = plan
        _over.set()

    threading.Thread(target=slow_down, name="slow-down", daemon=True).start()


if __name__ == "__main__":
    hurry(Path(os.environ["PVEWATCH_BENCH_HURRY_ENDS"]))
    main()
