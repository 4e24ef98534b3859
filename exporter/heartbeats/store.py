"""Where heartbeats are kept: one row per guest in one SQLite file, and the same rows in memory for reading.

Accepted means durable. One thread writes: it takes whatever is waiting, writes it with one statement, which is a
transaction of its own, and only after that (WAL, synchronous=FULL: one fsync for the whole group) do the senders hear
that it was taken. A process
killed at any moment therefore has every heartbeat it has acknowledged when it starts again.

There is no history here: Prometheus has it. A message that came late is counted, and changes nothing else.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from exporter.heartbeats.progress import NO_PROGRESS, Message, advance, from_json, to_json
from exporter.heartbeats.record import Guest, Payload, Record
from exporter.heartbeats.schema import Heartbeat
from pvewatch.inventory import GuestKind

SCHEMA_VERSION = 2
QUEUE_SIZE = 2048
# SQLite gives up the interpreter's lock for each statement, and gets it back when other threads let it: one statement
# for the whole group waits once. One is prepared for each size of group, so the group is not larger.
GROUP_SIZE = 64
# From one group to the next at least this long: at a thousand a second a group has then several rows, and the threads
# take turns a few hundred times a second instead of thousands. A single heartbeat does not wait for it.
GATHER_SECONDS = 0.004
STOP_SECONDS = 5.0

_CREATE = """
CREATE TABLE heartbeats (
  cluster TEXT NOT NULL,
  vmid INTEGER NOT NULL,
  kind TEXT,
  first_seen REAL NOT NULL,
  last_seen REAL NOT NULL,
  boot_id TEXT NOT NULL,
  count INTEGER NOT NULL,
  payload TEXT NOT NULL,
  progress TEXT NOT NULL DEFAULT '{}',
  key_id TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (cluster, vmid)
) STRICT, WITHOUT ROWID
"""
# From version 1, statement by statement.
_MIGRATE = (
    "ALTER TABLE heartbeats ADD COLUMN progress TEXT NOT NULL DEFAULT '{}'",
    "ALTER TABLE heartbeats ADD COLUMN key_id TEXT NOT NULL DEFAULT ''",
)
_COLUMNS = "cluster, vmid, kind, first_seen, last_seen, boot_id, count, payload, progress, key_id"
# One for each number of rows that are written at once.
_UPSERTS = tuple(
    f"""
INSERT INTO heartbeats ({_COLUMNS})
VALUES {", ".join(["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"] * rows)}
ON CONFLICT (cluster, vmid) DO UPDATE SET kind = excluded.kind, last_seen = excluded.last_seen,
  boot_id = excluded.boot_id, count = excluded.count, payload = excluded.payload, progress = excluded.progress,
  key_id = excluded.key_id
