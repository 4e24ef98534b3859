"""What Proxmox VE forgets and a restart must not: which guests a person has stopped, tasks counted, backup schedules.

Kept in the exporter's own SQLite file, because PVE's task list is short. A stopped guest is not down when somebody
wanted it so.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

# A counted task that has left PVE's list is remembered for so long; older ones are told by their node's line below.
REMEMBER_SECONDS = 3600.0
RESULTS = ("ok", "warning", "error")

# One list of statements for each version of the file's schema.
_SCHEMA = (
    (
        """
CREATE TABLE person_stops (
  cluster TEXT NOT NULL,
  vmid INTEGER NOT NULL,
  stopped_at REAL NOT NULL,
  upid TEXT NOT NULL,
  PRIMARY KEY (cluster, vmid)
) STRICT, WITHOUT ROWID
""",
    ),
    (
        # What ended on a node up to this time (unix seconds) has been counted, or was there before pvewatch.
        """
CREATE TABLE task_lines (
  cluster TEXT NOT NULL,
  node TEXT NOT NULL,
  ended_at REAL NOT NULL,
  PRIMARY KEY (cluster, node)
) STRICT, WITHOUT ROWID
""",
        """
CREATE TABLE tasks_counted (
  cluster TEXT NOT NULL,
  upid TEXT NOT NULL,
  node TEXT NOT NULL,
  ended_at REAL NOT NULL,
  PRIMARY KEY (cluster, upid)
) STRICT, WITHOUT ROWID
""",
        """
CREATE TABLE task_totals (
  cluster TEXT NOT NULL,
  type TEXT NOT NULL,
  result TEXT NOT NULL,
  tasks INTEGER NOT NULL,
  newest_at REAL,
  PRIMARY KEY (cluster, type, result)
) STRICT, WITHOUT ROWID
""",
        """
