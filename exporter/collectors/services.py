"""The services that Proxmox VE looks after on each node, out of `GET /nodes/{node}/services`.

    pve_node_service_state{cluster="home",id="node/pve1",service="pveproxy",state="active"} 1
    pve_node_service_enabled{cluster="home",id="node/pve1",service="pveproxy"} 1

By hand: `pvesh get /nodes/pve1/services`. Needs Sys.Audit on the node. Services that are not installed, or masked, have
no series. `enabled` is systemd's: corosync is started by pve-cluster and is not enabled even where it runs.
"""

from __future__ import annotations

from collections.abc import Iterator

from exporter.collectors.definition import Collector, Request, every, keep
from exporter.exposition import Metric, Sample
from exporter.snapshot import View
from pvewatch.pve.models_node import NodeServices

INTERVAL_SECONDS = 120.0
STATES = ("active", "inactive", "failed", "other")


def read(request: Request) -> NodeServices:
    """Ask one node for its services."""
    found = request.client.services(request.node)
    # The same object says that nothing has to be written again: services seldom change.
    return request.previous if isinstance(request.previous, NodeServices) and request.previous == found else found


def _state(view: View) -> Iterator[Sample]:
    for node in view.answers(COLLECTOR.name, NodeServices):
        for service in node.services:
            if service.installed:
                present = service.state if service.state in STATES else "other"
                for state in STATES:
                    yield (f"node/{node.node}", service.name, state), int(state == present)


def _enabled(view: View) -> Iterator[Sample]:
    for node in view.answers(COLLECTOR.name, NodeServices):
        for service in node.services:
            if service.installed:
                yield (f"node/{node.node}", service.name), int(service.enabled)


METRICS = (
    Metric(
        "pve_node_service_state",
        "gauge",
        "The service's state as systemd has it, 1 for the present one.",
        ("id", "service", "state"),
        _state,
    ),
    Metric(
        "pve_node_service_enabled",
        "gauge",
        "Whether the service starts at boot.",
        ("id", "service"),
        _enabled,
    ),
)

COLLECTOR = Collector(
    "services",
    "node",
    read,
    METRICS,
    every(INTERVAL_SECONDS),
    keep(INTERVAL_SECONDS),
)