"""  # noqa: S608 - a constant
    for rows in range(GROUP_SIZE + 1)
)

logger = logging.getLogger(__name__)


class StoreUnusable(Exception):
    """The file cannot be opened, is damaged, or was written by a newer pvewatch; the message says the remedy."""


class StoreBusy(Exception):
    """More heartbeats are waiting than the queue holds; the sender may try again."""


class StoreFailed(Exception):
    """The heartbeat could not be written (a full disk, for example); it was not accepted."""


@dataclass(frozen=True, slots=True)
class _Arrival:
    cluster: str
    vmid: int
    kind: GuestKind | None
    received_at: float
    heartbeat: Heartbeat
    key_id: str
    done: Future[None]


@dataclass(frozen=True, slots=True)
class _Forget:
    guests: frozenset[Guest]
    oldest: float


class HeartbeatStore:
    """The heartbeats of all guests. Open it once per process; `submit` and `records` may be called from any thread."""

    def __init__(self, path: Path, *, queue_size: int = QUEUE_SIZE) -> None:
        """Open or make the file and read its rows. Raises StoreUnusable."""
        self.path = path
        self._connection = _open(path)
        self._records: dict[Guest, Record] = {(row.cluster, row.vmid): row for row in _load(self._connection, path)}
        self._waiting: queue.Queue[_Arrival | _Forget | None] = queue.Queue(queue_size)
        self._closing = threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._write_forever, name="heartbeat-writer", daemon=True)
        self._thread.start()

    def submit(
        self,
        cluster: str,
        vmid: int,
        kind: GuestKind | None,
        heartbeat: Heartbeat,
        received_at: float,
        *,
        key_id: str = "",
    ) -> Future[None]:
        """Hand a heartbeat to the writer; `received_at` is the server's clock, unix seconds.

        The future is done once the heartbeat is on disk and ends with StoreFailed when it could not be written.
        Raises StoreBusy at once when too many are waiting, or when the store is closing.
        """
        done: Future[None] = Future()
        # From here on it cannot be cancelled: a sender that goes away must not upset the writer.
        done.set_running_or_notify_cancel()
        if self._closing.is_set():
            raise StoreBusy
        try:
            self._waiting.put_nowait(_Arrival(cluster, vmid, kind, received_at, heartbeat, key_id, done))
        except queue.Full:
            raise StoreBusy from None
        return done

    def forget(self, guests: frozenset[Guest], oldest: float) -> None:
        """Drop what is known of guests that are gone, soon; another guest may get the number.

        One that was heard of at `oldest` (unix seconds) or later has spoken meanwhile, and stays.
        """
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(_Forget(guests, oldest))

    def records(self) -> Mapping[Guest, Record]:
        """The newest record of every guest by (cluster, vmid): a picture that never changes under the reader."""
        # Copied for each reader, who comes once a second, and not for each group written. Copying a dictionary is one
        # step for other threads.
        return MappingProxyType(self._records.copy())

    def get(self, cluster: str, vmid: int) -> Record | None:
        """The record of one guest, None when it has never sent a heartbeat."""
        return self._records.get((cluster, vmid))

    def close(self) -> None:
        """Write what is waiting (at most STOP_SECONDS) and close the file."""
        self._closing.set()
        try:
            self._waiting.put(None, timeout=STOP_SECONDS)
        except queue.Full:
            logger.exception("heartbeats are not being written to %s; closing without the waiting ones", self.path)
            return
        self._thread.join(STOP_SECONDS)

    def _write_forever(self) -> None:
        running = True
        while running:
            group: list[_Arrival] = []
            item = self._waiting.get()
            while isinstance(item, _Arrival):
                group.append(item)
                if len(group) == GROUP_SIZE or self._waiting.empty():
                    break
                item = self._waiting.get()
            running = item is not None
            if group:
                self._commit(group)
                self._closing.wait(GATHER_SECONDS)
            if isinstance(item, _Forget):
                self._delete(item)
        self._connection.close()
        while not self._waiting.empty():
            late = self._waiting.get()
            if isinstance(late, _Arrival):
                late.done.set_exception(StoreFailed("the store is closed"))

    def _commit(self, group: list[_Arrival]) -> None:
        changed: dict[Guest, Record] = {}
        rows: dict[Guest, tuple[str | int | float | None, ...]] = {}
        for arrival in group:
            guest = (arrival.cluster, arrival.vmid)
            changed[guest] = _advance(changed.get(guest) or self._records.get(guest), arrival)
            rows[guest] = _row(changed[guest], arrival.heartbeat)
        try:
            self._connection.execute(_UPSERTS[len(rows)], list(chain.from_iterable(rows.values())))
        except sqlite3.Error as error:
            if not self._failing:
                logger.exception("heartbeats cannot be written to %s and are refused; is the disk full?", self.path)
            self._failing = True
            for arrival in group:
                arrival.done.set_exception(StoreFailed(str(error)))
            return
        if self._failing:
            logger.warning("heartbeats are written to %s again", self.path)
        self._failing = False
        self._records.update(changed)
        for arrival in group:
            arrival.done.set_result(None)

    def _delete(self, forget: _Forget) -> None:
        # Only this thread writes: what is looked up here is what there is.
        known = {guest: self._records.get(guest) for guest in forget.guests}
        guests = [guest for guest, record in known.items() if record is not None and record.last_seen < forget.oldest]
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany("DELETE FROM heartbeats WHERE cluster = ? AND vmid = ?", guests)
        except sqlite3.Error:
            logger.exception("heartbeats of guests that are gone cannot be removed from %s", self.path)
            return
        for guest in guests:
            self._records.pop(guest, None)


def _advance(before: Record | None, arrival: _Arrival) -> Record:
    heartbeat = arrival.heartbeat
    message = Message(
        heartbeat.boot_id,
        heartbeat.sequence,
        heartbeat.uptime_seconds,
        heartbeat.interval_seconds,
        arrival.received_at,
    )
    progress, alive = advance(before.progress if before else NO_PROGRESS, message)
    if before is not None and not alive:
        return replace(before, count=before.count + 1, progress=progress)
    return Record(
        cluster=arrival.cluster,
        vmid=arrival.vmid,
        kind=arrival.kind or (before.kind if before else None),
        first_seen=before.first_seen if before else arrival.received_at,
        last_seen=arrival.received_at,
        boot_id=arrival.heartbeat.boot_id,
        count=before.count + 1 if before else 1,
        payload=Payload.of(heartbeat),
        progress=progress,
        key_id=arrival.key_id,
    )


def _row(record: Record, heartbeat: Heartbeat) -> tuple[str | int | float | None, ...]:
    """The values of _COLUMNS."""
    return (
        record.cluster,
        record.vmid,
        record.kind,
        record.first_seen,
        record.last_seen,
        record.boot_id,
        record.count,
        (record.payload or Payload.of(heartbeat)).text,
        to_json(record.progress),
        record.key_id,
    )


def _open(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made here, not by SQLite, so that it is nobody else's to read; its -wal and -shm take over the mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA journal_size_limit = 16777216")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_CREATE)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("COMMIT")
        elif version == 1:
            connection.execute("BEGIN IMMEDIATE")
            for statement in _MIGRATE:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("COMMIT")
    except (OSError, sqlite3.Error) as error:
        raise StoreUnusable(
            f"{path}: cannot be opened as the store of heartbeats ({error}); "
            "let the exporter's user write there, or move a damaged file away: agents fill a new one in a minute"
        ) from error
    if version > SCHEMA_VERSION:
        connection.close()
        raise StoreUnusable(
            f"{path}: was written by a newer pvewatch (version {version}, this one knows {SCHEMA_VERSION}); "
            "install that version again, or move the file away"
        )
    return connection


def _load(connection: sqlite3.Connection, path: Path) -> list[Record]:
    try:
        rows = connection.execute(f"SELECT {_COLUMNS} FROM heartbeats").fetchall()  # noqa: S608 - a constant
    except sqlite3.Error as error:
        raise StoreUnusable(f"{path}: cannot be read ({error}); move the damaged file away") from error
    return [
        Record(
            cluster=cluster,
            vmid=vmid,
            kind=kind,
            first_seen=first_seen,
            last_seen=last_seen,
            boot_id=boot_id,
            count=count,
            payload=_read_payload(payload),
            progress=from_json(progress),
            key_id=key_id,
        )
        for cluster, vmid, kind, first_seen, last_seen, boot_id, count, payload, progress, key_id in rows
    ]


def _read_payload(payload: str) -> Payload | None:
    try:
        return Payload.of(Heartbeat.model_validate_json(payload))
    except ValidationError:
        return None
