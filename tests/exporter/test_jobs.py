"""How fast the nodes of a cluster are asked."""

from __future__ import annotations

import threading

import pytest

from exporter.jobs import STRETCH_SECONDS, Considerate, JobPool, Pace

STATUS = "/nodes/{node}/status"
GAP_SECONDS = 0.025


@pytest.fixture(autouse=True)
def _consideration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.jobs.GAP_SECONDS", GAP_SECONDS)
    monkeypatch.setattr("exporter.jobs.REST", 1.5)


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
    in_a_row = list(waits.seconds)
    assert all(seconds <= 2 * GAP_SECONDS for seconds in in_a_row), "one after the other, and soon"
    for _ in range(2):
        pace.wait(STATUS)
    # A thousand seconds for each, less what this test has taken.
    assert waits.seconds[len(in_a_row) :] == [pytest.approx(1000, abs=60), pytest.approx(2000, abs=60)]


def test_of_a_burst_no_two_calls_come_at_the_same_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.jobs.time.monotonic", lambda: 1000.0)
    waits = Waits()
    pace = Pace(per_second=1, burst=5, stopped=waits)
    for _ in range(4):
        pace.wait(STATUS)
    assert waits.seconds == [pytest.approx(place * GAP_SECONDS) for place in (1, 2, 3)]


def test_long_work_rests_longer_than_it_has_worked(monkeypatch: pytest.MonkeyPatch) -> None:
    now, rests = [0.0], []
    monkeypatch.setattr("exporter.jobs.time.perf_counter", lambda: now[0])
    monkeypatch.setattr("exporter.jobs.time.sleep", rests.append)
    work = Considerate()
    work.breathe()
    now[0] = STRETCH_SECONDS / 2
    work.breathe()
    assert rests == [], "there is nothing to rest from yet"
    now[0] = 3 * STRETCH_SECONDS
    work.breathe()
    assert rests[0] > 3 * STRETCH_SECONDS
    work.breathe()
    assert len(rests) == 1


def test_what_is_asked_of_the_whole_cluster_never_waits() -> None:
    waits = Waits()
    pace = Pace(per_second=0.001, burst=1, stopped=waits)
    for _ in range(5):
        pace.wait("/cluster/resources")
    assert waits.seconds == []


def test_a_job_with_a_mistake_costs_no_thread(caplog: pytest.LogCaptureFixture) -> None:
    pool = JobPool("ask-lab", threads=1)
    done = threading.Event()

    def fail() -> None:
        raise RuntimeError("not foreseen")

    assert pool.submit("pve1", fail, slow=False)
    assert pool.submit("pve1", done.set, slow=False)
    assert done.wait(10)
    pool.end()
    assert "a mistake in pvewatch" in caplog.text
