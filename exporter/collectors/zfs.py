"""ZFS pools of each node, out of `GET /nodes/{node}/disks/zfs`.

    pve_node_zfs_pool_health{cluster="home",id="node/pve1",pool="rpool",state="ONLINE"} 1
    pve_node_zfs_pool_size_bytes{cluster="home",id="node/pve1",pool="rpool"} 1992864825344

By hand: `pvesh get /nodes/pve1/disks/zfs`. Needs Sys.Audit on /. A node without ZFS has no series. Sizes are those of
`zpool list`: of raidz they count parity too. A pool that cannot be used has none, and one that is not imported is not
listed.

Pools were not recorded from a live server: this follows the API reference and Proxmox VE's source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from exporter.collectors.definition import Collector, NothingHere, Request, every, keep
from exporter.exposition import Metric, Number, Sample
from exporter.snapshot import View
from pvewatch.pve.errors import Rejected
from pvewatch.pve.models_disks import NodeZfs, ZfsPool

INTERVAL_SECONDS = 300.0
# https://openzfs.github.io/openzfs-docs/man/master/7/zpoolconcepts.7.html; SUSPENDED: input and output have stopped.
STATES = ("ONLINE", "DEGRADED", "FAULTED", "OFFLINE", "UNAVAIL", "REMOVED", "SUSPENDED", "other")
_NOT_INSTALLED = "zfsutils-linux not installed"


def read(request: Request) -> NodeZfs:
    """Ask one node for its pools; where ZFS is not installed there are none."""
    try:
        return request.client.zfs_pools(request.node)
    except Rejected as error:
        if _NOT_INSTALLED in error.reason:
            raise NothingHere from error
        raise


def _pools(view: View) -> Iterator[tuple[str, ZfsPool]]:
    for node in view.answers(COLLECTOR.name, NodeZfs):
        for pool in node.pools:
            yield f"node/{node.node}", pool


def _health(view: View) -> Iterator[Sample]:
    for node, pool in _pools(view):
        if pool.health is not None:
            present = pool.health if pool.health in STATES else "other"
            for state in STATES:
                yield (node, pool.name, state), int(state == present)


def _figure(get: Callable[[ZfsPool], Number | None]) -> Callable[[View], Iterator[Sample]]:
    def samples(view: View) -> Iterator[Sample]:
        for node, pool in _pools(view):
            yield (node, pool.name), get(pool)

    return samples


_ID = ("id", "pool")

METRICS = (
    Metric(
        "pve_node_zfs_pool_health",
        "gauge",
        "The pool's health in ZFS's words, 1 for the present one.",
        (*_ID, "state"),
        _health,
    ),
    Metric(
        "pve_node_zfs_pool_size_bytes",
        "gauge",
        "Size of the pool's disks together, parity of raidz included.",
        _ID,
        _figure(lambda pool: pool.size_bytes),
    ),
    Metric(
        "pve_node_zfs_pool_allocated_bytes",
        "gauge",
        "Used part of the pool's disks.",
        _ID,
        _figure(lambda pool: pool.allocated_bytes),
    ),
    Metric(
        "pve_node_zfs_pool_free_bytes",
        "gauge",
        "Unused part of the pool's disks.",
        _ID,
        _figure(lambda pool: pool.free_bytes),
    ),
    Metric(
        "pve_node_zfs_pool_fragmentation_ratio",
        "gauge",
        "How scattered the pool's free space is, 0 to 1.",
        _ID,
        _figure(lambda pool: pool.fragmentation_ratio),
    ),
)

COLLECTOR = Collector(
    "zfs",
    "node",
    read,
    METRICS,
    every(INTERVAL_SECONDS),
    keep(INTERVAL_SECONDS),
)
