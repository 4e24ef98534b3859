"""The audit log, and the counters behind /metrics."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from action_api.store.database import Database
from action_api.store.records import AuditEntry
from action_api.store.tables import audit, counters

MAX_DETAIL_CHARACTERS = 4000
MAX_PAGE = 500


def write_entry(
    connection: Connection,
    event: str,
    *,
    actor: str,
    origin: str,
    now: float,
    cluster: str | None = None,
    guest: str | None = None,
    detail: Mapping[str, Any] | None = None,
    remote: str | None = None,
) -> None:
    """Add a line within a transaction that is already open: the change and its trace stand or fall together."""
    text = json.dumps(detail or {}, sort_keys=True, default=str)
    if len(text) > MAX_DETAIL_CHARACTERS:
        text = json.dumps({"shortened": text[: MAX_DETAIL_CHARACTERS // 2]})
    connection.execute(
        insert(audit).values(
            at=now,
            actor=actor[:64],
            origin=origin,
            event=event,
            cluster=cluster,
            guest=guest,
            detail=text,
            remote=remote[:64] if remote else None,
        )
    )


def count(connection: Connection, family: str, **labels: str) -> None:
    """Add one to a counter within a transaction that is already open."""
    _write_counter(connection, family, labels, first=1, later=counters.c.value + 1)


def _write_counter(
    connection: Connection, family: str, labels: Mapping[str, str], *, first: int, later: int | ColumnElement[int]
) -> None:
    key = json.dumps(labels, sort_keys=True)
    mine = (counters.c.family == family) & (counters.c.labels == key)
    step = update(counters).where(mine).values(value=later)
    if connection.execute(step).rowcount:
        return
    try:
        with connection.begin_nested():
            connection.execute(insert(counters).values(family=family, labels=key, value=first))
    except IntegrityError:  # another process inserted it between the two statements
        connection.execute(step)


class Audit:
    """What happened, who asked, and why not."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(
        self,
        event: str,
        *,
        actor: str,
        origin: str,
        now: float,
        cluster: str | None = None,
        guest: str | None = None,
        detail: Mapping[str, Any] | None = None,
        remote: str | None = None,
    ) -> None:
        """Add a line. ``origin`` is person, automation or system; ``guest`` an id such as qemu/100; no secrets."""
        with self._database.write() as connection:
            write_entry(
                connection,
                event,
                actor=actor,
                origin=origin,
                now=now,
                cluster=cluster,
                guest=guest,
                detail=detail,
                remote=remote,
            )

    def recent(
        self,
        limit: int = 100,
        *,
        before_id: int | None = None,
        cluster: str | None = None,
        guest: str | None = None,
        actor: str | None = None,
        event: str | None = None,
    ) -> tuple[AuditEntry, ...]:
        """The newest lines first, at most 500; ``before_id`` pages on."""
        query = select(audit).order_by(audit.c.id.desc()).limit(min(limit, MAX_PAGE))
        if before_id is not None:
            query = query.where(audit.c.id < before_id)
        for column, wanted in (("cluster", cluster), ("guest", guest), ("actor", actor), ("event", event)):
            if wanted is not None:
                query = query.where(audit.c[column] == wanted)
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return tuple(AuditEntry(**{**row, "detail": json.loads(row["detail"])}) for row in rows)

    def remove_older(self, before: float) -> int:
        """Remove lines written before that time; answers how many."""
        with self._database.write() as connection:
            return connection.execute(delete(audit).where(audit.c.at < before)).rowcount


class Counters:
    """Counts that /metrics shows. They survive restarts and are shared by all processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, family: str, **labels: str) -> None:
        """Add one, e.g. ``add("logins", outcome="accepted")``. Label values must come from a fixed set."""
        with self._database.write() as connection:
            count(connection, family, **labels)

    def keep(self, family: str, value: int, **labels: str) -> None:
        """Set one to `value`, e.g. the unix seconds at which a process was last seen."""
        with self._database.write() as connection:
            _write_counter(connection, family, labels, first=value, later=value)

    def all(self) -> tuple[tuple[str, dict[str, str], int], ...]:
        """Every counter as (family, labels, value), in a stable order."""
        with self._database.read() as connection:
            rows = connection.execute(select(counters).order_by(counters.c.family, counters.c.labels)).all()
        return tuple((row.family, json.loads(row.labels), row.value) for row in rows)
