"""The Ceph that Proxmox VE runs, out of `GET /cluster/ceph/status`.

    pve_ceph_health{cluster="home",state="HEALTH_WARN"} 1
    pve_ceph_health_check{cluster="home",check="OSD_NEARFULL",severity="HEALTH_WARN"} 1
    pve_ceph_osds_up{cluster="home"} 11

By hand: `pvesh get /cluster/ceph/status`. Needs Sys.Audit or Datastore.Audit on /. A cluster without Ceph has no
series, and one whose monitors do not answer has an error, which is an alert. Where the host that answers has no Ceph
and a storage of the cluster is on one, the other nodes are asked for theirs. A Ceph that Proxmox VE only uses is not
seen.

A running Ceph was not recorded from a live server: this follows the API reference and Proxmox VE's source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from exporter.collectors.definition import (
    Collector,
    NothingHere,
    Request,
    every_node_interval,
    is_not_there,
    keep_node_interval,
)
from exporter.exposition import Metric, Number, Sample
from exporter.snapshot import View
from pvewatch.pve.errors import PveError, Rejected
from pvewatch.pve.models_disks import CephStatus

STATES = ("HEALTH_OK", "HEALTH_WARN", "HEALTH_ERR", "other")
# About the node that answers, and about the cluster, whose nodes share one configuration.
_NOT_INSTALLED = "binary not installed"
_NOT_SET_UP = "configuration not initialized"
_STORAGE_TYPES = frozenset({"rbd", "cephfs"})


def read(request: Request) -> CephStatus:
    """Ask the cluster for its Ceph."""
    found = _ask(request, "")
    if found is None and _has_ceph_storage(request.view):
        found = _ask_nodes(request)
    if found is None:
        raise NothingHere
    # The same object says that nothing has to be written again.
    return request.previous if isinstance(request.previous, CephStatus) and request.previous == found else found


def _ask(request: Request, node: str) -> CephStatus | None:
    """What Ceph says there; None where its programs are not installed. Raises NothingHere where none is set up."""
    try:
        return request.client.ceph_status(node)
    except Rejected as error:
        if _NOT_INSTALLED in error.reason:
            return None
        if _NOT_SET_UP in error.reason or is_not_there(error):
            raise NothingHere from error
        raise


def _ask_nodes(request: Request) -> CephStatus | None:
    """What the first node says that has Ceph; raises why one could not be asked if none of the others has it."""
    trouble: PveError | None = None
    for node in request.view.resources.nodes if request.view.resources else ():
        if node.status != "online" or request.stopping():
            continue
        try:
            found = _ask(request, node.name)
        except PveError as error:
            trouble = error
            continue
        if found is not None:
            return found
    if trouble is not None:
        raise trouble
    return None


def _has_ceph_storage(view: View) -> bool:
    return (
        any(storage.plugin_type in _STORAGE_TYPES for storage in view.resources.storages) if view.resources else False
    )


def _statuses(view: View) -> list[CephStatus]:
    return view.answers(COLLECTOR.name, CephStatus)


def _health(view: View) -> Iterator[Sample]:
    for status in _statuses(view):
        if status.health is not None:
            present = status.health if status.health in STATES else "other"
            for state in STATES:
                yield (state,), int(state == present)


def _checks(view: View) -> Iterator[Sample]:
    for status in _statuses(view):
        for check, severity in status.checks.items():
            yield (check, severity), 1


def _placement_groups(view: View) -> Iterator[Sample]:
    for status in _statuses(view):
        for state, count in status.placement_groups.items():
            yield (state,), count


def _figure(get: Callable[[CephStatus], Number | None]) -> Callable[[View], Iterator[Sample]]:
    def samples(view: View) -> Iterator[Sample]:
        for status in _statuses(view):
            yield (), get(status)

    return samples


METRICS = (
    Metric("pve_ceph_health", "gauge", "Health in Ceph's words, 1 for the present one.", ("state",), _health),
    Metric(
        "pve_ceph_health_check",
        "gauge",
        "A health check that Ceph warns of and nobody has muted; always 1.",
        ("check", "severity"),
        _checks,
    ),
    Metric("pve_ceph_osds", "gauge", "OSDs there are.", (), _figure(lambda ceph: ceph.osds)),
    Metric("pve_ceph_osds_up", "gauge", "OSDs that run.", (), _figure(lambda ceph: ceph.osds_up)),
    Metric("pve_ceph_osds_in", "gauge", "OSDs that data is placed on.", (), _figure(lambda ceph: ceph.osds_in)),
    Metric("pve_ceph_monitors", "gauge", "Monitors there are.", (), _figure(lambda ceph: ceph.monitors)),
    Metric(
        "pve_ceph_monitors_in_quorum",
        "gauge",
        "Monitors that take part in Ceph's quorum.",
        (),
        _figure(lambda ceph: ceph.monitors_in_quorum),
    ),
    Metric(
        "pve_ceph_size_bytes",
        "gauge",
        "Size of all OSDs together, every copy counted.",
        (),
        _figure(lambda ceph: ceph.size_bytes),
    ),
    Metric("pve_ceph_usage_bytes", "gauge", "Used part of all OSDs.", (), _figure(lambda ceph: ceph.used_bytes)),
    Metric(
        "pve_ceph_available_bytes",
        "gauge",
        "Unused part of all OSDs.",
        (),
        _figure(lambda ceph: ceph.available_bytes),
    ),
    Metric(
        "pve_ceph_placement_groups",
        "gauge",
        "Placement groups by state; active+clean is normal.",
        ("state",),
        _placement_groups,
    ),
)

COLLECTOR = Collector(
    "ceph",
    "cluster",
    read,
    METRICS,
    every_node_interval,
    keep_node_interval,
)
