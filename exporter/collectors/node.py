"""Load, I/O wait, memory, swap, root file system and kernel of each node, out of `GET /nodes/{node}/status`.

    pve_node_load1{cluster="home",id="node/pve1"} 0.42
    pve_node_kernel_info{cluster="home",id="node/pve1",kernel="6.8.12-4-pve",pve_version="8.4.21"} 1
    pve_cluster_versions{cluster="home"} 2

By hand: `pvesh get /nodes/pve1/status`. Needs Sys.Audit on the node. CPU, memory and uptime are among the families that
all resources share (pve_cpu_usage_ratio{id="node/pve1"} and so on).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from exporter.collectors.definition import Collector, Request, every_node_interval, keep_node_interval
from exporter.exposition import Metric, Number, Sample
from exporter.snapshot import View
from pvewatch.pve.models import NodeDetail


def read(request: Request) -> NodeDetail:
    """Ask one node for its status."""
    return request.client.node_status(request.node)


def _figure(get: Callable[[NodeDetail], Number | None]) -> Callable[[View], Iterator[Sample]]:
    def samples(view: View) -> Iterator[Sample]:
        for detail in view.node_details:
            yield (f"node/{detail.node}",), get(detail)

    return samples


def _kernel_info(view: View) -> Iterator[Sample]:
    for detail in view.node_details:
        if detail.kernel_version is not None or detail.pve_version is not None:
            yield (f"node/{detail.node}", detail.kernel_version or "", detail.pve_version or ""), 1


def _different(get: Callable[[NodeDetail], str | None]) -> Callable[[View], Iterator[Sample]]:
    """How many different texts the nodes give; nodes that say nothing do not count."""

    def samples(view: View) -> Iterator[Sample]:
        found = {text for detail in view.node_details if (text := get(detail)) is not None}
        if found:
            yield (), len(found)

    return samples


_ID = ("id",)

METRICS = (
    Metric("pve_node_load1", "gauge", "Load average of one minute.", _ID, _figure(lambda node: node.load[0])),
    Metric("pve_node_load5", "gauge", "Load average of five minutes.", _ID, _figure(lambda node: node.load[1])),
    Metric("pve_node_load15", "gauge", "Load average of 15 minutes.", _ID, _figure(lambda node: node.load[2])),
    Metric(
        "pve_node_io_wait_ratio",
        "gauge",
        "Share of CPU time spent waiting for I/O, 0 to 1.",
        _ID,
        _figure(lambda node: node.io_wait_ratio),
    ),
    Metric(
        "pve_node_memory_free_bytes",
        "gauge",
        "Memory that nothing uses, not even as cache.",
        _ID,
        _figure(lambda node: node.memory_free_bytes),
    ),
    Metric(
        "pve_node_memory_available_bytes",
        "gauge",
        "Memory that could be used without swapping. Since Proxmox VE 9.",
        _ID,
        _figure(lambda node: node.memory_available_bytes),
    ),
    Metric(
        "pve_node_ksm_shared_bytes",
        "gauge",
        "Memory that guests share through KSM.",
        _ID,
        _figure(lambda node: node.ksm_shared_bytes),
    ),
    Metric("pve_node_swap_usage_bytes", "gauge", "Used swap space.", _ID, _figure(lambda node: node.swap_used_bytes)),
    Metric(
        "pve_node_swap_size_bytes",
        "gauge",
        "Swap space, 0 when there is none.",
        _ID,
        _figure(lambda node: node.swap_total_bytes),
    ),
    Metric(
        "pve_node_rootfs_usage_bytes",
        "gauge",
        "Used part of the node's root file system.",
        _ID,
        _figure(lambda node: node.rootfs_used_bytes),
    ),
    Metric(
        "pve_node_rootfs_size_bytes",
        "gauge",
        "Size of the node's root file system.",
        _ID,
        _figure(lambda node: node.rootfs_total_bytes),
    ),
    Metric(
        "pve_node_kernel_info",
        "gauge",
        "The running kernel and the installed Proxmox VE; always 1.",
        ("id", "kernel", "pve_version"),
        _kernel_info,
    ),
    Metric(
        "pve_cluster_versions",
        "gauge",
        "How many different versions of Proxmox VE the nodes have installed; more than 1 during an upgrade.",
        (),
        _different(lambda node: node.pve_version),
    ),
    Metric(
        "pve_cluster_kernels",
        "gauge",
        "How many different kernels the nodes run.",
        (),
        _different(lambda node: node.kernel_version),
    ),
)

COLLECTOR = Collector(
    "node",
    "node",
    read,
    METRICS,
    every_node_interval,
    keep_node_interval,
)
