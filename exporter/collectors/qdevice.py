"""The quorum device, out of `GET /cluster/config/qdevice`. Needs Sys.Audit on /.

    pve_qdevice_up{cluster="home",id="cluster/lab"} 1
    pve_qdevice_info{cluster="home",id="cluster/lab",model="Net",algorithm="Fifty-Fifty split",…,state="Connected"} 1

By hand: `pvesh get /cluster/config/qdevice`. Most clusters have none, and so no series.
"""

from __future__ import annotations

from collections.abc import Iterator

from exporter.collectors.definition import (
    Collector,
    NothingHere,
    Request,
    every_node_interval,
    is_not_there,
    keep_node_interval,
)
from exporter.exposition import Metric, Sample
from exporter.snapshot import View
from pvewatch.pve.errors import Rejected
from pvewatch.pve.models_cluster import QDevice

CONNECTED = "Connected"


def read(request: Request) -> QDevice:
    """Ask for the quorum device; a standalone host is not asked."""
    status = request.view.status
    if status is not None and status.name is None:
        raise NothingHere
    try:
        found = request.client.qdevice()
    except Rejected as error:
        if is_not_there(error):
            raise NothingHere from error
        raise
    if found is None:
        raise NothingHere
    return found


def _devices(view: View) -> Iterator[tuple[str, QDevice]]:
    if view.status is not None and view.status.name is not None:
        for device in view.answers(COLLECTOR.name, QDevice):
            yield f"cluster/{view.status.name}", device


def _up(view: View) -> Iterator[Sample]:
    for name, device in _devices(view):
        yield (name,), int(device.state == CONNECTED)


def _info(view: View) -> Iterator[Sample]:
    for name, device in _devices(view):
        parts = (device.model, device.algorithm, device.qnetd_host, device.tie_breaker, device.state)
        yield (name, *(part or "" for part in parts)), 1


METRICS = (
    Metric(
        "pve_qdevice_up",
        "gauge",
        "Whether the quorum device is connected; absent without one.",
        ("id",),
        _up,
        reads=("status",),
    ),
    Metric(
        "pve_qdevice_info",
        "gauge",
        "The quorum device as Proxmox VE describes it; always 1.",
        ("id", "model", "algorithm", "qnetd_host", "tie_breaker", "state"),
        _info,
        reads=("status",),
    ),
)

COLLECTOR = Collector(
    "qdevice",
    "cluster",
    read,
    METRICS,
    every_node_interval,
    keep_node_interval,
)
