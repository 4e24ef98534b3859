"""LVM thin pools of each node with their metadata, out of `GET /nodes/{node}/disks/lvmthin`.

    pve_node_thin_pool_metadata_usage_bytes{cluster="home",id="node/pve1",pool="pve/data"} 12884901
    pve_node_thin_pool_metadata_size_bytes{cluster="home",id="node/pve1",pool="pve/data"} 1073741824

By hand: `pvesh get /nodes/pve1/disks/lvmthin`. Needs Sys.Audit on /. A node without thin pools has no series. `pool` is
volume group and pool. A storage's usage is that of the pool's data; metadata fill by themselves, with snapshots above
all, and guests fail as soon as either is full.

Thin pools were not recorded from a live server: this follows the API reference and Proxmox VE's source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from exporter.collectors.definition import Collector, Request, every, keep
from exporter.exposition import Metric, Number, Sample
from exporter.snapshot import View
from pvewatch.pve.models_disks import NodeThinPools, ThinPool

INTERVAL_SECONDS = 300.0


def read(request: Request) -> NodeThinPools:
    """Ask one node for its thin pools."""
    return request.client.thin_pools(request.node)


def _figure(get: Callable[[ThinPool], Number | None]) -> Callable[[View], Iterator[Sample]]:
    def samples(view: View) -> Iterator[Sample]:
        for node in view.answers(COLLECTOR.name, NodeThinPools):
            for pool in node.pools:
                yield (f"node/{node.node}", pool.name), get(pool)

    return samples


_ID = ("id", "pool")

METRICS = (
    Metric(
        "pve_node_thin_pool_size_bytes",
        "gauge",
        "Size of the thin pool's data.",
        _ID,
        _figure(lambda pool: pool.size_bytes),
    ),
    Metric(
        "pve_node_thin_pool_usage_bytes",
        "gauge",
        "Used part of the thin pool's data.",
        _ID,
        _figure(lambda pool: pool.used_bytes),
    ),
    Metric(
        "pve_node_thin_pool_metadata_size_bytes",
        "gauge",
        "Size of the thin pool's metadata.",
        _ID,
        _figure(lambda pool: pool.metadata_size_bytes),
    ),
    Metric(
        "pve_node_thin_pool_metadata_usage_bytes",
        "gauge",
        "Used part of the thin pool's metadata; when it is full every guest on the pool fails.",
        _ID,
        _figure(lambda pool: pool.metadata_used_bytes),
    ),
)

COLLECTOR = Collector(
    "thin_pools",
    "node",
    read,
    METRICS,
    every(INTERVAL_SECONDS),
    keep(INTERVAL_SECONDS),
)
