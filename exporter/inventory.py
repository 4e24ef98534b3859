"""What is known of all clusters, as the document that the action API reads."""

from __future__ import annotations

from collections.abc import Mapping

from exporter import inventory_provisioning
from exporter.collectors.addresses import reported
from exporter.discovery import Reported, addresses_of, probe_entries
from exporter.expectations import expected_running
from exporter.heartbeats.record import is_from, to_entry
from exporter.heartbeats.store import HeartbeatStore
from exporter.snapshot import Snapshot, View
from pvewatch.config import Cluster, Settings
from pvewatch.inventory import ClusterEntry, GuestEntry, GuestKind, Inventory, NodeEntry, StorageEntry
from pvewatch.pve.models import Guest


def build(
    clusters: Mapping[str, tuple[Cluster, tuple[str, ...]]],
    snapshots: Mapping[str, Snapshot],
    heartbeats: HeartbeatStore,
    settings: Settings,
    now: float,
    current_key_id: str,
) -> Inventory:
    """The inventory at `now`; `clusters` maps the name to the cluster and the configured names that belong to it.

    `current_key_id` is that of the heartbeat tokens printed now.
    """
    return Inventory(
        generated_at=now,
        clusters=[
            _cluster(cluster, members, snapshots[name].view(), heartbeats, settings, now, current_key_id)
            for name, (cluster, members) in clusters.items()
        ],
    )


def _cluster(
    cluster: Cluster,
    members: tuple[str, ...],
    view: View,
    heartbeats: HeartbeatStore,
    settings: Settings,
    now: float,
    current_key_id: str,
) -> ClusterEntry:
    reading = view.readings.get(("resources", ""))
    resources = view.resources
    reported_by = reported(view)
    error = "not asked yet" if reading is None else None
    if reading is not None and reading.failure is not None:
        error = reading.failure.message
    return ClusterEntry(
        name=cluster.name,
        members=list(members),
        web_url=cluster.web_url,
        age_seconds=max(0.0, now - reading.taken_at) if reading and reading.taken_at is not None else None,
        error=error,
        quorate=_quorate(view),
        version=view.version.version if view.version else None,
        nodes=[
            NodeEntry(
                name=node.name,
                status=node.status,
                uptime_seconds=node.uptime_seconds,
                cpu_ratio=node.cpu_ratio,
                memory_used_bytes=node.memory_used_bytes,
                memory_limit_bytes=node.memory_limit_bytes,
                **inventory_provisioning.of_node(view, node.name, now),
            )
            for node in (resources.nodes if resources else ())
        ],
        guests=[
            _guest(cluster.name, guest, view, reported_by, heartbeats, settings, now, current_key_id)
            for guest in (resources.guests if resources else ())
        ],
        storages=[
            StorageEntry(
                id=storage.id,
                storage=storage.storage,
                node=storage.node,
                status=storage.status,
                shared=storage.shared,
                used_bytes=storage.disk_used_bytes,
                limit_bytes=storage.disk_limit_bytes,
            )
            for storage in (resources.storages if resources else ())
        ],
        templates=inventory_provisioning.templates(view),
        appliances=inventory_provisioning.appliances(view),
    )


def _quorate(view: View) -> bool | None:
    """A standalone host needs no quorum and so always has it; None when the status is not known."""
    if view.status is None:
        return None
    return True if view.status.name is None else view.status.quorate


def find_guest(
    cluster: str,
    kind: GuestKind,
    vmid: int,
    view: View,
    heartbeats: HeartbeatStore,
    settings: Settings,
    now: float,
    current_key_id: str,
) -> GuestEntry | None:
    """One guest's entry, None when the cluster's newest figures do not have it."""
    for guest in view.resources.guests if view.resources else ():
        if guest.vmid == vmid and guest.kind == kind:
            return _guest(cluster, guest, view, reported(view), heartbeats, settings, now, current_key_id)
    return None


def _guest(
    cluster: str,
    guest: Guest,
    view: View,
    reported_by: Reported,
    heartbeats: HeartbeatStore,
    settings: Settings,
    now: float,
    current_key_id: str,
) -> GuestEntry:
    known = view.configs.get(guest.id)
    record = heartbeats.get(cluster, guest.vmid)
    timeout = settings.exporter.heartbeat_timeout_seconds
    return GuestEntry(
        cluster=cluster,
        kind=guest.kind,
        vmid=guest.vmid,
        id=guest.id,
        name=guest.name,
        node=guest.node,
        status=guest.status,
        template=guest.template,
        lock=guest.lock,
        tags=list(guest.tag_list),
        ha_state=guest.ha_state,
        uptime_seconds=guest.uptime_seconds,
        booted_at=view.boots.get(guest.vmid),
        onboot=known.config.onboot if known else None,
        expected_running=bool(expected_running(guest, view)),
        pool=guest.pool,
        cpu_ratio=guest.cpu_ratio,
        memory_used_bytes=guest.memory_used_bytes,
        memory_limit_bytes=guest.memory_limit_bytes,
        addresses=list(addresses_of(guest, view, reported_by)),
        probes=probe_entries(guest, view, reported_by, settings),
        heartbeat=(to_entry(record, now, timeout, current_key_id) if record and is_from(record, guest.kind) else None),
    )
