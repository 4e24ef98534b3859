"""What is measured: the figures of guests, nodes and storages at a moment, in the API's own field names."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from pvewatch.simulator.figures import Wave, fraction, noisy
from pvewatch.simulator.world import GIB, MIB, Guest, Node, Power, Storage, World

_HUNG_CPU = 0.002
_MEMORY_SWING = 0.2  # memory follows the rhythm of the day much less than work does


def guest_figures(world: World, guest: Guest, power: Power, at: float) -> dict[str, Any]:
    """cpu (of `cores`), mem, disk, netin, netout, diskread, diskwrite (bytes since its start), uptime (s) at `at`.

    A guest that does not run measures zero everywhere. A hung one moves no more, but its process's uptime goes on.
    """
    if not power.running:
        return dict.fromkeys(("cpu", "mem", "disk", "netin", "netout", "diskread", "diskwrite", "uptime"), 0)
    return dict(_running_figures(world.seed, world.name, guest.id, guest.memory_bytes, guest.disk_bytes, power, at))


@lru_cache(maxsize=20_000)
def _running_figures(
    seed: int, cluster: str, guest_id: str, memory_bytes: int, disk_bytes: int, power: Power, at: float
) -> dict[str, Any]:
    def chance(*words: object) -> float:
        return fraction(seed, cluster, guest_id, *words)

    def wave(figure: str, mean: float) -> Wave:
        return Wave(f"{seed}/{cluster}/{guest_id}/{figure}", mean)

    def counted(figure: str, mean: float) -> int:
        flow = wave(figure, mean)
        stood_still = sum(flow.between(start, min(end, measured_at)) for start, end in power.hung_before)
        return int(flow.between(power.started_at, measured_at) - stood_still)

    measured_at = max(power.started_at, at if power.hung_at is None else min(at, power.hung_at))
    cpu = min(1.0, noisy(wave("cpu", 0.02 + 0.4 * chance("cpu")).at(measured_at), 0.1, guest_id, measured_at))
    if power.hung_at is not None and at >= power.hung_at:
        cpu = _HUNG_CPU
    if power.paused:
        cpu = 0.0
    swing = 1 + _MEMORY_SWING * (wave("mem", 1.0).at(measured_at) - 1)
    share = min(0.97, noisy((0.3 + 0.5 * chance("mem")) * swing, 0.005, guest_id, measured_at))
    container = guest_id.startswith("lxc/")
    return {
        "cpu": cpu,
        "mem": int(memory_bytes * share),
        # A container's file system is visible to its host, a virtual machine's is not: always 0.
        "disk": int(disk_bytes * (0.2 + 0.5 * chance("disk"))) if container else 0,
        "netin": counted("netin", 2_000 + 300_000 * chance("netin") ** 3),
        "netout": counted("netout", 1_000 + 200_000 * chance("netout") ** 3),
        "diskread": counted("diskread", 500 + 400_000 * chance("diskread") ** 3),
        "diskwrite": counted("diskwrite", 2_000 + 250_000 * chance("diskwrite") ** 3),
        "uptime": int(max(0.0, at - power.started_at)),
    }


def node_figures(world: World, node: Node, at: float) -> dict[str, Any]:
    """cpu (0 to 1 of all cores), mem and disk (bytes), uptime (s) of a node: its guests' and its own."""
    own = f"{world.seed}/{world.name}/{node.name}"
    busy, memory = 0.0, 2.5 * GIB
    for guest in world.guests.values():
        if guest.node == node.name and guest.published.running:
            figures = guest_figures(world, guest, guest.published, at)
            busy += figures["cpu"] * guest.cores
            memory += figures["mem"] + 80 * MIB
    base = noisy(Wave(f"{own}/cpu", 0.03).at(at), 0.2, own, at)
    return {
        "cpu": min(1.0, base + busy / node.cores),
        "mem": int(min(memory, 0.98 * node.memory_bytes)),
        "disk": int(node.disk_bytes * Wave(f"{own}/disk", 0.08).at(at // 3600 * 3600)),
        "uptime": int(max(0.0, at - node.booted_at)),
    }


def storage_used_bytes(world: World, storage: Storage, node: Node, at: float) -> int:
    """What a storage holds; a shared one holds the same seen from every node."""
    where = "shared" if storage.shared else node.name
    mean = storage.used_share * (0.8 + 0.4 * fraction(world.seed, world.name, storage.name, where))
    # Slowly: the daily rhythm of a twentieth of it, in steps of a minute.
    swing = Wave(f"{world.seed}/{world.name}/{storage.name}/{where}", 0.05).at(at // 60 * 60)
    return int(storage.size_bytes * min(0.98, mean * (0.95 + swing)))
