"""Network rates, pressure and ZFS cache of each node, out of `GET /nodes/{node}/rrddata`. Needs Sys.Audit on the node.

    pve_node_network_receive_bytes_per_second{cluster="home",id="node/pve1"} 35853.7
    pve_node_pressure_ratio{cluster="home",id="node/pve1",resource="io",kind="some"} 0.011

By hand: `pvesh get /nodes/pve1/rrddata --timeframe hour`. The figures are averages over the newest minute that Proxmox
VE has kept; the API gives no counters for a node's own network. Pressure and cache: since Proxmox VE 9.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from exporter.collectors.definition import Collector, NothingHere, Request, every_node_interval, keep_node_interval
from exporter.exposition import Metric, Number, Sample
from exporter.snapshot import View
from pvewatch.pve.errors import NotFound, Rejected
from pvewatch.pve.models_node import NodeHistory

# What 8.4 says of a node that has no statistics yet: `RRD error: … No such file or directory`.
_NO_STATISTICS = "RRD error"


def read(request: Request) -> NodeHistory:
    """Ask one node for its newest minute; a node without statistics has none."""
    try:
        found = request.client.node_history(request.node)
    except (NotFound, Rejected) as error:
        if _NO_STATISTICS in error.reason:
            raise NothingHere from error
        raise
    if found is None:
        raise NothingHere
    return found


def _figure(get: Callable[[NodeHistory], Number | None]) -> Callable[[View], Iterator[Sample]]:
    def samples(view: View) -> Iterator[Sample]:
        for history in view.answers(COLLECTOR.name, NodeHistory):
            yield (f"node/{history.node}",), get(history)

    return samples


def _pressure(view: View) -> Iterator[Sample]:
    for history in view.answers(COLLECTOR.name, NodeHistory):
        for key in sorted(history.pressure):
            yield (f"node/{history.node}", *key), history.pressure[key]


_ID = ("id",)

METRICS = (
    Metric(
        "pve_node_network_receive_bytes_per_second",
        "gauge",
        "Bytes received by the node each second, averaged over a minute.",
        _ID,
        _figure(lambda history: history.net_in_bytes_per_second),
    ),
    Metric(
        "pve_node_network_transmit_bytes_per_second",
        "gauge",
        "Bytes sent by the node each second, averaged over a minute.",
        _ID,
        _figure(lambda history: history.net_out_bytes_per_second),
    ),
    Metric(
        "pve_node_pressure_ratio",
        "gauge",
        "Share of time in which some or all tasks waited for the resource (cpu, io, memory), 0 to 1.",
        ("id", "resource", "kind"),
        _pressure,
    ),
    Metric(
        "pve_node_zfs_arc_size_bytes",
        "gauge",
        "Memory that the ZFS cache holds; it counts as used memory.",
        _ID,
        _figure(lambda history: history.arc_size_bytes),
    ),
)

COLLECTOR = Collector(
    "node_history",
    "node",
    read,
    METRICS,
    every_node_interval,
    keep_node_interval,
)
