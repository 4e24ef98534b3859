"""`pvewatch exporter`, but sweeping the guests as fast as it can: `python -m bench.hurried --config FILE exporter`.

Calls for single guests are spread over an hour, so as to be no burden. What is remembered afterwards does not depend on
how fast it came, and a benchmark cannot wait for it.
"""

from __future__ import annotations

from dataclasses import replace

from exporter import service
from exporter.collectors import config, guest_agent, guest_pending, guest_snapshots
from pvewatch.cli import main

if __name__ == "__main__":
    service.CALLS_PER_SECOND = service.CALLS_AT_ONCE = 10_000.0
    config.NEW_GUESTS_PER_RUN = 100_000
    guest_agent._PLAN = replace(guest_agent._PLAN, per_minute=100_000)
    guest_pending._PLAN = replace(guest_pending._PLAN, per_minute=100_000)
    guest_snapshots._PLAN = replace(guest_snapshots._PLAN, per_minute=100_000)
    main()
