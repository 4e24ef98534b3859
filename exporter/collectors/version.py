"""The version of the host that answers, out of `GET /version`.

    pve_version_info{cluster="home",release="8.4",repoid="2606ac850d46da29",version="8.4.21"} 1

By hand: `pvesh get /version`.
"""

from __future__ import annotations

from collections.abc import Iterator

from exporter.collectors.definition import Collector, Request, every_node_interval, keep_node_interval
from exporter.exposition import Metric, Sample
from exporter.snapshot import View
from pvewatch.pve.models import Version


def read(request: Request) -> Version:
    """Ask for the version."""
    return request.client.version()


def _info(view: View) -> Iterator[Sample]:
    if view.version is not None:
        yield (view.version.release or "", view.version.repoid or "", view.version.version), 1


METRICS = (
    Metric(
        "pve_version_info",
        "gauge",
        "The version of the host that answered; always 1.",
        ("release", "repoid", "version"),
        _info,
    ),
)

COLLECTOR = Collector("version", "cluster", read, METRICS, every_node_interval, keep_node_interval)
