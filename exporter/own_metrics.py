"""The exporter's metrics about itself, in a registry of their own."""

from __future__ import annotations

import platform
import threading
from collections.abc import Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from pvewatch import __version__

_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30)
_FIRST_ANSWER_BUCKETS = (0.005, 0.01, 0.03, 0.1, 0.3, 1, 5)


class OwnMetrics:
    """Process, Python, requests to Proxmox VE, and requests to the exporter."""

    def __init__(self) -> None:
        # Series of creation times double what a counter costs and nobody asks for them.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus_client has no annotation there
        self._registry = CollectorRegistry()
        self._lock = threading.Lock()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        build = Gauge(
            "pvewatch_build_info", "The running pvewatch; always 1.", ["version", "python"], registry=self._registry
        )
        build.labels(__version__, platform.python_version()).set(1)
        self._requests = Counter(
            "pvewatch_pve_requests_total",
            "Requests to Proxmox VE by endpoint and outcome (ok, or the class of the error).",
            ["cluster", "endpoint", "outcome"],
            registry=self._registry,
        )
        self._durations = Histogram(
            "pvewatch_pve_request_duration_seconds",
            "How long requests to Proxmox VE took, failed ones included.",
            ["cluster", "endpoint"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._runs = Counter(
            "pvewatch_collector_runs_total",
            "Runs of collectors by outcome (ok, or the class of the error); those on nodes are counted together.",
            ["cluster", "collector", "outcome"],
            registry=self._registry,
        )
        self._age = Gauge(
            "pvewatch_snapshot_age_seconds",
            "Age of the newest figures out of /cluster/resources; absent while there are none.",
            ["cluster"],
            registry=self._registry,
        )
        self._series = Gauge(
            "pvewatch_series",
            "Series about the cluster on /metrics, without those of agents.",
            ["cluster"],
            registry=self._registry,
        )
        self._reloads = Counter(
            "pvewatch_config_reloads_total",
            "Times the configuration was read again, by outcome (ok, failed).",
            ["outcome"],
            registry=self._registry,
        )
        for outcome in ("ok", "failed"):
            self._reloads.labels(outcome)
        self._http = Histogram(
            "pvewatch_http_request_duration_seconds",
            "How long the exporter took to answer, by route and status.",
            ["route", "status"],
            buckets=_FIRST_ANSWER_BUCKETS,
            registry=self._registry,
        )

    def pve_request(self, cluster: str, endpoint: str, outcome: str, seconds: float) -> None:
        """Count a request to Proxmox VE; `endpoint` is a template, never the path of one guest."""
        self._requests.labels(cluster, endpoint, outcome).inc()
        self._durations.labels(cluster, endpoint).observe(seconds)

    def collector_ran(self, cluster: str, collector: str, outcome: str) -> None:
        """Count a collector's run."""
        self._runs.labels(cluster, collector, outcome).inc()

    def reloaded(self, outcome: str) -> None:
        """Count a reading of the configuration, `ok` or `failed`."""
        self._reloads.labels(outcome).inc()

    def show_clusters(self, ages: Mapping[str, float | None], series: Mapping[str, int]) -> None:
        """Set what there is of each cluster: the age of its figures (seconds, None without) and its series."""
        with self._lock:
            self._age.clear()
            self._series.clear()
            for cluster, age in ages.items():
                if age is not None:
                    self._age.labels(cluster).set(age)
                self._series.labels(cluster).set(series.get(cluster, 0))

    def http_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request to the exporter; `route` is the rule that matched."""
        self._http.labels(route, str(status)).observe(seconds)

    def text(self) -> bytes:
        """The page."""
        with self._lock:
            return generate_latest(self._registry)
