"""The policy: allowed only when every guard agrees, and each refusal says why."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from action_api.catalogue import CATALOGUE
from action_api.policy import AUTOMATION_GUARDS, Facts, GuestFacts, Request, Silence, decide
from pvewatch.config import AutomationSettings

NOW = 1_800_000_000.0
RULES = AutomationSettings()

GUEST = GuestFacts(
    kind="qemu",
    status="running",
    template=False,
    lock=None,
    ha_managed=False,
    node="pve1",
    tags=("prod", "pvewatch-auto-reset"),
    uptime_seconds=86400.0,
)
GOOD = Facts(
    guest=GUEST,
    running_tasks=(),
    quorate=True,
    node_trouble=None,
    node_online=True,
    node_uptime_seconds=86400.0,
    inventory_age_seconds=5.0,
    heartbeat_ever_seen=True,
    heartbeat_at=NOW - 400,
    identity_shared=False,
    heartbeat_silent=True,
    silences=(Silence("cluster demo1", 1, 10),),
    alert_firing=True,
    alert_suppressed_by=None,
    alert_known=True,
    attempts_in_window=0,
    newest_attempt_at=None,
)
AUTOMATIC = Request("demo1", 101, "reset", "automation", asked_at=NOW - 60)
PERSONAL = Request("demo1", 101, "reset", "person", asked_at=NOW - 1)


def guest(**changes: Any) -> Facts:
    return replace(GOOD, guest=replace(GUEST, **changes))


def facts(**changes: Any) -> Facts:
    return replace(GOOD, **changes)


# Guard by guard: what is wrong, and the reason it has to give.
VIOLATIONS: dict[str, tuple[Facts, str]] = {
    "the guest cannot be seen": (facts(guest=None), "facts_unknown"),
    "it has no tag": (guest(tags=()), "not_opted_in"),
    "its tag only contains ours": (guest(tags=("no-pvewatch-auto-reset",)), "not_opted_in"),
    "its tag is ours in another case": (guest(tags=("Pvewatch-Auto-Reset",)), "not_opted_in"),
    "it is a template": (guest(template=True), "template"),
    "it is locked": (guest(lock="backup"), "locked"),
    "it is locked by something unknown": (guest(lock="new-in-pve-10"), "locked"),
    "it is stopped": (guest(status="stopped"), "state"),
    "its state is unknown": (guest(status="unknown"), "state_unknown"),
    "HA manages it": (guest(ha_managed=True), "ha_managed"),
    "it has just started": (guest(uptime_seconds=299.0), "grace"),
    "its uptime is unknown": (guest(uptime_seconds=None), "facts_unknown"),
    "tasks are unknown": (facts(running_tasks=None), "facts_unknown"),
    "a task runs": (facts(running_tasks=("vzdump",)), "task_running"),
    "quorum is unknown": (facts(quorate=None), "facts_unknown"),
    "quorum is lost": (facts(quorate=False), "no_quorum"),
    "the node is unknown": (facts(node_online=None), "facts_unknown"),
    "the node is offline": (facts(node_online=False), "node_trouble"),
    "the node has an alert": (facts(node_trouble="Prometheus says that it is down"), "node_trouble"),
    "the node has just booted": (facts(node_uptime_seconds=60.0), "node_trouble"),
    "heartbeats are unknown": (facts(heartbeat_ever_seen=None), "facts_unknown"),
    "there never was a heartbeat": (facts(heartbeat_ever_seen=False, heartbeat_at=None), "no_heartbeat_ever"),
    "two machines use its token": (facts(identity_shared=True), "identity_shared"),
    "whether two machines use its token is unknown": (facts(identity_shared=None), "facts_unknown"),
    "the exporter's figures are old": (facts(inventory_age_seconds=61.0), "facts_unknown"),
    "the exporter has no figures": (facts(inventory_age_seconds=None), "facts_unknown"),
    "it speaks again": (facts(heartbeat_at=NOW - 30), "speaks_again"),
    "it spoke after the last attempt": (
        facts(heartbeat_at=NOW - 60, newest_attempt_at=NOW - 700),
        "speaks_again",
    ),
    "it spoke just before the alert fired": (facts(heartbeat_at=NOW - 61, heartbeat_silent=False), "speaks_again"),
    "whether it is silent is unknown": (facts(heartbeat_silent=None), "facts_unknown"),
    "silence around it is unknown": (facts(silences=None), "facts_unknown"),
    "most guests of the cluster are silent": (facts(silences=(Silence("cluster demo1", 6, 10),)), "many_silent"),
    "all guests of its node are silent": (
        facts(silences=(Silence("cluster demo1", 3, 30), Silence("node pve1", 3, 3))),
        "many_silent",
    ),
    "Prometheus is unknown": (facts(alert_firing=None), "facts_unknown"),
    "the alert is over": (facts(alert_firing=False), "alert_not_firing"),
    "Alertmanager is unknown": (facts(alert_known=None), "facts_unknown"),
    "Alertmanager knows no such alert": (facts(alert_known=False), "facts_unknown"),
    "it is silenced": (facts(alert_suppressed_by="a silence"), "silenced"),
    "earlier attempts are unknown": (facts(attempts_in_window=None), "facts_unknown"),
    "attempts are used up": (facts(attempts_in_window=2), "attempts_used_up"),
    "the last attempt is recent": (facts(attempts_in_window=1, newest_attempt_at=NOW - 599), "cool_down"),
}

RULE_VIOLATIONS: dict[str, tuple[AutomationSettings, str]] = {
    "automation is off": (AutomationSettings(enabled=False), "automation_off"),
    "reset is not permitted": (AutomationSettings(permitted_actions=("start", "shutdown")), "not_permitted"),
    "another tag is asked for": (AutomationSettings(tag="other"), "not_opted_in"),
}


def test_with_nothing_against_it_a_silent_guest_is_reset() -> None:
    decision = decide(AUTOMATIC, GOOD, RULES, NOW)
    assert (decision.allowed, decision.reason_code) == (True, "allowed")


@pytest.mark.parametrize("wrong", VIOLATIONS)
def test_automation_is_refused_when(wrong: str) -> None:
    seen, code = VIOLATIONS[wrong]
    decision = decide(AUTOMATIC, seen, RULES, NOW)
    assert (decision.allowed, decision.reason_code) == (False, code)
    assert decision.message.endswith(".")


@pytest.mark.parametrize("wrong", RULE_VIOLATIONS)
def test_the_workers_own_configuration_refuses_when(wrong: str) -> None:
    rules, code = RULE_VIOLATIONS[wrong]
    decision = decide(AUTOMATIC, GOOD, rules, NOW)
    assert (decision.allowed, decision.reason_code) == (False, code)


def test_every_guard_has_a_case_of_its_own() -> None:
    objected = set()
    for seen, _ in VIOLATIONS.values():
        objected |= {guard for guard in AUTOMATION_GUARDS if guard(AUTOMATIC, seen, RULES, NOW)}
    for rules, _ in RULE_VIOLATIONS.values():
        objected |= {guard for guard in AUTOMATION_GUARDS if guard(AUTOMATIC, GOOD, rules, NOW)}
    assert objected == set(AUTOMATION_GUARDS)


@pytest.mark.parametrize(
    "tolerated",
    [
        guest(uptime_seconds=300.0),
        facts(silences=(Silence("cluster demo1", 2, 2),)),
        facts(silences=(Silence("cluster demo1", 5, 10),)),
        facts(attempts_in_window=1, newest_attempt_at=NOW - 600),
        facts(node_uptime_seconds=None),
        guest(status="io-error"),
    ],
    ids=["grace is over", "too few to judge", "half is not more than half", "cooled down", "uptime hidden", "io-error"],
)
def test_automation_goes_on_at_the_edge(tolerated: Facts) -> None:
    assert decide(AUTOMATIC, tolerated, RULES, NOW).allowed


def test_a_guest_may_opt_in_by_configuration() -> None:
    untagged = guest(tags=())
    assert decide(AUTOMATIC, untagged, AutomationSettings(guests=("demo1/101",)), NOW).allowed
    assert not decide(AUTOMATIC, untagged, AutomationSettings(guests=("demo2/101",)), NOW).allowed


def test_ha_may_be_allowed_by_configuration() -> None:
    assert decide(AUTOMATIC, guest(ha_managed=True), AutomationSettings(allow_ha=True), NOW).allowed


def test_what_is_not_known_is_named_with_its_cause() -> None:
    seen = facts(alert_firing=None, why_unknown={"prometheus": "Prometheus at http://p does not answer"})
    message = decide(AUTOMATIC, seen, RULES, NOW).message
    assert "alert still fires" in message
    assert "Prometheus at http://p does not answer" in message


@pytest.mark.parametrize("wrong", ["the guest cannot be seen", "it is a template", "it is locked", "it is stopped",
                                   "tasks are unknown", "a task runs", "quorum is lost"])  # fmt: skip
def test_a_person_is_refused_when(wrong: str) -> None:
    seen, code = VIOLATIONS[wrong]
    decision = decide(PERSONAL, seen, RULES, NOW)
    assert (decision.allowed, decision.reason_code) == (False, code)


def test_a_person_needs_no_opt_in_no_heartbeat_and_no_right_to_see_the_quorum() -> None:
    bare = Facts(guest=replace(GUEST, tags=(), ha_managed=True), running_tasks=())
    assert decide(PERSONAL, bare, RULES, NOW).allowed


def test_a_request_that_waited_too_long_is_not_carried_out() -> None:
    late = replace(PERSONAL, asked_at=NOW - 301)
    assert decide(late, GOOD, RULES, NOW).reason_code == "too_old"


@pytest.mark.parametrize("name", ["destroy", "", "RESET", "stop"])
def test_what_is_not_in_the_catalogue_is_refused(name: str) -> None:
    assert decide(replace(PERSONAL, action=name), GOOD, RULES, NOW).reason_code == "not_permitted"


@given(st.lists(st.sampled_from(sorted(VIOLATIONS)), min_size=1, max_size=6))
def test_whatever_else_is_well_one_violation_is_enough(wrong: list[str]) -> None:
    """The violations are laid over each other; a later one may mend what an earlier one broke, the last one stands."""
    merged = GOOD
    for name in wrong:
        seen, _ = VIOLATIONS[name]
        changed = {
            f.name: getattr(seen, f.name) for f in fields(Facts) if getattr(seen, f.name) != getattr(GOOD, f.name)
        }
        merged = replace(merged, **changed)
    assert not decide(AUTOMATIC, merged, RULES, NOW).allowed


UNKNOWABLE = sorted(
    {"guest", "running_tasks", "quorate", "node_online", "inventory_age_seconds", "heartbeat_ever_seen",
     "identity_shared", "silences", "alert_firing", "alert_known", "attempts_in_window"}
)  # fmt: skip


@given(st.sets(st.sampled_from(UNKNOWABLE), min_size=1))
def test_nothing_unknown_is_ever_taken_for_good(unknown: set[str]) -> None:
    assert not decide(AUTOMATIC, facts(**dict.fromkeys(unknown)), RULES, NOW).allowed


@given(
    st.builds(
        Facts,
        guest=st.none() | st.builds(
            GuestFacts,
            kind=st.sampled_from(["qemu", "lxc", "other"]),
            status=st.sampled_from(["running", "stopped", "paused", "unknown", "new"]),
            template=st.booleans(),
            lock=st.none() | st.text(max_size=8),
            ha_managed=st.booleans(),
            node=st.just("pve1"),
            tags=st.just(()) | st.just(("pvewatch-auto-reset",)),
            uptime_seconds=st.none() | st.floats(0, 1e6),
        ),
        running_tasks=st.none() | st.just(()) | st.just(("qmstop",)),
        quorate=st.none() | st.booleans(),
        node_online=st.none() | st.booleans(),
        heartbeat_ever_seen=st.none() | st.booleans(),
        heartbeat_at=st.none() | st.floats(NOW - 1e6, NOW + 1e6),
        heartbeat_silent=st.none() | st.booleans(),
        attempts_in_window=st.none() | st.integers(0, 5),
        newest_attempt_at=st.none() | st.floats(NOW - 1e6, NOW),
    ),
    st.sampled_from([action.name for action in CATALOGUE]),
)  # fmt: skip
def test_a_yes_always_means_that_the_guest_itself_allows_it(seen: Facts, action: str) -> None:
    for request in (replace(AUTOMATIC, action=action), replace(PERSONAL, action=action)):
        if decide(request, seen, RULES, NOW).allowed:
            assert seen.guest is not None
            assert not seen.guest.template
            assert not seen.guest.lock
            assert seen.running_tasks == ()
            assert seen.guest.status != "unknown"
