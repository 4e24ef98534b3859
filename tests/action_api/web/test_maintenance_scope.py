"""What maintenance silences, and what it does not take: without an Alertmanager."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from action_api.alertmanager import Matcher
from action_api.maintenance import NotPossible, Scope, comment_of, missing_in, scope_of, seconds_of
from tests.action_api.web.site import RecordedInventory

clusters = st.sampled_from(("alpha", "beta"))
guests = st.builds("{}{}".format, st.sampled_from(("", "qemu/", "lxc/")), st.integers(100, 999_999_999))
nodes = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", fullmatch=True)


@given(clusters, st.one_of(st.tuples(nodes, st.none()), st.tuples(st.none(), guests), st.just((None, None))))
def test_a_scope_is_read_back_from_its_silence(cluster: str, part: tuple[str | None, str | None]) -> None:
    scope = Scope.of(cluster, *part, clusters=["alpha", "beta"])
    assert scope_of(scope.matchers) == scope
    assert all(matcher.isEqual for matcher in scope.matchers)
    assert scope.matchers[0] == Matcher(name="cluster", value=cluster), "never wider than its cluster"


@given(st.text(), st.text(), st.text())
def test_no_text_becomes_part_of_a_pattern(cluster: str, node: str, guest: str) -> None:
    try:
        scope = Scope.of(cluster, node, guest, clusters=["alpha", cluster])
    except NotPossible:
        return
    for matcher in scope.matchers:
        assert not matcher.isRegex or re.fullmatch(r"\(qemu\|lxc\)/[1-9][0-9]*", matcher.value, re.ASCII)


@pytest.mark.parametrize(
    "matchers",
    [
        (Matcher(name="cluster", value="alpha", isEqual=False),),
        (Matcher(name="cluster", value="al.*", isRegex=True),),
        (Matcher(name="cluster", value="alpha"), Matcher(name="severity", value="warning")),
        (Matcher(name="node", value="pve1"),),
        (Matcher(name="cluster", value="alpha"), Matcher(name="cluster", value="beta")),
    ],
)
def test_a_silence_of_another_kind_is_not_taken_for_maintenance(matchers: tuple[Matcher, ...]) -> None:
    assert scope_of(matchers) is None


@given(st.text())
def test_any_duration_is_read_within_its_limits_or_refused(text: str) -> None:
    try:
        seconds = seconds_of(text)
    except NotPossible:
        return
    assert 60 <= seconds <= 30 * 86_400


@given(st.text())
def test_any_comment_is_one_printable_line_or_refused(text: str) -> None:
    try:
        comment = comment_of(text)
    except NotPossible:
        return
    assert comment.isprintable()
    assert 0 < len(comment) <= 500


def test_a_cluster_of_which_nothing_is_known_is_not_an_objection() -> None:
    inventory = RecordedInventory(time.time)
    inventory.change_cluster("alpha", guests=[], nodes=[])
    assert missing_in(Scope("alpha", guest="999"), inventory.fetch()) is None
    assert missing_in(Scope("beta", guest="999"), inventory.fetch()) == "beta has no guest 999"