CREATE TABLE backup_schedules (
  cluster TEXT NOT NULL,
  job TEXT NOT NULL,
  next_run REAL,
  last_run REAL,
  PRIMARY KEY (cluster, job)
) STRICT, WITHOUT ROWID
""",
    ),
)
SCHEMA_VERSION = len(_SCHEMA)

Totals = dict[tuple[str, str], tuple[int, float | None]]
"""(Type, result) → how many tasks, and when the newest ended (unix seconds; None before the first)."""


@dataclass(frozen=True, slots=True)
class FinishedTask:
    """A task that has ended (unix seconds); `type` and `result` are what it is counted under."""

    upid: str
    node: str
    type: str
    result: str
    ended: float


class StopsUnusable(Exception):
    """The file cannot be opened or was written by a newer pvewatch; the message says the remedy."""


class StopStore:
    """Person's stops of all clusters. Any thread may ask and change."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises StopsUnusable."""
        self._lock = threading.Lock()
        self._connection = _open(path)

    def of_cluster(self, cluster: str) -> dict[int, float]:
        """VMID → when it was stopped (unix seconds)."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT vmid, stopped_at FROM person_stops WHERE cluster = ?", (cluster,)
            ).fetchall()
        return {int(vmid): float(stopped_at) for vmid, stopped_at in rows}

    def update(self, cluster: str, stopped: Mapping[int, tuple[float, str]], started: frozenset[int]) -> None:
        """In one transaction: note stops (VMID → time and task id) and forget guests that have started since."""
        if not stopped and not started:
            return
        with self._lock, self._connection:
            self._connection.executemany(
                "DELETE FROM person_stops WHERE cluster = ? AND vmid = ?", [(cluster, vmid) for vmid in sorted(started)]
            )
            self._connection.executemany(
                "INSERT INTO person_stops VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "stopped_at = excluded.stopped_at, upid = excluded.upid",
                [(cluster, vmid, at, upid) for vmid, (at, upid) in sorted(stopped.items())],
            )

    def count_tasks(
        self,
        cluster: str,
        finished: Iterable[FinishedTask],
        types: frozenset[str],
        nodes: frozenset[str],
        now: float,
    ) -> Totals:
        """Count each task once, in one transaction, and return the totals.

        What had ended before a node was first seen is not counted, only its time is kept. `types` are those that have
        totals from now on, be they 0; `nodes` those whose tasks are to be seen at present. A task whose node was away
        for long is not counted again when it comes back: nothing is that ended before what was counted and forgotten.
        """
        listed = {task.upid: task for task in finished}
        with self._lock, self._connection:
            lines = self._lines(cluster, listed.values(), nodes, now)
            counted = {
                upid: (node, ended)
                for upid, node, ended in self._connection.execute(
                    "SELECT upid, node, ended_at FROM tasks_counted WHERE cluster = ?", (cluster,)
                )
            }
            totals = self._totals(cluster)
            fresh = [task for task in listed.values() if task.upid not in counted and task.ended > lines[task.node]]
            before = dict(totals)
            for key in [(kind, result) for kind in types for result in RESULTS]:
                totals.setdefault(key, (0, None))
            for task in listed.values():
                tasks, newest = totals.get((task.type, task.result), (0, None))
                totals[task.type, task.result] = (tasks, max(newest or 0.0, task.ended))
            for task in fresh:
                tasks, newest = totals[task.type, task.result]
                totals[task.type, task.result] = (tasks + 1, newest)
            self._connection.executemany(
                "INSERT INTO task_totals VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "tasks = excluded.tasks, newest_at = excluded.newest_at",
                [(cluster, *key, *value) for key, value in totals.items() if before.get(key) != value],
            )
            self._connection.executemany(
                "INSERT INTO tasks_counted VALUES (?, ?, ?, ?)",
                [(cluster, task.upid, task.node, task.ended) for task in fresh],
            )
            gone = {
                upid: place
                for upid, place in counted.items()
                if upid not in listed and place[1] < now - REMEMBER_SECONDS
            }
            self._connection.executemany(
                "UPDATE task_lines SET ended_at = max(ended_at, ?) WHERE cluster = ? AND node = ?",
                [(ended, cluster, node) for node, ended in gone.values()],
            )
            self._connection.executemany(
                "DELETE FROM tasks_counted WHERE cluster = ? AND upid = ?", [(cluster, upid) for upid in gone]
            )
        return totals

    def _lines(
        self, cluster: str, listed: Iterable[FinishedTask], nodes: frozenset[str], now: float
    ) -> dict[str, float]:
        """Node → up to when its tasks are done with; a node that is seen for the first time gets a line."""
        lines = {
            str(node): float(ended)
            for node, ended in self._connection.execute(
                "SELECT node, ended_at FROM task_lines WHERE cluster = ?", (cluster,)
            )
        }
        new: dict[str, float] = {node: now - REMEMBER_SECONDS for node in nodes if node not in lines}
        for task in listed:
            if task.node not in lines:
                new[task.node] = max(new.get(task.node, 0.0), task.ended)
        self._connection.executemany(
            "INSERT INTO task_lines VALUES (?, ?, ?)", [(cluster, node, line) for node, line in new.items()]
        )
        return lines | new

    def _totals(self, cluster: str) -> Totals:
        rows = self._connection.execute(
            "SELECT type, result, tasks, newest_at FROM task_totals WHERE cluster = ?", (cluster,)
        )
        return {(kind, result): (int(tasks), newest) for kind, result, tasks, newest in rows}

    def schedules(self, cluster: str) -> dict[str, tuple[float | None, float | None]]:
        """Backup job → when it is planned for next, and the planned time last seen to pass (unix seconds)."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT job, next_run, last_run FROM backup_schedules WHERE cluster = ?", (cluster,)
            ).fetchall()
        return {str(job): (next_run, last_run) for job, next_run, last_run in rows}

    def keep_schedules(self, cluster: str, planned: Mapping[str, tuple[float | None, float | None]]) -> None:
        """Remember these backup jobs in the place of those known before."""
        with self._lock, self._connection:
            self._connection.execute("DELETE FROM backup_schedules WHERE cluster = ?", (cluster,))
            self._connection.executemany(
                "INSERT INTO backup_schedules VALUES (?, ?, ?, ?)", [(cluster, job, *at) for job, at in planned.items()]
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


def _open(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made here, not by SQLite, so that it is nobody else's to read.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(path, timeout=5, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for number, statements in enumerate(_SCHEMA[version:], start=version + 1):
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                for statement in statements:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")
    except (OSError, sqlite3.Error) as error:
        raise StopsUnusable(
            f"{path}: cannot be opened ({error}); let the exporter's user write there, or move a damaged file away"
        ) from error
    if version > SCHEMA_VERSION:
        connection.close()
        raise StopsUnusable(
            f"{path}: was written by a newer pvewatch (version {version}); install that, or move it away"
        )
    return connection
