"""Carries out one action run: ask PVE once, follow the task, see the wanted state.

PVE's answer to a POST is a promise: success is the task's OK *and* the guest seen in the wanted state afterwards (a
guest under HA ends its task before anything has happened). When the answer was lost, PVE's task list is searched
for what became of it. Nothing is ever asked twice.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import cast

from action_api.actions import Call, execution
from action_api.policy import Request, decide
from action_api.store import ActionRun, RunState, Store
from action_api.worker.clusters import Clusters, GuestNotSeen, LookErrors, NoPowerToken
from action_api.worker.evidence import Evidence
from action_api.worker.timing import Timing
from pvewatch.config import AutomationSettings
from pvewatch.logging import about
from pvewatch.pve.client import was_never_sent
from pvewatch.pve.errors import BadAnswer, NotFound, PveError, Unreachable
from pvewatch.pve.models import GuestKind, Task

_log = logging.getLogger(__name__)

# A decision that has waited longer for a free thread is made again.
_DECISION_SECONDS = 5.0
# A proxy between us and PVE says these; what PVE did behind it is not known.
_PROXY_STATUS = frozenset({502, 503, 504})


class _Left(Exception):
    """The worker is stopping, or the run is another worker's now: nothing more is written about it here."""


class _Ended(Exception):
    """How the run ends, told by whichever step finds out."""

    def __init__(self, state: RunState, outcome: str, code: str | None = None) -> None:
        super().__init__(outcome)
        self.state = state
        self.outcome = outcome
        self.code = code


