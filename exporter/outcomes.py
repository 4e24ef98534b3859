"""How reading went, as metrics: whether each collector succeeded, why not, how long it took, and when it last did.

    pve_collector_success{cluster="home",collector="node",node="pve2"} 0
    pve_collector_error{cluster="home",collector="node",node="pve2",class="unreachable"} 1

A collector that finds nothing of its kind has succeeded: it has no samples, and nothing is broken.
"""

from __future__ import annotations

from collections.abc import Iterator

from exporter.exposition import Metric, Sample
from exporter.snapshot import View


def _success(view: View) -> Iterator[Sample]:
    for key in sorted(view.readings):
        yield key, int(view.readings[key].failure is None)


def _error(view: View) -> Iterator[Sample]:
    for key in sorted(view.readings):
        failure = view.readings[key].failure
        if failure is not None:
            yield (*key, failure.error_class), 1


def _duration(view: View) -> Iterator[Sample]:
    for key in sorted(view.readings):
        yield key, view.readings[key].duration_seconds


def _last_success(view: View) -> Iterator[Sample]:
    for key in sorted(view.readings):
        yield key, view.readings[key].succeeded_at


_COLLECTOR = ("collector", "node")

METRICS = (
    Metric(
        "pve_collector_success",
        "gauge",
        "Whether the collector's newest attempt succeeded; node only where it asks each node.",
        _COLLECTOR,
        _success,
    ),
    Metric(
        "pve_collector_error",
        "gauge",
        "Why the collector's newest attempt failed, by class; absent while it succeeds.",
        (*_COLLECTOR, "class"),
        _error,
    ),
    Metric(
        "pve_collector_duration_seconds",
        "gauge",
        "How long the collector's newest attempt took.",
        _COLLECTOR,
        _duration,
    ),
    Metric(
        "pve_collector_last_success_timestamp_seconds",
        "gauge",
        "When the collector last succeeded; absent when it never has.",
        _COLLECTOR,
        _last_success,
    ),
)
