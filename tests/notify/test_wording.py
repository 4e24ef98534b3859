"""How a relayed message reads at three in the morning."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from action_api.notifiers.wording import MAX_ALERTS_TOLD, words
from tests.notify.messages import alert, parsed
from tests.notify.services import NASTY


def test_one_alert_says_what_where_since_when_and_where_to_go() -> None:
    told = words(parsed(alert()))
    assert told.title == "CRITICAL Guest mail1 (101) of home is stopped but should run"
    assert told.body.splitlines() == [
        "Guest mail1 (101) of home is stopped but should run",
        "It has been stopped for two minutes.",
        "Where: cluster home, node pve2, qemu/101 (mail1)",
        "Since: 2026-11-21 03:00 UTC",
        "Runbook: https://watch.example/runbooks/GuestDown",
        "Dashboard: https://grafana.example/d/pve-overview?var-cluster=home",
        "Act: https://watch.example/guests/home/qemu/101/act/start",
    ]


def test_a_resolved_message_says_until_when_and_never_carries_the_severity_it_had() -> None:
    told = words(parsed(alert(status="resolved")))
    assert told.title == "RESOLVED Guest mail1 (101) of home is stopped but should run"
    assert told.urgency == "resolved"
    assert "CRITICAL" not in told.title + told.body
    assert "Since: 2026-11-21 03:00 UTC until 2026-11-21 03:12 UTC" in told.body


def test_several_alerts_are_counted_in_the_title_and_told_one_by_one() -> None:
    told = words(parsed(alert(), alert("web1", 102), alert("db1", 103, status="resolved")))
    assert told.title == "CRITICAL 3 GuestDown alerts in home (1 resolved)"
    assert "Resolved: Guest db1 (103)" in told.body
    assert told.body.count("Where:") == 3


def test_the_urgency_is_that_of_the_worst_alert_that_fires() -> None:
    assert words(parsed(alert(severity="warning"), alert(vmid=102, severity="critical"))).urgency == "critical"
    resolved = alert(vmid=102, severity="critical", status="resolved")
    assert words(parsed(alert(severity="warning"), resolved)).urgency == "warning"


def test_a_storm_is_told_in_part_with_the_number_of_all() -> None:
    told = words(parsed(*(alert(vmid=100 + i) for i in range(40)), truncated=160))
    assert told.title == "CRITICAL 200 GuestDown alerts in home"
    assert told.body.count("Where:") == MAX_ALERTS_TOLD
    assert told.body.endswith("and more: 200 alerts in all, the first 10 are above.")


def test_one_alert_with_a_very_long_description_fits_where_the_least_fits() -> None:
    wordy = alert()
    wordy["annotations"]["description"] = "It goes on and on. " * 500
    told = words(parsed(wordy)).body
    assert len(told) <= 1024
    assert "…\nWhere: cluster home" in told


def test_a_message_that_may_have_arrived_before_says_so() -> None:
    assert "may be a repeat" in words(parsed(alert()), perhaps_repeated=True).body
    assert "may be a repeat" not in words(parsed(alert())).body


def test_an_alert_without_annotations_is_told_by_its_name() -> None:
    bare = alert() | {"annotations": {}}
    assert words(parsed(bare)).title == "CRITICAL GuestDown"


@given(st.text(max_size=40))
def test_any_name_is_told_as_it_is(name: str) -> None:
    assert name in words(parsed(alert(name))).body
    assert NASTY in words(parsed(alert(NASTY))).title


def test_a_message_that_is_sent_twice_has_one_digest_and_any_change_another() -> None:
    first = parsed(alert(), alert("web1", 102))
    assert first.digest() == parsed(alert("web1", 102), alert()).digest()
    assert first.digest() != parsed(alert(), alert("web1", 102, status="resolved")).digest()
    later = alert() | {"startsAt": "2026-11-21T04:00:00Z"}
    assert first.digest() != parsed(later, alert("web1", 102)).digest()
