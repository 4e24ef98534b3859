"""Lists of guests of several clusters: what names them, and the columns that lead on from a row."""

from __future__ import annotations

from grafana.source import links
from grafana.source.board import Column
from grafana.source.promql import INFO

GUESTS_LISTED = 200
IDENTIFIED = f"* on (cluster, id) group_left (name, vmid, kind, node) {INFO}"


def listed(expr: str, *, most: int = GUESTS_LISTED) -> str:
    """At most so many of the guests that `expr` returns (by cluster and id), those with most first, named."""
    return f"topk({most}, {expr}) {IDENTIFIED}"


def guest_columns() -> list[Column]:
    """VMID, name, cluster, node and kind; the VMID leads to the guest and to the pages that act on it."""
    cluster, vmid = links.column("Cluster"), links.column("VMID")
    ways = [links.to_guest(cluster, vmid), *links.guest_acts(cluster, links.column("Kind"), vmid)]
    return [
        Column("vmid", "VMID", links=ways, width=90),
        Column("name", "Guest", links=[links.to_guest(cluster, vmid)]),
        cluster_column(),
        node_column(),
        Column("kind", "Kind", width=80),
    ]


def cluster_column() -> Column:
    """The cluster of a row, which leads to its page."""
    return Column("cluster", "Cluster", links=[links.to_cluster(links.column("Cluster"))])


def node_column(source: str = "node", heading: str = "Node") -> Column:
    """A node of a row, which leads to its page."""
    return Column(source, heading, links=[links.to_node(links.column("Cluster"), links.column(heading))])
