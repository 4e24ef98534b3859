"""May this be done now? One pure decision with a reason; no clock, no I/O.

What could not be found out is None in the facts, and None always refuses: automation must be safer than the
person it replaces. A person is asked fewer questions, because a person looks.

The guards are rows of two tables, PERSON_GUARDS and AUTOMATION_GUARDS, in the order in which they are asked: the
first that objects gives the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from action_api import catalogue

# A person's request that waited longer (the worker was down) is not what they want any more.
MAX_REQUEST_AGE_SECONDS = 300.0
# Figures of the exporter older than this say nothing about now.
MAX_INVENTORY_AGE_SECONDS = 60.0


class Rules(Protocol):
    """The worker's own configuration; AutomationSettings has all of it. Times are seconds."""

    @property
    def enabled(self) -> bool:
        """Whether automation acts at all."""

    @property
    def tag(self) -> str:
        """The tag by which a guest opts in."""

    @property
    def guests(self) -> Sequence[str]:
        """Guests opted in by configuration, as cluster/vmid."""

    @property
    def permitted_actions(self) -> Sequence[str]:
        """What the worker may execute at all, for people too."""

    @property
    def allow_ha(self) -> bool:
        """Whether automation may touch guests under HA."""

    @property
    def grace_after_boot_seconds(self) -> float:
        """How long a started guest is left alone."""

    @property
    def cool_down_seconds(self) -> float:
        """How long after an attempt on a guest, or a person's action on it, the next attempt has to wait."""

    @property
    def max_attempts(self) -> int:
        """How many attempts within the window."""

    @property
    def attempt_window_seconds(self) -> float:
        """The window in which attempts are counted."""

    @property
    def max_silent_ratio(self) -> float:
        """The share of guests that may be silent together."""

    @property
    def min_silent_guests(self) -> int:
        """From how many silent guests on the share counts."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is wanted. ``asked_at`` is when a person asked, or when the incident's alert began to fire."""

    cluster: str
    vmid: int
    action: str
    origin: Literal["person", "automation"]
    asked_at: float


@dataclass(frozen=True, slots=True)
class GuestFacts:
    """What Proxmox VE says of the guest at this moment."""

    kind: str
    status: str
    template: bool
    lock: str | None
    ha_managed: bool
    node: str
    tags: tuple[str, ...] = ()
    uptime_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Silence:
    """How many of the guests that should send heartbeats are silent, within a cluster or one node of it."""

    scope: str
    silent: int
    watched: int


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything a decision rests on. None: could not be found out; ``why_unknown`` says why, by the field's name."""

    guest: GuestFacts | None = None
    running_tasks: tuple[str, ...] | None = None
    quorate: bool | None = None
    node_trouble: str | None = None
    node_online: bool | None = None
    node_uptime_seconds: float | None = None
    inventory_age_seconds: float | None = None
    heartbeat_ever_seen: bool | None = None
    heartbeat_at: float | None = None
    identity_shared: bool | None = None
    heartbeat_silent: bool | None = None
    silences: tuple[Silence, ...] | None = None
    alert_firing: bool | None = None
    alert_suppressed_by: str | None = None
    alert_known: bool | None = None
    attempts_in_window: int | None = None
    newest_attempt_at: float | None = None
    why_unknown: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """Yes, or no with a reason: a code for programs and metrics, a sentence for people."""

    allowed: bool
    reason_code: str
    message: str


Refusal = tuple[str, str]
Guard = Callable[[Request, Facts, Rules, float], Refusal | None]

ALLOWED = Decision(True, "allowed", "Nothing stands against it.")


def decide(request: Request, facts: Facts, rules: Rules, now: float) -> Decision:
    """Whether the request may be carried out at ``now`` (unix seconds), knowing ``facts`` and nothing else."""
    guards = PERSON_GUARDS if request.origin == "person" else AUTOMATION_GUARDS
    for guard in guards:
        refusal = guard(request, facts, rules, now)
        if refusal is not None:
            return Decision(False, *refusal)
    return ALLOWED


def attempt_ends_at(newest_attempt_at: float | None, rules: Rules) -> float:
    """When the cool-down after the newest attempt is over (unix seconds; 0 without an attempt)."""
    return 0.0 if newest_attempt_at is None else newest_attempt_at + rules.cool_down_seconds


