"""Health and wear of each node's disks, out of `GET /nodes/{node}/disks/list`.

    pve_node_disk_health{cluster="home",id="node/pve1",disk="S4PTNF0M123456",state="passed"} 1
    pve_node_disk_wear_ratio{cluster="home",id="node/pve1",disk="S4PTNF0M123456"} 0.03
    pve_node_disk_info{cluster="home",id="node/pve1",disk="S4PTNF0M123456",device="/dev/sda",model="…",…} 1

By hand: `pvesh get /nodes/pve1/disks/list`. Needs Sys.Audit on the node. `disk` is the serial number, because
`/dev/sda` may be another disk after the next boot; the device is on the info series. Only what SMART calls failed is
failed: virtual disks, and those whose controller hides SMART, are unknown. ZFS volumes and iSCSI disks are not listed.

Once an hour, because Proxmox VE runs smartctl on one disk after the other for each answer, which takes a tenth of a
second to seconds and wakes disks that sleep; what it tells changes within days.

Only virtual disks were recorded from a live server; the rest follows the API reference and Proxmox VE's source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import get_args

from exporter.collectors.definition import Collector, Request, every, keep
from exporter.exposition import Metric, Number, Sample
from exporter.snapshot import View
from pvewatch.pve.models_disks import Disk, DiskHealth, NodeDisks

INTERVAL_SECONDS = 3600.0
STATES: tuple[DiskHealth, ...] = get_args(DiskHealth)


def read(request: Request) -> NodeDisks:
    """Ask one node for its disks."""
    return request.client.disks(request.node)


def _disks(view: View) -> Iterator[tuple[str, Disk]]:
    for node in view.answers(COLLECTOR.name, NodeDisks):
        for disk in node.disks:
            yield f"node/{node.node}", disk


def _health(view: View) -> Iterator[Sample]:
    for node, disk in _disks(view):
        for state in STATES:
            yield (node, disk.name, state), int(state == disk.health)


def _figure(get: Callable[[Disk], Number | None]) -> Callable[[View], Iterator[Sample]]:
    def samples(view: View) -> Iterator[Sample]:
        for node, disk in _disks(view):
            yield (node, disk.name), get(disk)

    return samples


def _info(view: View) -> Iterator[Sample]:
    for node, disk in _disks(view):
        told = (disk.type, disk.model, disk.serial, disk.wwn, disk.use)
        yield (node, disk.name, disk.device, *(part or "" for part in told)), 1


_ID = ("id", "disk")

METRICS = (
    Metric(
        "pve_node_disk_health",
        "gauge",
        "What SMART says of the disk, 1 for the present state; unknown where it says nothing, as of virtual disks.",
        (*_ID, "state"),
        _health,
    ),
    Metric(
        "pve_node_disk_wear_ratio",
        "gauge",
        "Used-up share of an SSD's rated life: 0 when new, 1 at its end. Proxmox VE's wearout is what is left.",
        _ID,
        _figure(lambda disk: disk.wear_ratio),
    ),
    Metric("pve_node_disk_size_bytes", "gauge", "Size of the disk.", _ID, _figure(lambda disk: disk.size_bytes)),
    Metric(
        "pve_node_disk_info",
        "gauge",
        "The disk, where it is now and what is on it; always 1.",
        (*_ID, "device", "type", "model", "serial", "wwn", "use"),
        _info,
    ),
)

COLLECTOR = Collector(
    "disks",
    "node",
    read,
    METRICS,
    every(INTERVAL_SECONDS),
    keep(INTERVAL_SECONDS),
)
