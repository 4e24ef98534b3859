"""Which guests a person has stopped: a stopped guest is not down when somebody wanted it so.

Kept in the exporter's own SQLite file, because PVE's task list is short and a restart must not forget.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path

SCHEMA_VERSION = 1
_CREATE = """
CREATE TABLE person_stops (
  cluster TEXT NOT NULL,
  vmid INTEGER NOT NULL,
  stopped_at REAL NOT NULL,
  upid TEXT NOT NULL,
  PRIMARY KEY (cluster, vmid)
) STRICT, WITHOUT ROWID
"""


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
        if version == 0:
            with connection:
                connection.execute(_CREATE)
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
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
