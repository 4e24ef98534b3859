"""Any order of claims, deaths and late answers: PVE is asked once per run, and one run at a time changes a guest."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from action_api.store import UNFINISHED_STATES, GuestBusy, RunState, open_store

WORKERS = st.sampled_from(["first", "second", "third"])
LEASE = 30.0


class RunsAndWorkers(RuleBasedStateMachine):
    """Workers that may each hold an old idea of a run, and try every step at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.store = open_store(f"sqlite:///{self.folder}/a.db")
        self.now = 1000.0
        self.asked: Counter[int] = Counter()
        self.ended: dict[int, RunState] = {}
        self.runs: list[int] = []

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)

    @rule(vmid=st.integers(100, 102))
    def a_person_asks(self, vmid: int) -> None:
        before = self.store.runs.unfinished("demo1", vmid)
        try:
            made = self.store.runs.request(
                cluster="demo1", kind="qemu", vmid=vmid, guest_name=None, action="reset", requested_by="alice",
                now=self.now,
            )  # fmt: skip
        except GuestBusy:
            made = None
        assert (made is None) == (before is not None)
        if made is not None:
            self.runs.append(made.id)

    @rule(worker=WORKERS)
    def a_worker_claims(self, worker: str) -> None:
        run = self.store.runs.claim_next(worker, now=self.now, lease_seconds=LEASE)
        if run is not None:
            assert run.claimed_by == worker
            assert run.id not in self.ended

    @precondition(lambda self: self.runs)
    @rule(worker=WORKERS, data=st.data())
    def a_worker_asks_pve(self, worker: str, data: st.DataObject) -> None:
        run_id = data.draw(st.sampled_from(self.runs))
        run = self.store.runs.get(run_id)
        assert run is not None
        if run.state == "following":  # of one call only: what comes after a followed task is the end
            return
        if self.store.runs.intend(run_id, worker, call="reset", node="pve1", now=self.now):
            self.asked[run_id] += 1

    @precondition(lambda self: self.runs)
    @rule(worker=WORKERS, data=st.data())
    def pve_answers(self, worker: str, data: st.DataObject) -> None:
        run_id = data.draw(st.sampled_from(self.runs))
        if self.store.runs.accepted(run_id, worker, upid=f"UPID:{run_id}"):
            assert self.asked[run_id] == 1

    @precondition(lambda self: self.runs)
    @rule(worker=WORKERS, state=st.sampled_from(["succeeded", "failed", "refused", "unknown"]), data=st.data())
    def a_worker_ends_a_run(self, worker: str, state: RunState, data: st.DataObject) -> None:
        run_id = data.draw(st.sampled_from(self.runs))
        if self.store.runs.finish(run_id, worker, state, now=self.now, outcome="over"):
            assert run_id not in self.ended
            self.ended[run_id] = state

    @rule(worker=WORKERS)
    def a_worker_stops(self, worker: str) -> None:
        self.store.runs.release(worker, now=self.now)

    @rule(seconds=st.sampled_from([1.0, 10.0, 31.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def pve_is_asked_once_at_most(self) -> None:
        assert all(times == 1 for times in self.asked.values())

    @invariant()
    def an_ended_run_stays_as_it_ended(self) -> None:
        found = {run.id: run.state for run in self.store.runs.recent()}
        assert {run_id: found[run_id] for run_id in self.ended} == self.ended
        assert all(found[run_id] in UNFINISHED_STATES for run_id in self.runs if run_id not in self.ended)

    @invariant()
    def every_end_is_counted(self) -> None:
        counted = {
            labels["outcome"]: value for family, labels, value in self.store.counters.all() if family == "actions"
        }
        assert counted == Counter(self.ended.values())


TestRunsAndWorkers = RunsAndWorkers.TestCase
TestRunsAndWorkers.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)
