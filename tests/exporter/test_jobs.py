"""How fast the nodes of a cluster are asked."""

from __future__ import annotations

import threading

import pytest

from exporter.jobs import Pace

STATUS = "/nodes/{node}/status"


class Waits(threading.Event):
    """Never set; remembers how long anybody would have waited, and does not."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout or 0.0)
        return False


def test_a_burst_passes_and_then_each_waits_a_place_further_back() -> None:
    waits = Waits()
    pace = Pace(per_second=0.001, burst=3, stopped=waits)
    for _ in range(3):
        pace.wait(STATUS)
    assert waits.seconds == []
    for _ in range(2):
        pace.wait(STATUS)
    # A thousand seconds for each, less what this test has taken.
    assert waits.seconds == [pytest.approx(1000, abs=60), pytest.approx(2000, abs=60)]


def test_what_is_asked_of_the_whole_cluster_never_waits() -> None:
    waits = Waits()
    pace = Pace(per_second=0.001, burst=1, stopped=waits)
    for _ in range(5):
        pace.wait("/cluster/resources")
    assert waits.seconds == []
