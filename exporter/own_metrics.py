"""The exporter's metrics about itself, in a registry of their own."""

from __future__ import annotations

import platform

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

    def http_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request to the exporter; `route` is the rule that matched."""
        self._http.labels(route, str(status)).observe(seconds)

    def text(self) -> bytes:
        """The page."""
        return generate_latest(self._registry)
