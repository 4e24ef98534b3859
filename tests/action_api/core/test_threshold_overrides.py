"""Thresholds set at run time, in the store: on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from action_api.store import Store, ThresholdOverride, TooManyOverrides
from action_api.store import thresholds as stored

MEMORY = ThresholdOverride(
    "demo1", "qemu/101", "guest_memory_ratio", 0.99, set_by="alice", set_at=100.0, until=200.0, comment="a migration"
)
NODE = replace(MEMORY, id="node/pve1", figure="node_load_per_cpu", value=4.0, until=None)


def test_what_was_set_counts_until_its_end(store: Store) -> None:
    store.threshold_overrides.set(MEMORY)
    store.threshold_overrides.set(NODE)
    assert store.threshold_overrides.present(now=199.0) == (NODE, MEMORY)
    assert store.threshold_overrides.present(now=200.0) == (NODE,)


def test_the_newest_of_two_counts_and_the_audit_log_has_both(store: Store) -> None:
    later = replace(MEMORY, value=0.8, set_by="bob", set_at=150.0, until=None, comment="enough")
    store.threshold_overrides.set(MEMORY)
    store.threshold_overrides.set(later)
    assert store.threshold_overrides.present(now=1000.0) == (later,)
    second, first = store.audit.recent()
    assert (first.event, first.actor, first.at, first.guest) == ("threshold.set", "alice", 100.0, "qemu/101")
    assert (first.detail["before"], first.detail["value"], first.detail["until"]) == (None, 0.99, 200.0)
    assert (second.actor, second.detail["before"], second.detail["value"]) == ("bob", 0.99, 0.8)


def test_one_that_has_ended_is_not_what_was_set_before(store: Store) -> None:
    store.threshold_overrides.set(MEMORY)
    store.threshold_overrides.set(replace(MEMORY, set_at=200.0, until=None))
    assert store.audit.recent(1)[0].detail["before"] is None


def test_clearing_lets_the_configured_one_count_and_says_whether_there_was_any(store: Store) -> None:
    key = (NODE.cluster, NODE.id, NODE.figure)
    store.threshold_overrides.set(NODE)
    assert store.threshold_overrides.clear(*key, actor="bob", now=150.0)
    assert store.threshold_overrides.present(now=150.0) == ()
    assert not store.threshold_overrides.clear(*key, actor="bob", now=151.0)
    (entry,) = store.audit.recent(event="threshold.cleared")
    assert (entry.actor, entry.cluster, entry.guest) == ("bob", "demo1", None)
    assert entry.detail == {"id": "node/pve1", "figure": "node_load_per_cpu", "before": 4.0, "set_by": "alice"}


def test_one_that_has_ended_cannot_be_cleared(store: Store) -> None:
    store.threshold_overrides.set(MEMORY)
    assert not store.threshold_overrides.clear(MEMORY.cluster, MEMORY.id, MEMORY.figure, actor="bob", now=200.0)
    assert store.audit.recent(event="threshold.cleared") == ()


def test_their_number_is_bounded_and_what_has_ended_makes_room(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "MAX_PRESENT", 2)
    store.threshold_overrides.set(MEMORY)
    store.threshold_overrides.set(NODE)
    another = replace(NODE, id="node/pve2")
    with pytest.raises(TooManyOverrides, match="2 thresholds are set at run time already"):
        store.threshold_overrides.set(another)
    store.threshold_overrides.set(replace(NODE, value=5.0))
    assert len(store.audit.recent()) == 3, "what was refused has left no trace of a change"
    store.threshold_overrides.set(replace(another, set_at=200.0))
    assert [override.id for override in store.threshold_overrides.present(now=200.0)] == ["node/pve1", "node/pve2"]


def test_two_who_set_the_same_at_once_leave_one(store: Store) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(store.threshold_overrides.set, [replace(NODE, value=float(value)) for value in range(1, 5)]))
    assert len(store.threshold_overrides.present(now=200.0)) == 1
    assert len(store.audit.recent()) == 4
