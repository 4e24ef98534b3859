"""GET /metrics of the action API: counts out of the database, so that every process and every replica shows the same.

By hand: curl http://127.0.0.1:9280/metrics

    pvewatch_actions_total{action="reset",origin="automation",outcome="succeeded"} 3.0
    pvewatch_incidents{state="open"} 1.0
"""

from __future__ import annotations

import platform
from collections.abc import Iterator

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from action_api.routes.services import now, services
from action_api.store import Store
from pvewatch import __version__

# Family in the store → name without _total, help, label names.
COUNTERS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("actions", "pvewatch_actions", "Action runs that ended, by outcome.", ("action", "origin", "outcome")),
    (
        "deliveries",
        "pvewatch_notifications",
        "Attempts of the relay to deliver a message: sent, failed (tried again), dead (given up).",
        ("channel", "outcome"),
    ),
    ("logins", "pvewatch_logins", "Attempts to sign in.", ("outcome",)),
    ("refusals", "pvewatch_refusals", "Action runs refused, by reason.", ("reason",)),
    ("webhooks", "pvewatch_webhooks", "Messages to the webhooks.", ("outcome",)),
)

blueprint = Blueprint("metrics", __name__)


@blueprint.get("/metrics")
def metrics() -> Response:
    """The page for Prometheus: counts, and the ids that thresholds were set for. No names of guests or people."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StoreCollector(services().store, now()))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)


class StoreCollector:
    """Reads all families as they are at `moment` (unix seconds); a scrape has one of its own."""

    def __init__(self, store: Store, moment: float) -> None:
        self._store = store
        self._moment = moment

    def collect(self) -> Iterator[Metric]:
        """The families, in a stable order."""
        counted = self._store.counters.all()
        for family, name, documentation, labels in COUNTERS:
            metric = CounterMetricFamily(name, documentation, labels=labels)
            for found, values, value in counted:
                if found == family:
                    metric.add_metric([values.get(label, "") for label in labels], value)
            yield metric
        incidents = GaugeMetricFamily("pvewatch_incidents", "Incidents kept, by state.", labels=("state",))
        for incident_state, count in self._store.incidents.count_by_state().items():
            incidents.add_metric([incident_state], count)
        yield incidents
        queue = GaugeMetricFamily("pvewatch_action_queue_length", "Action runs not ended yet.", labels=("state",))
        for run_state, count in self._store.runs.count_by_state().items():
            queue.add_metric([run_state], count)
        yield queue
        workers = GaugeMetricFamily(
            "pvewatch_worker_last_seen_timestamp_seconds",
            "When a worker of this queue and version last said that it runs, unix time.",
            labels=("queue", "version"),
        )
        for found, values, value in counted:
            if found == "worker_last_seen":
                workers.add_metric([values.get("queue", ""), values.get("version", "")], value)
        yield workers
        build = GaugeMetricFamily(
            "pvewatch_build_info", "The running pvewatch; always 1.", labels=("version", "python")
        )
        build.add_metric([__version__, platform.python_version()], 1)
        yield build
        waiting = GaugeMetricFamily(
            "pvewatch_notification_queue_length", "Messages of the relay that are kept.", labels=("channel", "state")
        )
        for (channel, delivery_state), count in sorted(self._store.deliveries.count_by_channel().items()):
            if delivery_state != "sent":
                waiting.add_metric([channel, delivery_state], count)
        yield waiting
        thresholds = GaugeMetricFamily(
            "pvewatch_threshold_override",
            "What alerts compare a figure with instead of pvewatch_threshold, as set at run time.",
            labels=("cluster", "id", "figure"),
        )
        for override in self._store.threshold_overrides.present(now=self._moment):
            thresholds.add_metric([override.cluster, override.id, override.figure], override.value)
        yield thresholds
