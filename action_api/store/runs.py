"""Action runs: asked for by a row, claimed by a worker through a conditional update, followed to a known end.

    pending → claimed → executing → following → succeeded | failed | unknown
        └────────┴→ refused          (executing: the intent is on disk, PVE's answer is not)

A claim is a lease: a worker that dies stops renewing it, and the next one takes the run over in the state it
is in. Every step by a worker asks "is the run still mine?" in its WHERE, so a late worker changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from action_api.store.audit import count, write_entry
from action_api.store.database import Database
from action_api.store.records import FINISHED_STATES, UNFINISHED_STATES, ActionRun, GuestBusy, RunEvent, RunState
from action_api.store.tables import action_runs, incidents, run_events

MAX_EVENT_CHARACTERS = 500
MAX_EVENTS_PER_RUN = 500
MAX_PAGE = 500

_runs = action_runs.c


class Runs:
    """What was asked for, and what became of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # What pages and the API use.

    def request(
        self,
        *,
        cluster: str,
        kind: str,
        vmid: int,
        guest_name: str | None,
        action: str,
        requested_by: str,
        now: float,
        remote: str | None = None,
    ) -> ActionRun:
        """Ask for an action as a person; a worker does it. Audited. Raises GuestBusy while another run lasts."""
        values = {
            "cluster": cluster,
            "kind": kind,
            "vmid": vmid,
            "guest_name": guest_name,
            "action": action,
            "origin": "person",
            "requested_by": requested_by,
            "state": "pending",
            "created_at": now,
        }
        try:
            with self._database.write() as connection:
                run = _insert(connection, values, f"{requested_by} asked for: {action}.", now)
                _trace(connection, run, "action.requested", now, remote=remote)
        except IntegrityError as error:
            raise self._busy(cluster, vmid) from error
        return run

    def get(self, run_id: int) -> ActionRun | None:
        """One run."""
        with self._database.read() as connection:
            return _one(connection, _runs.id == run_id)

    def unfinished(self, cluster: str, vmid: int) -> ActionRun | None:
        """The guest's run that has not ended; there is at most one."""
        with self._database.read() as connection:
            return _one(connection, _runs.cluster == cluster, _runs.vmid == vmid, _runs.state.in_(UNFINISHED_STATES))

    def recent(
        self,
        limit: int = 50,
        *,
        before_id: int | None = None,
        cluster: str | None = None,
        vmid: int | None = None,
        incident_id: int | None = None,
    ) -> tuple[ActionRun, ...]:
        """The newest runs first, at most 500; ``before_id`` pages on."""
        query = select(action_runs).order_by(_runs.id.desc()).limit(min(limit, MAX_PAGE))
        if before_id is not None:
            query = query.where(_runs.id < before_id)
        for column, wanted in ((_runs.cluster, cluster), (_runs.vmid, vmid), (_runs.incident_id, incident_id)):
            if wanted is not None:
                query = query.where(column == wanted)
        with self._database.read() as connection:
            return tuple(ActionRun(**row) for row in connection.execute(query).mappings())

    def events(self, run_id: int, *, after_id: int = 0) -> tuple[RunEvent, ...]:
        """The run's progress in order; pass the last ``id`` seen to get what is new. At most 500."""
        query = select(run_events).where(run_events.c.run_id == run_id, run_events.c.id > after_id)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(run_events.c.id).limit(MAX_EVENTS_PER_RUN)).mappings()
            return tuple(RunEvent(**row) for row in rows)

    def count_by_state(self) -> dict[RunState, int]:
        """How many unfinished runs are in each state; states without one are there with 0."""
        query = select(_runs.state, func.count()).where(_runs.state.in_(UNFINISHED_STATES)).group_by(_runs.state)
        with self._database.read() as connection:
            found = {row[0]: int(row[1]) for row in connection.execute(query)}
        return {state: found.get(state, 0) for state in UNFINISHED_STATES}

    # What the policy asks about the past.

    def attempts_since(self, cluster: str, vmid: int, *, since: float) -> int:
        """How often automation has asked PVE to change this guest after ``since``."""
        mine = (_runs.cluster == cluster, _runs.vmid == vmid, _runs.origin == "automation")
        with self._database.read() as connection:
            query = select(func.count()).select_from(action_runs).where(*mine, _runs.intent_at > since)
            return connection.execute(query).scalar_one()

    def newest_attempt_at(self, cluster: str, vmid: int) -> float | None:
        """When PVE was last asked to change this guest, also for a person: a guest that is booting is not helped."""
        with self._database.read() as connection:
            newest: float | None = connection.execute(
                select(func.max(_runs.intent_at)).where(_runs.cluster == cluster, _runs.vmid == vmid)
            ).scalar_one()
        return newest

    def known_upids(self, cluster: str, vmid: int) -> frozenset[str]:
        """The tasks that are known to belong to the guest's newest 100 runs."""
        query = select(_runs.upid).where(_runs.cluster == cluster, _runs.vmid == vmid, _runs.upid.is_not(None))
        with self._database.read() as connection:
            return frozenset(connection.execute(query.order_by(_runs.id.desc()).limit(100)).scalars())

    # What the worker uses.

    def claim_next(self, worker: str, *, now: float, lease_seconds: float) -> ActionRun | None:
        """Claim the oldest pending run, or take over one whose worker has stopped renewing its lease.

        The state of the answer says where to go on: claimed, executing (PVE may have been asked), following.
        """
        lapsed = and_(_runs.state.in_(("claimed", "executing", "following")), _runs.lease_until < now)
        with self._database.read() as connection:
            waiting = connection.execute(
                select(_runs.id, _runs.state, _runs.lease_until)
                .where(or_(_runs.state == "pending", lapsed))
                .order_by(_runs.id)
                .limit(20)
            ).all()
        for row in waiting:
            values: dict[str, Any] = {"claimed_by": worker, "lease_until": now + lease_seconds}
            if row.state == "pending":
                values |= {"state": "claimed", "claimed_at": now}
            unchanged = (_runs.id == row.id, _runs.state == row.state, _same(_runs.lease_until, row.lease_until))
            with self._database.write() as connection:
                claim = update(action_runs).where(*unchanged).values(values).returning(action_runs)
                claimed = connection.execute(claim).mappings().one_or_none()
            if claimed is not None:  # else another worker was faster
                return ActionRun(**claimed)
        return None

    def start_attempt(
        self, incident_id: int, action: str, worker: str, *, now: float, lease_seconds: float
    ) -> ActionRun | None:
        """Count an attempt on the open incident and make its run, claimed by ``worker``, in one transaction.

        None when the incident has been closed meanwhile. Raises GuestBusy.
        """
        is_open = (incidents.c.id == incident_id, incidents.c.closed_at.is_(None))
        cluster, vmid = "", 0
        try:
            with self._database.write() as connection:
                more = update(incidents).where(*is_open).values(attempts=incidents.c.attempts + 1).returning(incidents)
                incident = connection.execute(more).mappings().one_or_none()
                if incident is None:
                    return None
                cluster, vmid = incident["cluster"], incident["vmid"]
                values = _for_incident(incident, action, now) | {
                    "state": "claimed",
                    "claimed_at": now,
                    "claimed_by": worker,
                    "lease_until": now + lease_seconds,
                }
                run = _insert(connection, values, f"Attempt {incident['attempts']}: {action}.", now)
                _trace(connection, run, "action.requested", now)
                return run
        except IntegrityError as error:
            raise self._busy(cluster, vmid) from error

    def record_refusal(self, incident_id: int, action: str, code: str, reason: str, *, now: float) -> ActionRun | None:
        """Keep an attempt that the policy refused, as a run that ended before it began. None: no such incident."""
        with self._database.write() as connection:
            query = select(incidents).where(incidents.c.id == incident_id)
            incident = connection.execute(query).mappings().one_or_none()
            if incident is None:
                return None
            values = _for_incident(incident, action, now) | {
                "state": "refused",
                "reason_code": code,
                "reason": reason,
                "finished_at": now,
            }
            run = _insert(connection, values, f"Refused: {reason}", now)
            _count_end(connection, run)
            _trace(connection, run, "action.refused", now)
        return run

    def renew(self, worker: str, run_ids: Collection[int], *, now: float, lease_seconds: float) -> int:
        """Go on holding these runs; answers how many of them are still the worker's."""
        if not run_ids:
            return 0
        mine = (_runs.id.in_(run_ids), _runs.claimed_by == worker, _runs.state.in_(UNFINISHED_STATES))
        with self._database.write() as connection:
            renewal = update(action_runs).where(*mine, _runs.lease_until >= now)
            return connection.execute(renewal.values(lease_until=now + lease_seconds)).rowcount

    def intend(self, run_id: int, worker: str, *, call: str, node: str, now: float) -> bool:
        """Write down that PVE is about to be asked for ``call`` on ``node``. Only after True may it be asked.

        False: the run is no longer this worker's, or its lease is over.
        """
        values = {"state": "executing", "call": call, "node": node, "intent_at": now, "upid": None}
        return self._step(run_id, worker, ("claimed", "following"), values, _runs.lease_until >= now)

    def accepted(self, run_id: int, worker: str, *, upid: str) -> bool:
        """PVE has answered the intended call with a task."""
        return self._step(run_id, worker, ("executing",), {"state": "following", "upid": upid})

    def note(self, run_id: int, text: str, *, now: float) -> None:
        """Add a sentence to the run's progress."""
        with self._database.write() as connection:
            _note(connection, run_id, text, now)

    def finish(
        self,
        run_id: int,
        worker: str,
        state: RunState,
        *,
        now: float,
        outcome: str,
        reason_code: str | None = None,
        reason: str | None = None,
    ) -> bool:
        """End the run as succeeded, failed, refused or unknown: counted, audited and told. False: not this worker's."""
        if state not in FINISHED_STATES:
            raise ValueError(f"a run does not end as {state}")
        mine = (_runs.id == run_id, _runs.claimed_by == worker, _runs.state.in_(UNFINISHED_STATES))
        values = {
            "state": state,
            "finished_at": now,
            "outcome": outcome,
            "reason_code": reason_code,
            "reason": reason,
            "lease_until": None,
        }
        with self._database.write() as connection:
            change = update(action_runs).where(*mine).values(values).returning(action_runs)
            row = connection.execute(change).mappings().one_or_none()
            if row is None:
                return False
            run = ActionRun(**row)
            _note(connection, run_id, outcome, now)
            _count_end(connection, run)
            _trace(connection, run, f"action.{state}", now)
        return True

    def release(self, worker: str, *, now: float) -> None:
        """Give back what a stopping worker holds: it waits again, or is taken over where PVE was asked already."""
        mine = and_(_runs.claimed_by == worker, _runs.state.in_(UNFINISHED_STATES))
        with self._database.write() as connection:
            connection.execute(
                update(action_runs)
                .where(mine, _runs.state == "claimed")
                .values(state="pending", claimed_by=None, claimed_at=None, lease_until=None)
            )
            connection.execute(update(action_runs).where(mine).values(lease_until=now - 1))

    def remove_events_older(self, before: float) -> int:
        """Remove progress sentences written before that time (the runs themselves stay); answers how many."""
        with self._database.write() as connection:
            return connection.execute(delete(run_events).where(run_events.c.at < before)).rowcount

    def _step(
        self, run_id: int, worker: str, states: tuple[RunState, ...], values: Mapping[str, Any], *more: Any
    ) -> bool:
        mine = (_runs.id == run_id, _runs.claimed_by == worker, _runs.state.in_(states), *more)
        with self._database.write() as connection:
            return connection.execute(update(action_runs).where(*mine).values(dict(values))).rowcount == 1

    def _busy(self, cluster: str, vmid: int) -> GuestBusy:
        other = self.unfinished(cluster, vmid)
        return GuestBusy(cluster, vmid, other.id if other else 0)


