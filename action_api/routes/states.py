"""What a guest's figures mean to a person. One word each, and never the colour alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pvewatch.inventory import ClusterEntry, GuestEntry, Inventory

Tone = Literal["bad", "warn", "unknown", "good", "idle"]
TONES: tuple[Tone, ...] = ("bad", "warn", "unknown", "good", "idle")
"""Worst first: the order in which guests are listed."""

MAX_STATE_SHOWN = 64

_BROKEN = {
    "io-error": "stopped by Proxmox VE because its disk cannot be written",
    "internal-error": "stopped by an error of the virtualisation itself",
    "guest-panicked": "its kernel has panicked",
}


@dataclass(frozen=True, slots=True)
class Condition:
    """The state of a guest: a word for lists, a sentence for its page."""

    word: str
    tone: Tone
    meaning: str

    @property
    def rank(self) -> int:
        """0 is worst."""
        return TONES.index(self.tone)


def condition(guest: GuestEntry, cluster: ClusterEntry) -> Condition:
    """What to call the state of this guest."""
    node = next((node for node in cluster.nodes if node.name == guest.node), None)
    if guest.template:
        return Condition("Template", "idle", "A template to clone from; it never runs.")
    if guest.status == "unknown" or (node is not None and node.status != "online"):
        meaning = f"Proxmox VE does not know; node {guest.node} is {node.status if node else 'not known'}."
        return Condition("Unknown", "unknown", meaning)
    if guest.status == "running":
        if guest.heartbeat is not None and guest.heartbeat.silent:
            return Condition("Silent", "bad", "Running, but its agent has gone silent: it may hang inside.")
        inside = "its agent reports that it is alive inside" if guest.heartbeat else "no agent tells how it is inside"
        return Condition("Running", "good", f"Running; {inside}.")
    return _not_running(guest)


def _not_running(guest: GuestEntry) -> Condition:
    if guest.status == "stopped" and guest.expected_running:
        return Condition("Down", "bad", "Stopped, although it should run.")
    if guest.status == "stopped":
        return Condition("Stopped", "idle", "Stopped, and nothing says that it should run.")
    if guest.status in _BROKEN:
        return Condition(guest.status, "bad", f"Not running: {_BROKEN[guest.status]}.")
    return Condition(guest.status.capitalize(), "warn", f"Proxmox VE calls it {guest.status}.")


def state_shown(guest: GuestEntry, last_run: int | None) -> str:
    """What the confirmation page is about. If any of it has changed when the form comes back, nothing is done.

    The number of the guest's last action run is part of it: who saw the page before somebody else's reset ended did
    not mean to reset it a second time.
    """
    parts = (guest.status, guest.lock or "-", guest.ha_state or "-", "template" if guest.template else "-")
    return f"{last_run or 0}:{'/'.join(parts)}"[:MAX_STATE_SHOWN]


def figures_are_old(cluster: ClusterEntry, *, expire_seconds: float) -> bool:
    """Whether what is shown of a cluster is too old to act upon."""
    return cluster.age_seconds is None or cluster.age_seconds > expire_seconds


def find_guest(inventory: Inventory, cluster: str, kind: str, vmid: int) -> tuple[GuestEntry, ClusterEntry] | None:
    """The guest and its cluster. The kind must fit: a container that took a removed VM's number is another guest."""
    entry = inventory.cluster(cluster)
    guest = inventory.guest(cluster, vmid)
    return (guest, entry) if entry is not None and guest is not None and guest.kind == kind else None
