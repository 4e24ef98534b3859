"""Quorum and membership out of `GET /cluster/status`. Needs Sys.Audit on /.

    pve_up{cluster="home",id="node/pve1"} 1
    pve_cluster_info{cluster="home",id="cluster/lab",nodes="3",quorate="1",version="3"} 1

By hand: `pvesh get /cluster/status`. A standalone host has no cluster row, and so no pve_cluster_info.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from exporter.collectors.definition import Collector, Request, every_poll, keep_poll
from exporter.collectors.resources import METRICS as RESOURCES_METRICS
from exporter.exposition import Metric, Sample
from exporter.snapshot import View
from pvewatch.pve.models import ClusterStatus


def read(request: Request) -> ClusterStatus:
    """Ask for quorum and nodes."""
    found = request.client.cluster_status()
    return replace(found, nodes=tuple({node.name: node for node in reversed(found.nodes)}.values())[::-1])


def _up(view: View) -> Iterator[Sample]:
    if view.status is None:
        return
    for node in view.status.nodes:
        yield (f"node/{node.name}",), int(node.online)
    if view.status.name is not None and view.status.quorate is not None:
        yield (f"cluster/{view.status.name}",), int(view.status.quorate)


def _node_info(view: View) -> Iterator[Sample]:
    for node in view.status.nodes if view.status else ():
        yield (f"node/{node.name}", node.level or "", node.name, "" if node.nodeid is None else str(node.nodeid)), 1


def _cluster_info(view: View) -> Iterator[Sample]:
    status = view.status
    if status is not None and status.name is not None:
        shown = (status.node_count, None if status.quorate is None else int(status.quorate), status.version)
        yield (f"cluster/{status.name}", *("" if part is None else str(part) for part in shown)), 1


def _quorate(view: View) -> Iterator[Sample]:
    if view.status is not None and view.status.quorate is not None:
        yield (), int(view.status.quorate)


def _nodes(view: View) -> Iterator[Sample]:
    if view.status is not None:
        online = sum(node.online for node in view.status.nodes)
        yield ("online",), online
        yield ("offline",), len(view.status.nodes) - online


# The same family as the guests' and storages': one help text, two sources.
_UP = next(metric for metric in RESOURCES_METRICS if metric.name == "pve_up")

METRICS = (
    replace(_UP, samples=_up),
    Metric(
        "pve_node_info",
        "gauge",
        "A node of the cluster; always 1. The level is that of its subscription.",
        ("id", "level", "name", "nodeid"),
        _node_info,
    ),
    Metric(
        "pve_cluster_info",
        "gauge",
        "The cluster as Proxmox VE names it; always 1. Absent for a standalone host.",
        ("id", "nodes", "quorate", "version"),
        _cluster_info,
    ),
    Metric(
        "pve_cluster_quorate",
        "gauge",
        "Whether the cluster has quorum, as the node that answers sees it. Absent for a standalone host.",
        (),
        _quorate,
    ),
    Metric(
        "pve_cluster_nodes",
        "gauge",
        "Nodes of the cluster by whether the node that answers sees them.",
        ("state",),
        _nodes,
    ),
)

COLLECTOR = Collector(
    "status",
    "cluster",
    read,
    METRICS,
    every_poll,
    keep_poll,
)