def _one(connection: Connection, *conditions: Any) -> ActionRun | None:
    row = connection.execute(select(action_runs).where(*conditions)).mappings().one_or_none()
    return None if row is None else ActionRun(**row)


def _insert(connection: Connection, values: Mapping[str, Any], told: str, now: float) -> ActionRun:
    run = ActionRun(
        **connection.execute(insert(action_runs).values(dict(values)).returning(action_runs)).mappings().one()
    )
    _note(connection, run.id, told, now)
    return run


def _for_incident(incident: Mapping[Any, Any], action: str, now: float) -> dict[str, Any]:
    return {
        "cluster": incident["cluster"],
        "kind": incident["kind"],
        "vmid": incident["vmid"],
        "guest_name": incident["guest_name"],
        "action": action,
        "origin": "automation",
        "requested_by": incident["alertname"][:64],
        "incident_id": incident["id"],
        "created_at": now,
    }


def _note(connection: Connection, run_id: int, text: str, now: float) -> None:
    connection.execute(insert(run_events).values(run_id=run_id, at=now, text=text[:MAX_EVENT_CHARACTERS]))


def _count_end(connection: Connection, run: ActionRun) -> None:
    count(connection, "actions", action=run.action, origin=run.origin, outcome=run.state)
    if run.state == "refused":
        count(connection, "refusals", reason=run.reason_code or "other")


def _trace(connection: Connection, run: ActionRun, event: str, now: float, *, remote: str | None = None) -> None:
    detail = {
        "run": run.id,
        "action": run.action,
        "incident": run.incident_id,
        "upid": run.upid,
        "node": run.node,
        "reason_code": run.reason_code,
        "reason": run.reason,
        "outcome": run.outcome,
    }
    write_entry(
        connection,
        event,
        actor=run.requested_by,
        origin=run.origin,
        now=now,
        cluster=run.cluster,
        guest=run.guest_id,
        detail={key: value for key, value in detail.items() if value is not None},
        remote=remote,
    )


def _same(column: Any, value: Any) -> Any:
    return column.is_(None) if value is None else column == value
