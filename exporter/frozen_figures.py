"""Figures that PVE only repeats are not shown.

PVE keeps the last figures of a dead node's guests, status `running` included, for 300 s; and where the statistics
daemon (pvestatd) has died, those of a living node too. The second shows by a node's uptime that does not advance.
Seen on a running 8.4.21 cluster whose node was cut off, and whose daemon was stopped.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import replace

from pvewatch.pve.models import Guest, Node, Number, Resources, Storage

FrozenSince = MutableMapping[str, tuple[Number, float]]
"""Node → its uptime, and since when (unix seconds) exactly that uptime has been answered."""


def trusted(found: Resources, frozen_since: FrozenSince, now: float, expire_seconds: float) -> Resources:
    """The same resources with frozen figures taken out and their guests' and storages' state unknown.

    `frozen_since` is this function's memory from call to call; it is brought up to date.
    """
    for name in set(frozen_since) - {node.name for node in found.nodes}:
        del frozen_since[name]
    offline: set[str] = set()
    frozen: set[str] = set()
    for node in found.nodes:
        if node.status == "offline":
            offline.add(node.name)
        if node.uptime_seconds is None:
            frozen_since.pop(node.name, None)
            continue
        uptime, since = frozen_since.get(node.name, (None, now))
        if uptime != node.uptime_seconds:
            since = now
        frozen_since[node.name] = (node.uptime_seconds, since)
        if now - since > expire_seconds:
            frozen.add(node.name)
    gone = offline | frozen
    if not gone:
        return found
    return replace(
        found,
        guests=tuple(_without_figures(guest) if guest.node in gone else guest for guest in found.guests),
        nodes=tuple(_node_without_figures(node) if node.name in gone else node for node in found.nodes),
        storages=tuple(_storage_unknown(storage) if storage.node in gone else storage for storage in found.storages),
    )


def _without_figures(guest: Guest) -> Guest:
    # Everything that is configuration stays: limits, name, tags, lock, HA state.
    return replace(
        guest,
        status="unknown",
        cpu_ratio=None,
        memory_used_bytes=None,
        memory_host_bytes=None,
        disk_used_bytes=None,
        net_in_bytes=None,
        net_out_bytes=None,
        disk_read_bytes=None,
        disk_write_bytes=None,
        uptime_seconds=None,
    )


def _node_without_figures(node: Node) -> Node:
    return replace(node, cpu_ratio=None, memory_used_bytes=None, disk_used_bytes=None, uptime_seconds=None)


def _storage_unknown(storage: Storage) -> Storage:
    return replace(storage, status="unknown", disk_used_bytes=None)
