"""How many changes of each guest's configuration wait for its next start.

    pve_guest_pending_changes{cluster="home",id="qemu/100"} 2

By hand: `pvesh get /nodes/pve1/qemu/100/pending`. Needs VM.Audit on the guest. One call for each guest, see `sweep`.
"""

from __future__ import annotations

from collections.abc import Iterator

from exporter.collectors.definition import Collector, Request, every_node_interval
from exporter.collectors.sweep import Plan, Swept, answers, sweep
from exporter.exposition import Metric, Sample
from exporter.snapshot import View
from pvewatch.config import ExporterSettings

NAME = "guest_pending"

_PLAN = Plan(
    NAME,
    wanted=lambda _, guest: not guest.template,
    ask=lambda request, guest: request.client.guest_pending_changes(guest.node, guest.kind, guest.vmid),
    every_seconds=1800.0,
    per_minute=100,
)


def read(request: Request) -> Swept[int]:
    """Ask for the waiting changes of those of one node's guests whose turn it is."""
    return sweep(request, _PLAN)


def _pending(view: View) -> Iterator[Sample]:
    for guest_id, count in answers(view, NAME, int).items():
        yield (guest_id,), count


METRICS = (
    Metric(
        "pve_guest_pending_changes",
        "gauge",
        "Options of the guest's configuration that take effect only when it is stopped and started again.",
        ("id",),
        _pending,
    ),
)


def keep_seconds(settings: ExporterSettings) -> float:
    """How long a node's answers count without a newer one: this is configuration, and outlives an outage."""
    return max(settings.figures_expire_seconds, 600.0, 2 * _PLAN.every(settings))


COLLECTOR = Collector(
    NAME,
    "node",
    read,
    METRICS,
    every_node_interval,
    keep_seconds,
    sweeps=True,
)