def _permitted(request: Request, _facts: Facts, rules: Rules, _now: float) -> Refusal | None:
    if catalogue.find(request.action) is None:
        return "not_permitted", f"There is no action {request.action!r}."
    if request.action not in rules.permitted_actions:
        return "not_permitted", (
            f"The worker's configuration does not permit {request.action} (automation.permitted_actions)."
        )
    return None


def _fresh(request: Request, _facts: Facts, _rules: Rules, now: float) -> Refusal | None:
    if now - request.asked_at > MAX_REQUEST_AGE_SECONDS:
        return "too_old", f"It was asked for {now - request.asked_at:.0f} s ago and not done since. Ask again."
    return None


def _guest_fits(request: Request, facts: Facts, _rules: Rules, _now: float) -> Refusal | None:
    if facts.guest is None:
        return _unknown(facts, "guest", "the guest's state in Proxmox VE")
    action = catalogue.find(request.action)
    refusal = catalogue.obstacle(action, facts.guest) if action is not None else None
    return None if refusal is None else (refusal.code, refusal.message)


def _no_running_task(_request: Request, facts: Facts, _rules: Rules, _now: float) -> Refusal | None:
    if facts.running_tasks is None:
        return _unknown(facts, "running_tasks", "the tasks that run on it")
    if facts.running_tasks:
        return "task_running", f"A task runs on it ({', '.join(facts.running_tasks[:3])}). Try again when it has ended."
    return None


def _enabled(_request: Request, _facts: Facts, rules: Rules, _now: float) -> Refusal | None:
    return None if rules.enabled else ("automation_off", "Automation is switched off (automation.enabled).")


def _opted_in(request: Request, facts: Facts, rules: Rules, _now: float) -> Refusal | None:
    if f"{request.cluster}/{request.vmid}" in rules.guests:
        return None
    if facts.guest is None:
        return _unknown(facts, "guest", "the guest's state in Proxmox VE")
    if rules.tag in facts.guest.tags:  # whole tags: "no-pvewatch-auto-reset" is another one
        return None
    return "not_opted_in", f"It has not opted in: neither the tag {rules.tag} nor automation.guests names it."


def _heard_before(_request: Request, facts: Facts, _rules: Rules, _now: float) -> Refusal | None:
    if facts.heartbeat_ever_seen is None:
        return _unknown(facts, "inventory", "the heartbeats")
    if facts.inventory_age_seconds is None or facts.inventory_age_seconds > MAX_INVENTORY_AGE_SECONDS:
        return "facts_unknown", "The exporter's figures of this cluster are too old to act upon."
    if not facts.heartbeat_ever_seen or facts.heartbeat_at is None:
        return "no_heartbeat_ever", "No heartbeat of it was ever seen: its silence means nothing."
    return None


def _one_machine(_request: Request, facts: Facts, _rules: Rules, _now: float) -> Refusal | None:
    if facts.identity_shared is None:
        return _unknown(facts, "inventory", "whether only this guest uses its heartbeat token")
    if facts.identity_shared:
        return "identity_shared", "Two machines use its heartbeat token: which of them is silent cannot be told."
    return None


def _still_silent(request: Request, facts: Facts, _rules: Rules, _now: float) -> Refusal | None:
    if facts.heartbeat_at is not None and facts.heartbeat_at >= request.asked_at:
        return "speaks_again", "It speaks again: a heartbeat is newer than the alert."
    if (
        facts.heartbeat_at is not None
        and facts.newest_attempt_at is not None
        and facts.heartbeat_at >= facts.newest_attempt_at > request.asked_at
    ):
        return "speaks_again", "It speaks again: a heartbeat is newer than the last attempt."
    if facts.heartbeat_silent is None:
        return _unknown(facts, "inventory", "whether it is silent now")
    # An alert rests on figures some seconds old: a heartbeat may be older than the alert and yet not late.
    return None if facts.heartbeat_silent else ("speaks_again", "It speaks again: its newest heartbeat is not late.")


def _still_firing(_request: Request, facts: Facts, _rules: Rules, _now: float) -> Refusal | None:
    if facts.alert_firing is None:
        return _unknown(facts, "prometheus", "whether the alert still fires")
    return None if facts.alert_firing else ("alert_not_firing", "The alert does not fire any more.")


