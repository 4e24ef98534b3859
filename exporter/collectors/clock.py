"""How far each node's clock is from the exporter's, out of `GET /nodes/{node}/time`. Needs Sys.Audit on the node.

    pve_node_clock_offset_seconds{cluster="home",id="node/pve1"} 0.31

By hand: `pvesh get /nodes/pve1/time` beside `date +%s`. Proxmox VE gives whole seconds, and the figure is no better.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from exporter.collectors.definition import Collector, NothingHere, Request, every, keep
from exporter.exposition import Metric, Sample
from exporter.snapshot import View

INTERVAL_SECONDS = 300.0
# Half of this is the error that a slow answer adds; a clock is not judged by a worse measurement.
MAX_ANSWER_SECONDS = 1.0
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """The node's clock minus ours, in seconds."""

    node: str
    seconds: float


def read(request: Request) -> ClockOffset:
    """Ask one node for the time, and compare with the middle of the request.

    A slow answer, or a turn that had to be waited for, is asked again a few times; then the last comparison stays.
    """
    first = time.monotonic()
    for _ in range(ATTEMPTS):
        begun = time.monotonic()
        shown = request.client.node_time(request.node)
        took = time.monotonic() - begun
        if took <= MAX_ANSWER_SECONDS:
            # A clock that shows whole seconds is half a second further on average.
            return ClockOffset(request.node, shown + 0.5 - (request.now + begun - first + took / 2))
        if request.stopping():
            break
    if isinstance(request.previous, ClockOffset):
        return request.previous
    raise NothingHere


def _offset(view: View) -> Iterator[Sample]:
    for answer in view.answers(COLLECTOR.name, ClockOffset):
        yield (f"node/{answer.node}",), round(answer.seconds, 3)


METRICS = (
    Metric(
        "pve_node_clock_offset_seconds",
        "gauge",
        "The node's clock minus the exporter's, good to about a second; positive when the node's is ahead.",
        ("id",),
        _offset,
    ),
)

COLLECTOR = Collector(
    "clock",
    "node",
    read,
    METRICS,
    every(INTERVAL_SECONDS),
    keep(INTERVAL_SECONDS),
)
