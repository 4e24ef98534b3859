"""Replication jobs, out of `GET /nodes/{node}/replication` of every node that sends.

    pve_replication_last_sync_timestamp_seconds{cluster="home",id="100-0"} 1795253400
    pve_replication_failed_syncs{cluster="home",id="100-0"} 0
    pve_replication_info{cluster="home",id="100-0",type="local",source="node/pve1",target="node/pve2",guest="…"} 1

By hand: `pvesh get /nodes/pve1/replication`. Needs VM.Audit on every guest that is replicated from there: where it is
missing on one, Proxmox VE refuses the whole call. Names and labels are those of prometheus-pve-exporter, which shows
the jobs of one node only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

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
from pvewatch.pve.errors import Rejected
from pvewatch.pve.models_cluster import ReplicationJob


@dataclass(frozen=True, slots=True)
class NodeReplication:
    """The jobs that send from one node."""

    node: str
    jobs: tuple[ReplicationJob, ...]


def read(request: Request) -> NodeReplication:
    """Ask one node for its jobs."""
    try:
        jobs = request.client.replication_jobs(request.node)
    except Rejected as error:
        if is_not_there(error):
            raise NothingHere from error
        raise
    if not jobs:
        raise NothingHere
    return NodeReplication(request.node, jobs)


def _jobs(view: View) -> Iterator[tuple[str, ReplicationJob]]:
    """Each job once: while a guest moves, two nodes may name the same one; the newer try is true."""
    newest: dict[str, tuple[str, ReplicationJob]] = {}
    for answer in view.answers(COLLECTOR.name, NodeReplication):
        for job in answer.jobs:
            known = newest.get(job.id)
            if known is None or (job.last_try or 0) > (known[1].last_try or 0):
                newest[job.id] = (answer.node, job)
    return (newest[name] for name in sorted(newest))


def _figure(get: Callable[[ReplicationJob], Number | None]) -> Callable[[View], Iterator[Sample]]:
    def samples(view: View) -> Iterator[Sample]:
        for _, job in _jobs(view):
            yield (job.id,), get(job)

    return samples


def _info(view: View) -> Iterator[Sample]:
    kinds = {guest.vmid: guest.kind for guest in view.resources.guests} if view.resources else {}
    for node, job in _jobs(view):
        kind = job.guest_kind or (kinds.get(job.guest) if job.guest is not None else None)
        guest = f"{kind}/{job.guest}" if kind and job.guest is not None else ""
        target = f"node/{job.target}" if job.target else ""
        yield (job.id, job.type or "", f"node/{job.source or node}", target, guest), 1


_ID = ("id",)

METRICS = (
    Metric(
        "pve_replication_duration_seconds",
        "gauge",
        "How long the last replication took.",
        _ID,
        _figure(lambda job: job.duration_seconds),
    ),
    Metric(
        "pve_replication_last_sync_timestamp_seconds",
        "gauge",
        "When the guest was last replicated; 0 for never.",
        _ID,
        _figure(lambda job: job.last_sync),
    ),
    Metric(
        "pve_replication_last_try_timestamp_seconds",
        "gauge",
        "When replication was last tried; 0 for never.",
        _ID,
        _figure(lambda job: job.last_try),
    ),
    Metric(
        "pve_replication_next_sync_timestamp_seconds",
        "gauge",
        "When the guest will be replicated next.",
        _ID,
        _figure(lambda job: job.next_sync),
    ),
    Metric(
        "pve_replication_failed_syncs",
        "gauge",
        "Failed replications since the last that succeeded.",
        _ID,
        _figure(lambda job: job.fail_count),
    ),
    Metric(
        "pve_replication_enabled",
        "gauge",
        "Whether the job is on.",
        _ID,
        _figure(lambda job: int(job.enabled)),
    ),
    Metric(
        "pve_replication_info",
        "gauge",
        "The job: from which node to which, and which guest; always 1.",
        ("id", "type", "source", "target", "guest"),
        _info,
        reads=("resources",),
    ),
)

COLLECTOR = Collector(
    "replication",
    "node",
    read,
    METRICS,
    every_node_interval,
    keep_node_interval,
)
