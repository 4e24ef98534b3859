"""What not every cluster has, as a plain table: name → what it adds to a world. `pvewatch simulator --with NAME`."""

from __future__ import annotations

from collections.abc import Callable

from pvewatch.simulator.faults import LOCKS
from pvewatch.simulator.world import QDevice, ReplicationJob, Storage, Subscription, World

_ODD_NAMES = ("ünï-cöde", 'say "hi"', "back\\slash", "{braces}=,", "two  blanks", "x" * 63)
_ODD_TAGS = ("b;a", "", "ünï", "a b", 'quo"te', None)
_HA_STATES = ("started", "stopped", "migrate", "error", "freeze", "ignored")


def _qdevice(world: World) -> None:
    world.qdevice = QDevice()


def _qdevice_lost(world: World) -> None:
    world.qdevice = QDevice(connected=False)


def _replication(world: World) -> None:
    """A job of each state, on every node that has guests."""
    nodes = list(world.nodes)
    jobs = []
    for index, guest in enumerate(world.guests.values()):
        target = nodes[(nodes.index(guest.node) + 1) % len(nodes)]
        if target != guest.node:
            jobs.append(ReplicationJob(guest.vmid, target, state=("ok", "failing", "new")[index % 3]))
    world.replication = tuple(jobs)


def _subscription(world: World) -> None:
    world.subscription = Subscription()


def _subscription_expired(world: World) -> None:
    world.subscription = Subscription("expired", "p", "2025-11-30")


def _ha(world: World) -> None:
    """Guests in various states of the HA manager, also one that has a name of its own for nothing."""
    for guest, state in zip(world.guests.values(), _HA_STATES, strict=False):
        guest.ha_state, guest.ha_group = state, "main"


def _locks(world: World) -> None:
    for guest, lock in zip(world.guests.values(), LOCKS, strict=False):
        guest.lock = lock


def _odd_names(world: World) -> None:
    """Names and tags that Proxmox VE would refuse today, and others that it would not."""
    for index, guest in enumerate(world.guests.values()):
        guest.name = _ODD_NAMES[index % len(_ODD_NAMES)]
        guest.tags = _ODD_TAGS[index % len(_ODD_TAGS)]
    world.storages += (Storage("back-up_1.x", "cifs", "vztmpl,images,backup", True, 10**12, 0.5),)


EXTRAS: dict[str, Callable[[World], None]] = {
    "ha": _ha,
    "locks": _locks,
    "odd-names": _odd_names,
    "qdevice": _qdevice,
    "qdevice-lost": _qdevice_lost,
    "replication": _replication,
    "subscription": _subscription,
    "subscription-expired": _subscription_expired,
}
