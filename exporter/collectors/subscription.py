"""The subscription of each node, out of `GET /nodes/{node}/subscription`. Any token may ask.

    pve_subscription_status{cluster="home",id="node/pve1",status="active"} 1
    pve_subscription_info{cluster="home",id="node/pve1",level="c"} 1
    pve_subscription_next_due_timestamp_seconds{cluster="home",id="node/pve1"} 1798675200

By hand: `pvesh get /nodes/pve1/subscription`. Names and labels are those of prometheus-pve-exporter; the due date is
midnight UTC.
"""

from __future__ import annotations

from collections.abc import Iterator

from exporter.collectors.definition import Collector, Request, every, keep
from exporter.exposition import Metric, Sample
from exporter.snapshot import View
from pvewatch.pve.models_node import Subscription

INTERVAL_SECONDS = 3600.0
STATUSES = ("new", "notfound", "active", "invalid", "expired", "suspended")
NO_LEVEL = "unknown"


def read(request: Request) -> Subscription:
    """Ask one node for its subscription."""
    return request.client.subscription(request.node)


def _answers(view: View) -> list[Subscription]:
    return view.answers(COLLECTOR.name, Subscription)


def _info(view: View) -> Iterator[Sample]:
    for found in _answers(view):
        yield (f"node/{found.node}", found.level or NO_LEVEL), 1


def _status(view: View) -> Iterator[Sample]:
    for found in _answers(view):
        for status in STATUSES:
            yield (f"node/{found.node}", status), int(status == found.status)


def _next_due(view: View) -> Iterator[Sample]:
    for found in _answers(view):
        yield (f"node/{found.node}",), found.next_due


METRICS = (
    Metric("pve_subscription_info", "gauge", "The subscription's level; always 1.", ("id", "level"), _info),
    Metric(
        "pve_subscription_status",
        "gauge",
        "State of the subscription, 1 for the present one; notfound without one.",
        ("id", "status"),
        _status,
    ),
    Metric(
        "pve_subscription_next_due_timestamp_seconds",
        "gauge",
        "The day (midnight UTC) on which the subscription ends.",
        ("id",),
        _next_due,
    ),
)

COLLECTOR = Collector(
    "subscription",
    "node",
    read,
    METRICS,
    every(INTERVAL_SECONDS),
    keep(INTERVAL_SECONDS),
)