def _not_silenced(_request: Request, facts: Facts, _rules: Rules, _now: float) -> Refusal | None:
    if facts.alert_known is None:
        return _unknown(facts, "alertmanager", "whether the alert is silenced")
    if not facts.alert_known:
        return "facts_unknown", "Alertmanager does not know the alert, so whether it is silenced is not known."
    if facts.alert_suppressed_by is not None:
        return "silenced", f"The alert is suppressed in Alertmanager ({facts.alert_suppressed_by})."
    return None


def _cluster_quorate(_request: Request, facts: Facts, _rules: Rules, _now: float) -> Refusal | None:
    if facts.quorate is None:
        return _unknown(facts, "quorate", "whether the cluster has quorum")
    return None if facts.quorate else ("no_quorum", "The cluster has no quorum.")


def _not_without_quorum(_request: Request, facts: Facts, _rules: Rules, _now: float) -> Refusal | None:
    # Proxmox VE itself would let a reset and a stop through.
    return ("no_quorum", "The cluster has no quorum.") if facts.quorate is False else None


def _node_well(_request: Request, facts: Facts, rules: Rules, _now: float) -> Refusal | None:
    if facts.node_online is None:
        return _unknown(facts, "node_online", "the state of its node")
    if not facts.node_online:
        return "node_trouble", "Its node is not online."
    if facts.node_trouble is not None:
        return "node_trouble", f"Its node is in trouble itself: {facts.node_trouble}."
    if facts.node_uptime_seconds is not None and facts.node_uptime_seconds < rules.grace_after_boot_seconds:
        return "node_trouble", f"Its node has started only {facts.node_uptime_seconds:.0f} s ago."
    return None


def _ha_allowed(_request: Request, facts: Facts, rules: Rules, _now: float) -> Refusal | None:
    if facts.guest is not None and facts.guest.ha_managed and not rules.allow_ha:
        return "ha_managed", "High availability looks after it (automation.allow_ha is off)."
    return None


def _grace_over(_request: Request, facts: Facts, rules: Rules, _now: float) -> Refusal | None:
    if facts.guest is None or facts.guest.uptime_seconds is None:
        return "facts_unknown", "How long it has been running is not known."
    if facts.guest.uptime_seconds < rules.grace_after_boot_seconds:
        return "grace", f"It has started only {facts.guest.uptime_seconds:.0f} s ago and may still be booting."
    return None


def _not_many_silent(_request: Request, facts: Facts, rules: Rules, _now: float) -> Refusal | None:
    if facts.silences is None:
        return _unknown(facts, "inventory", "how many guests are silent together")
    for silence in facts.silences:
        many = silence.silent >= rules.min_silent_guests
        if many and silence.silent > rules.max_silent_ratio * silence.watched:
            return "many_silent", (
                f"{silence.silent} of {silence.watched} guests of {silence.scope} went silent together: that is rather "
                "the network or the exporter."
            )
    return None


def _attempts_left(_request: Request, facts: Facts, rules: Rules, _now: float) -> Refusal | None:
    if facts.attempts_in_window is None:
        return _unknown(facts, "attempts_in_window", "how often it was tried before")
    if facts.attempts_in_window >= rules.max_attempts:
        hours = rules.attempt_window_seconds / 3600
        return (
            "attempts_used_up",
            f"All {rules.max_attempts} attempts within {hours:g} h are used up. A person is needed.",
        )
    return None


def _cooled_down(_request: Request, facts: Facts, rules: Rules, now: float) -> Refusal | None:
    wait = attempt_ends_at(facts.newest_attempt_at, rules) - now
    if wait > 0:
        return "cool_down", f"The last attempt is too recent; the next is possible in {wait:.0f} s."
    return None


def _unknown(facts: Facts, name: str, what: str) -> Refusal:
    why = facts.why_unknown.get(name)
    return "facts_unknown", f"Not known: {what}" + (f" ({why})." if why else ".")


PERSON_GUARDS: tuple[Guard, ...] = (_permitted, _fresh, _guest_fits, _no_running_task, _not_without_quorum)

AUTOMATION_GUARDS: tuple[Guard, ...] = (
    _permitted,
    _enabled,
    _opted_in,
    _attempts_left,
    _cooled_down,
    _heard_before,
    _one_machine,
    _still_silent,
    _guest_fits,
    _ha_allowed,
    _cluster_quorate,
    _node_well,
    _grace_over,
    _no_running_task,
    _not_many_silent,
    _still_firing,
    _not_silenced,
)