class Executor:
    """Executes claimed runs. Threads may share it."""

    def __init__(
        self,
        store: Store,
        clusters: Clusters,
        evidence: Evidence,
        rules: AutomationSettings,
        *,
        worker: str,
        timing: Timing,
        stopping: threading.Event,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._clusters = clusters
        self._evidence = evidence
        self._rules = rules
        self._worker = worker
        self._timing = timing
        self._stopping = stopping
        self._clock = clock

    def carry_out(self, run: ActionRun, *, decided_on_node: str | None = None) -> None:
        """Bring a run claimed by this worker to its end, from whatever state it is in.

        ``decided_on_node``: the policy has just allowed it, and the guest was seen there.
        """
        with about(cluster=run.cluster, guest=f"{run.kind}/{run.vmid}", run=run.id):
            self._to_its_end(run, decided_on_node)

    def _to_its_end(self, run: ActionRun, decided_on_node: str | None) -> None:
        try:
            try:
                self._from_its_state(run, decided_on_node)
            except _Ended as end:
                self._store.runs.finish(
                    run.id,
                    self._worker,
                    end.state,
                    now=self._clock(),
                    outcome=end.outcome,
                    reason_code=end.code,
                    reason=end.outcome if end.code else None,
                )
                _log.info(
                    "run ended",
                    extra={"run": run.id, "state": end.state, "cluster": run.cluster, "guest": run.guest_id},
                )
        except _Left:
            _log.info("run left to the next worker", extra={"run": run.id})

    def give_up(self, run: ActionRun) -> None:
        """End a run whose execution failed in a way nobody foresaw, so that it is not taken over again and again."""
        latest = self._store.runs.get(run.id)
        asked = latest is not None and latest.intent_at is not None
        outcome = "pvewatch itself failed while doing this; the worker's log says more."
        if asked:
            outcome += " Whether Proxmox VE did it is not known: look at the guest."
        state: RunState = "unknown" if asked else "failed"
        self._store.runs.finish(
            run.id,
            self._worker,
            state,
            now=self._clock(),
            outcome=outcome,
            reason_code="internal_error",
            reason=outcome,
        )

    def _from_its_state(self, run: ActionRun, decided_on_node: str | None) -> None:
        fresh = self._clock() - run.created_at <= _DECISION_SECONDS
        node = decided_on_node if fresh else None
        if run.state in ("executing", "following"):
            action = execution(run.action)
            position = action.call_named(run.kind, run.call or "")
            call = action.calls[run.kind][position]
            self._resume(run, call)
            calls = action.calls[run.kind][position + 1 :]
        else:
            node = node or self._check_again(run)
            calls = execution(run.action).calls[run.kind]
        for call in calls:
            try:
                self._perform(run, call, node or self._node_now(run))
            except _Ended as end:
                if call is execution(run.action).calls[run.kind][0]:
                    raise
                raise _Ended(end.state, f"{end.outcome} It was stopped before this: see to it.", end.code) from end
            node = None  # it may have moved by the time of the next call
        raise _Ended("succeeded", f"Done: the guest is {self._wanted(run)}.")

    def _wanted(self, run: ActionRun) -> str:
        return execution(run.action).calls[run.kind][-1].wanted

    def _check_again(self, run: ActionRun) -> str:
        """Decide once more on what PVE says now; answers the guest's node."""
        self._note(run, "Looking at the guest once more.")
        if run.origin == "person":
            asked_at = run.created_at
            facts = self._evidence.for_person(run.cluster, run.vmid)
        else:
            incident = self._store.incidents.get(run.incident_id) if run.incident_id is not None else None
            if incident is None or incident.closed_at is not None:
                raise _Ended("refused", "The incident has ended.", "incident_ended")
            asked_at = incident.alert_started_at
            facts = self._evidence.for_incident(incident, self._clock())
        request = Request(run.cluster, run.vmid, run.action, run.origin, asked_at)
        decision = decide(request, facts, self._rules, self._clock())
        if not decision.allowed or facts.guest is None:
            raise _Ended("refused", decision.message, decision.reason_code)
        if facts.guest.kind != run.kind:
            raise _Ended("refused", f"Guest {run.vmid} is not what was asked about any more.", "kind")
        return facts.guest.node

    def _node_now(self, run: ActionRun) -> str:
        try:
            return self._clusters.locate(run.cluster, run.vmid).node
        except LookErrors as error:
            raise _Ended("failed", f"The guest's node could not be found: {error}", "node_not_found") from error

    def _perform(self, run: ActionRun, call: Call, node: str) -> None:
        """One call from intent to the wanted state."""
        if self._stopping.is_set():
            raise _Left
        try:
            acting = self._clusters.acting(run.cluster)
        except NoPowerToken as error:
            raise _Ended("failed", str(error), "no_power_token") from error
        intent_at = self._clock()
        if not self._store.runs.intend(run.id, self._worker, call=call.verb, node=node, now=intent_at):
            raise _Left
        self._note(run, f"Asking Proxmox VE on {node}: {call.verb}.")
        try:
            upid = acting.guest_action(node, _kind(run), run.vmid, call.verb)
        except PveError as error:
            upid = self._after_no_answer(run, call, node, intent_at, error)
        self._take(run, upid)
        self._follow(run, call, upid)

    def _after_no_answer(self, run: ActionRun, call: Call, node: str, intent_at: float, error: PveError) -> str:
        if was_never_sent(error):
            raise _Ended("failed", f"Proxmox VE could not be reached, nothing was asked: {error}", error.error_class)
        lost = isinstance(error, Unreachable | BadAnswer) or error.status in _PROXY_STATUS
        if not lost:
            raise _Ended("failed", f"Proxmox VE refused: {error}", error.error_class)
        self._note(run, f"The answer was lost ({error}); looking in Proxmox VE's task list.")
        return self._find_task(run, call, node, intent_at)

    def _resume(self, run: ActionRun, call: Call) -> None:
        """Go on where another worker stopped; PVE is not asked again for what it may have been asked for."""
        self._note(run, "Another worker takes over.")
        if run.upid is None:
            upid = self._find_task(run, call, run.node or "", run.intent_at or run.created_at)
            self._take(run, upid)
        else:
            upid = run.upid
        self._follow(run, call, upid)

    def _find_task(self, run: ActionRun, call: Call, node: str, intent_at: float) -> str:
        """The task that the intended call has become, or the end of the run as unknown."""
        known = self._store.runs.known_upids(run.cluster, run.vmid)
        types = call.task_types(run.kind)
        give_up_at = max(intent_at + self._timing.task_lookup, self._clock() + self._timing.task_lookup / 4)
        why = "it shows no such task"
        while True:
            try:
                looking = self._clusters.looking(run.cluster)
                tasks = looking.node_tasks(node, vmid=run.vmid, since=intent_at - self._timing.clock_skew)
                mine = [
                    task
                    for task in tasks
                    if task.type in types and task.user == looking.token_id and task.upid not in known
                ]
                if mine:
                    return mine[-1].upid  # newest first: the oldest is the one that was asked for
                why = "it shows no such task"
            except LookErrors as error:
                why = str(error)
            if self._clock() >= give_up_at:
                raise _Ended(
                    "unknown",
                    f"Whether Proxmox VE did it is not known ({why}). It is not asked again: look at the guest.",
                    "outcome_unknown",
                )
            self._pause()

    def _take(self, run: ActionRun, upid: str) -> None:
        if not self._store.runs.accepted(run.id, self._worker, upid=upid):
            raise _Left
        self._note(run, f"Proxmox VE has begun: task {upid}.")

    def _follow(self, run: ActionRun, call: Call, upid: str) -> None:
        """Wait for the task's end on its own node, then for the guest's state."""
        looking = self._clusters.looking(run.cluster)
        give_up_at = self._clock() + self._rules.task_timeout_seconds
        trouble = ""
        while True:
            try:
                task = looking.task_status(upid)
                trouble = ""
                if not task.running:
                    break
            except PveError as error:
                trouble = f"; the last look failed: {error}"
            if self._clock() >= give_up_at:
                seconds = self._rules.task_timeout_seconds
                raise _Ended("unknown", f"The task has not ended within {seconds:g} s{trouble}: {upid}", "task_timeout")
            self._pause()
        if task.ok is not True:
            raise _Ended("failed", f"The task failed: {task.exit_status or 'it ended without a word'}", "task_failed")
        self._note(run, f"The task has ended: {task.exit_status}.")
        self._see_state(run, call, task)

    def _see_state(self, run: ActionRun, call: Call, task: Task) -> None:
        under_ha = task.type.startswith("ha")
        seconds = self._timing.state_ha if under_ha else self._timing.state
        give_up_at = self._clock() + seconds
        node, seen = task.node, "it could not be seen"
        looking = self._clusters.looking(run.cluster)
        while True:
            try:
                state = looking.guest_status(node, _kind(run), run.vmid).status
                if state == call.wanted:
                    self._note(run, f"The guest is {state}.")
                    return
                seen = f"it is {state}"
            except NotFound:
                node = self._locate_again(run) or node  # HA has moved it
            except PveError as error:
                seen = f"it could not be seen: {error}"
            if self._clock() >= give_up_at:
                raise _Ended(
                    "failed",
                    f"The task ended well, but the guest is not {call.wanted} after {seconds:g} s: {seen}.",
                    "state_not_seen",
                )
            self._pause()

    def _locate_again(self, run: ActionRun) -> str | None:
        try:
            return self._clusters.locate(run.cluster, run.vmid).node
        except (PveError, GuestNotSeen):
            return None

    def _pause(self) -> None:
        if self._stopping.wait(self._timing.poll):
            raise _Left

    def _note(self, run: ActionRun, text: str) -> None:
        self._store.runs.note(run.id, text, now=self._clock())


def _kind(run: ActionRun) -> GuestKind:
    return cast(GuestKind, run.kind)
