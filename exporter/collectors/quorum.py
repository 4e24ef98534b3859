"""Votes of the cluster's nodes, out of `GET /cluster/config/nodes`. Needs Sys.Audit on /.

    pve_cluster_votes_expected{cluster="home"} 3
    pve_cluster_votes_present{cluster="home"} 2

By hand: `pvesh get /cluster/config/nodes`; `pvecm status` shows the sums.

The API tells the votes of nodes only: what a quorum device adds is not in these figures (see pve_qdevice_up). A
standalone host has no votes, and so no series.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from exporter.collectors.definition import Collector, NothingHere, Request, every, keep
from exporter.exposition import Metric, Sample
from exporter.snapshot import View
from pvewatch.pve.models_cluster import VotingNode

INTERVAL_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Votes:
    """The configured votes, by node."""

    nodes: tuple[VotingNode, ...]


def read(request: Request) -> Votes:
    """Ask for the configured votes."""
    nodes = request.client.voting_nodes()
    if not nodes:
        raise NothingHere
    found = Votes(nodes)
    return request.previous if isinstance(request.previous, Votes) and request.previous == found else found


def _votes(view: View) -> tuple[VotingNode, ...]:
    return next((votes.nodes for votes in view.answers(COLLECTOR.name, Votes)), ())


def _node_votes(view: View) -> Iterator[Sample]:
    for node in _votes(view):
        yield (f"node/{node.name}",), node.votes


def _expected(view: View) -> Iterator[Sample]:
    votes = [node.votes for node in _votes(view)]
    if votes and None not in votes:
        yield (), sum(vote or 0 for vote in votes)


def _present(view: View) -> Iterator[Sample]:
    if view.status is None:
        return
    online = {node.name for node in view.status.nodes if node.online}
    votes = [node.votes for node in _votes(view) if node.name in online]
    if votes and None not in votes:
        yield (), sum(vote or 0 for vote in votes)


METRICS = (
    Metric("pve_node_votes", "gauge", "Votes of the node in corosync's configuration.", ("id",), _node_votes),
    Metric(
        "pve_cluster_votes_expected",
        "gauge",
        "Votes of all nodes in corosync's configuration, without those of a quorum device.",
        (),
        _expected,
    ),
    Metric(
        "pve_cluster_votes_present",
        "gauge",
        "Votes of the nodes that are online, without those of a quorum device.",
        (),
        _present,
        reads=("status",),
    ),
)

COLLECTOR = Collector(
    "quorum",
    "cluster",
    read,
    METRICS,
    every(INTERVAL_SECONDS),
    keep(INTERVAL_SECONDS),
)
