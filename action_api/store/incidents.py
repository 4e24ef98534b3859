"""Incidents: one period in which a guest needed help. At most one lasts per cluster and vmid.

open → recovered  a heartbeat newer than the alert or the last action was seen
     → cleared    the alert went away without such a heartbeat
     → exhausted  attempts are used up; lasts until the alert goes away, so that its repeats open nothing new
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, case, func, insert, select, true, update
from sqlalchemy.exc import IntegrityError

from action_api.store.audit import write_entry
from action_api.store.database import Database
from action_api.store.records import INCIDENT_STATES, Incident, IncidentState
from action_api.store.tables import incidents

MAX_PAGE = 500

_columns = incidents.c


class Incidents:
    """Guests that needed help."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open_or_find(
        self,
        *,
        cluster: str,
        kind: str,
        vmid: int,
        guest_name: str | None,
        alertname: str,
        alert_started_at: float,
        now: float,
    ) -> tuple[Incident, bool]:
        """The guest's lasting incident, opened when there is none; True when it was opened by this call.

        A repeat of the alert is noted on it. When this returns, it is on disk, due for a look at once.
        """
        mine = _lasting(cluster, vmid)
        fresh = {
            "cluster": cluster,
            "kind": kind,
            "vmid": vmid,
            "guest_name": guest_name,
            "alertname": alertname,
            "state": "open",
            "opened_at": now,
            "alert_started_at": alert_started_at,
            "last_alert_at": now,
            "attempts": 0,
            "next_look_at": now,
        }
        # A later start is the alert firing anew: only a heartbeat newer than that one is a recovery.
        newest_start = case(
            (_columns.alert_started_at < alert_started_at, alert_started_at), else_=_columns.alert_started_at
        )
        seen = {"last_alert_at": now, "alert_resolved_at": None, "alert_started_at": newest_start}
        repeat = update(incidents).where(*mine).values(seen).returning(incidents)
        for _ in range(2):
            with self._database.write() as connection:
                row = connection.execute(repeat).mappings().one_or_none()
                if row is not None:
                    return Incident(**row), False
                try:
                    with connection.begin_nested():
                        row = connection.execute(insert(incidents).values(fresh).returning(incidents)).mappings().one()
                except IntegrityError:  # two webhooks at once on PostgreSQL: the second finds the first's row
                    continue
                incident = Incident(**row)
                _trace(connection, incident, "incident.opened", now)
                return incident, True
        raise RuntimeError(
            f"the incident of guest {vmid} of cluster {cluster} was opened and closed while looking for it"
        )

    def resolve(self, *, cluster: str, vmid: int, alertname: str, now: float) -> Incident | None:
        """The alert went away: note it and let a worker look now. None when no incident of this alert lasts."""
        mine = (*_lasting(cluster, vmid), _columns.alertname == alertname)
        with self._database.write() as connection:
            change = update(incidents).where(*mine).values(alert_resolved_at=now, next_look_at=now)
            row = connection.execute(change.returning(incidents)).mappings().one_or_none()
        return None if row is None else Incident(**row)

    def claim_due(self, *, now: float, lease_seconds: float) -> Incident | None:
        """Claim the incident whose look is most overdue, by moving its next look ahead. Exactly one worker gets it."""
        due = (_columns.closed_at.is_(None), _columns.next_look_at <= now)
        with self._database.read() as connection:
            query = select(_columns.id, _columns.next_look_at).where(*due).order_by(_columns.next_look_at).limit(20)
            waiting = connection.execute(query).all()
        for row in waiting:
            unchanged = (_columns.id == row.id, _columns.closed_at.is_(None), _columns.next_look_at == row.next_look_at)
            claim = update(incidents).where(*unchanged).values(next_look_at=now + lease_seconds).returning(incidents)
            with self._database.write() as connection:
                claimed = connection.execute(claim).mappings().one_or_none()
            if claimed is not None:
                return Incident(**claimed)
        return None

    def look_again(
        self, incident: Incident, *, at: float, reason_code: str | None = None, reason: str | None = None
    ) -> bool:
        """Plan the next look, and remember why nothing was done (None leaves the last reason).

        ``incident`` is as claimed: a webhook that asked for an earlier look in between wins, and False is answered.
        """
        values: dict[str, Any] = {"next_look_at": at}
        if reason_code is not None:
            values |= {"last_reason_code": reason_code, "last_reason": reason}
        mine = (_columns.id == incident.id, _columns.closed_at.is_(None))
        with self._database.write() as connection:
            change = update(incidents).where(*mine, _columns.next_look_at == incident.next_look_at).values(values)
            return connection.execute(change).rowcount == 1

    def exhaust(self, incident_id: int, reason: str, *, look_at: float, now: float) -> bool:
        """Attempts are used up: audited once, and only recovery is still looked for."""
        values = {
            "state": "exhausted",
            "next_look_at": look_at,
            "last_reason_code": "attempts_used_up",
            "last_reason": reason,
        }
        mine = (_columns.id == incident_id, _columns.closed_at.is_(None), _columns.state == "open")
        with self._database.write() as connection:
            change = update(incidents).where(*mine).values(values).returning(incidents)
            row = connection.execute(change).mappings().one_or_none()
            if row is not None:
                _trace(connection, Incident(**row), "incident.exhausted", now)
        return row is not None

    def close(self, incident: Incident, state: IncidentState, reason: str, *, now: float) -> bool:
        """End the incident as recovered, cleared or (still) exhausted; audited.

        False when it had ended, or when the alert fires anew since ``incident`` was read: that needs another look.
        """
        values = {"state": state, "closed_at": now, "next_look_at": None, "last_reason": reason}
        with self._database.write() as connection:
            mine = (_columns.id == incident.id, _columns.closed_at.is_(None))
            same_alert = _columns.alert_started_at == incident.alert_started_at
            still_gone = _columns.alert_resolved_at.is_not(None) if incident.alert_resolved_at is not None else true()
            change = update(incidents).where(*mine, same_alert, still_gone).values(values).returning(incidents)
            row = connection.execute(change).mappings().one_or_none()
            if row is not None:
                _trace(connection, Incident(**row), f"incident.{state}", now)
        return row is not None

    def get(self, incident_id: int) -> Incident | None:
        """One incident."""
        return self._one(_columns.id == incident_id)

    def lasting(self, cluster: str, vmid: int) -> Incident | None:
        """The guest's incident that has not ended; there is at most one."""
        return self._one(*_lasting(cluster, vmid))

    def recent(
        self, limit: int = 50, *, before_id: int | None = None, cluster: str | None = None, vmid: int | None = None
    ) -> tuple[Incident, ...]:
        """The newest incidents first, at most 500; ``before_id`` pages on."""
        query = select(incidents).order_by(_columns.id.desc()).limit(min(limit, MAX_PAGE))
        if before_id is not None:
            query = query.where(_columns.id < before_id)
        for column, wanted in ((_columns.cluster, cluster), (_columns.vmid, vmid)):
            if wanted is not None:
                query = query.where(column == wanted)
        with self._database.read() as connection:
            return tuple(Incident(**row) for row in connection.execute(query).mappings())

    def count_by_state(self) -> dict[IncidentState, int]:
        """How many incidents there are in each state, ended ones too; states without one are there with 0."""
        with self._database.read() as connection:
            rows = connection.execute(select(_columns.state, func.count()).group_by(_columns.state))
            found = {row[0]: int(row[1]) for row in rows}
        return {state: found.get(state, 0) for state in INCIDENT_STATES}

    def _one(self, *conditions: Any) -> Incident | None:
        with self._database.read() as connection:
            row = connection.execute(select(incidents).where(*conditions)).mappings().one_or_none()
        return None if row is None else Incident(**row)


def _lasting(cluster: str, vmid: int) -> tuple[Any, ...]:
    return (_columns.cluster == cluster, _columns.vmid == vmid, _columns.closed_at.is_(None))


def _trace(connection: Connection, incident: Incident, event: str, now: float) -> None:
    detail = {"incident": incident.id, "alert": incident.alertname, "attempts": incident.attempts}
    write_entry(
        connection,
        event,
        actor=incident.alertname,
        origin="automation",
        now=now,
        cluster=incident.cluster,
        guest=incident.guest_id,
        detail=detail | ({"reason": incident.last_reason} if incident.last_reason else {}),
    )
