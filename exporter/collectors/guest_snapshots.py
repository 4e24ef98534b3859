"""How many snapshots each guest has, how old the oldest is and how many lie upon each other.

    pve_guest_snapshots{cluster="home",id="qemu/101"} 1
    pve_guest_snapshot_oldest_timestamp_seconds{cluster="home",id="qemu/101"} 1795252874
    pve_guest_snapshot_depth{cluster="home",id="qemu/101"} 1

By hand: `pvesh get /nodes/pve1/qemu/101/snapshot`. Needs VM.Audit on the guest. One call for each guest, see `sweep`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from exporter.collectors.definition import Collector, Request, every_node_interval
from exporter.collectors.sweep import Plan, Swept, answers, sweep
from exporter.exposition import Metric, Number, Sample
from exporter.snapshot import View
from pvewatch.config import ExporterSettings
from pvewatch.pve.models_guests import GuestSnapshots

NAME = "guest_snapshots"

_PLAN = Plan(
    NAME,
    wanted=lambda _, guest: not guest.template,
    ask=lambda request, guest: request.client.guest_snapshots(guest.node, guest.kind, guest.vmid),
    every_seconds=1800.0,
    per_minute=100,
)


def read(request: Request) -> Swept[GuestSnapshots]:
    """Ask for the snapshots of those of one node's guests whose turn it is."""
    return sweep(request, _PLAN)


def _figure(get: Callable[[GuestSnapshots], Number | None]) -> Callable[[View], Iterator[Sample]]:
    def samples(view: View) -> Iterator[Sample]:
        for guest_id, found in answers(view, NAME, GuestSnapshots).items():
            yield (guest_id,), get(found)

    return samples


METRICS = (
    Metric("pve_guest_snapshots", "gauge", "Snapshots of the guest.", ("id",), _figure(lambda found: found.count)),
    Metric(
        "pve_guest_snapshot_oldest_timestamp_seconds",
        "gauge",
        "When the guest's oldest snapshot was made; absent when it has none.",
        ("id",),
        _figure(lambda found: found.oldest_at),
    ),
    Metric(
        "pve_guest_snapshot_depth",
        "gauge",
        "How many snapshots the guest's present state builds upon, one on another; absent when it has none.",
        ("id",),
        _figure(lambda found: found.depth if found.count else None),
    ),
)


def keep_seconds(settings: ExporterSettings) -> float:
    """How long a node's answers count without a newer one: snapshots are configuration, and outlive an outage."""
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
