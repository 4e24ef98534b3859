"""Every action that can be asked for, declared once: pages, the API and the worker read this table.

Pure: no clock, no I/O. What *may* be done at a given moment is decided by policy.py; how it is done by actions/.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

Role = Literal["viewer", "operator", "admin"]
Danger = Literal["low", "medium", "high"]
ROLES: tuple[Role, ...] = ("viewer", "operator", "admin")

# What PVE reports of a QEMU guest whose process lives, whatever its inside does. A reset needs no more than that.
_QEMU_ALIVE = frozenset({"running", "paused", "suspended", "io-error", "internal-error", "guest-panicked"})
_RUNNING = frozenset({"running"})
_STOPPED = frozenset({"stopped"})

_LOCK_MEANINGS = {
    "backup": "a backup is running",
    "clone": "it is being cloned",
    "create": "it is being created",
    "migrate": "it is being moved to another node",
    "rollback": "a snapshot is being restored",
    "snapshot": "a snapshot is being made",
    "snapshot-delete": "a snapshot is being deleted",
    "suspending": "it is being suspended to disk",
    "suspended": "it is suspended to disk",
}


class GuestNow(Protocol):
    """What the catalogue needs to know of a guest; an inventory's GuestEntry has all of it."""

    @property
    def kind(self) -> str:
        """Either qemu or lxc."""

    @property
    def status(self) -> str:
        """PVE's state, such as running or stopped."""

    @property
    def template(self) -> bool:
        """Whether it is a template."""

    @property
    def lock(self) -> str | None:
        """PVE's lock, such as backup, or None."""


@dataclass(frozen=True, slots=True)
class Action:
    """One row of the catalogue.

    ``confirm`` is what the page says would happen, per kind of guest; ``verb`` completes "… this guest".
    ``allowed_states`` are the states of PVE, per kind, in which the action makes sense.
    """

    name: str
    title: str
    verb: str
    role_required: Role
    danger: Danger
    allowed_states: Mapping[str, frozenset[str]]
    confirm: Mapping[str, str]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of guests it is offered for."""
        return tuple(self.allowed_states)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an action is not possible: a code for programs, a sentence for people."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Offer:
    """An action for one guest and one person; ``refusal`` is None where it may be asked for."""

    action: Action
    refusal: Refusal | None

    @property
    def possible(self) -> bool:
        """Whether the person may ask for it now."""
        return self.refusal is None


START = Action(
    name="start",
    title="Start",
    verb="start",
    role_required="operator",
    danger="low",
    allowed_states={"qemu": _STOPPED, "lxc": _STOPPED},
    confirm={"qemu": "The virtual machine is powered on.", "lxc": "The container is started."},
)
SHUTDOWN = Action(
    name="shutdown",
    title="Shut down",
    verb="shut down",
    role_required="operator",
    danger="medium",
    allowed_states={"qemu": _RUNNING, "lxc": _RUNNING},
    confirm={
        "qemu": "The virtual machine is asked to shut down by itself (ACPI). Its services end. If it does not obey in "
        "time, it goes on running.",
        "lxc": "The container is asked to shut down by itself. Its services end. If it does not obey in time, it goes "
        "on running.",
    },
)
RESET = Action(
    name="reset",
    title="Reset",
    verb="reset",
    role_required="operator",
    danger="high",
    allowed_states={"qemu": _QEMU_ALIVE, "lxc": _RUNNING},
    confirm={
        "qemu": "As if the reset button was pressed: the virtual machine restarts at once, without shutting down. What "
        "it has not written to disk is lost.",
        # Proxmox VE has no reset for containers.
        "lxc": "The container is stopped at once, without shutting down, and then started. What it has not written to "
        "disk is lost.",
    },
)

CATALOGUE: tuple[Action, ...] = (START, SHUTDOWN, RESET)


def find(name: str) -> Action | None:
    """The action of that name."""
    return next((action for action in CATALOGUE if action.name == name), None)


def may(role: str, action: Action) -> bool:
    """Whether a person of that role may ask for the action; an unknown role may nothing."""
    return role in ROLES and ROLES.index(role) >= ROLES.index(action.role_required)


def obstacle(action: Action, guest: GuestNow) -> Refusal | None:
    """What about the guest itself stands against the action, or None. The same for people and automation."""
    if guest.template:
        return Refusal("template", "It is a template; templates are never started, stopped or reset.")
    if guest.lock:
        meaning = _LOCK_MEANINGS.get(guest.lock, "Proxmox VE works on it")
        return Refusal("locked", f"It is locked ({guest.lock}): {meaning}. Try again when the lock is gone.")
    states = action.allowed_states.get(guest.kind)
    if states is None:
        return Refusal("kind", f"{action.title} does not exist for guests of kind {guest.kind}.")
    if guest.status == "unknown":
        return Refusal("state_unknown", "Proxmox VE does not know its state now; its node may be down.")
    if guest.status not in states:
        return Refusal("state", f"It is {guest.status}; one can {action.verb} only what is {_listed(states)}.")
    return None


def offered(guest: GuestNow, role: str) -> tuple[Offer, ...]:
    """All actions for this kind of guest, each with what stands against it for a person of that role."""
    offers = []
    for action in CATALOGUE:
        if guest.kind not in action.kinds:
            continue
        refusal = obstacle(action, guest)
        if not may(role, action):
            refusal = Refusal("role", f"This needs the role {action.role_required}; you are {role}.")
        offers.append(Offer(action, refusal))
    return tuple(offers)


def _listed(states: frozenset[str]) -> str:
    return " or ".join(sorted(states))
