"""The worker's question about an alert, where Alertmanager is a cluster of several."""

from __future__ import annotations

import pytest

from action_api.neighbours import NeighbourUnavailable
from action_api.worker.alerts import AlertState, alert_state
from tests.action_api.core.neighbours import Neighbours

AWAY = "http://127.0.0.1:1"


def state(*urls: str) -> AlertState:
    return alert_state(
        urls, alertname="GuestHeartbeatMissing", cluster="demo1", guest_id="qemu/101", timeout_seconds=10
    )


def test_the_next_is_asked_when_the_first_does_not_answer(neighbours: Neighbours) -> None:
    neighbours.alerts = "alerts-silenced.json"
    assert state(AWAY, neighbours.url) == AlertState(True, "a silence")
    assert state(neighbours.url, AWAY) == AlertState(True, "a silence")


def test_what_each_said_is_told_when_none_answers(neighbours: Neighbours) -> None:
    neighbours.down.add("alertmanager")
    with pytest.raises(NeighbourUnavailable, match=r"127\.0\.0\.1:1/.*; Alertmanager at .* answered 503"):
        state(AWAY, neighbours.url)
