"""Opens the database: connection settings, transactions, migrations under a lock."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from action_api.store.records import StoreUnavailable

_log = logging.getLogger(__name__)

# Any number, the same in every process: the name of the lock under which PostgreSQL is migrated.
_MIGRATION_LOCK = 0x70766577
_BUSY_TIMEOUT_SECONDS = 10.0
_CONNECT_TIMEOUT_SECONDS = 10


class Database:
    """One engine, and its two kinds of transaction."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._reading = engine.execution_options(read_only=True)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may change rows; commits at the end of the block."""
        with _translated(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one moment and changes nothing; never waits for a writer on SQLite."""
        with _translated(), self._reading.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    """A database that is gone, full or locked for too long is one condition to everybody above."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise StoreUnavailable(f"the action API's database does not answer ({reason})") from error


def open_database(database_url: str) -> Database:
    """Connect to ``database_url`` and bring its tables up to date.

    Two processes may start at once: the migration runs in one transaction under a lock, and the second finds it done.
    Raises StoreUnavailable when the database cannot be reached or its file not be written.
    """
    try:
        url = make_url(database_url)
    except ArgumentError as error:
        # The text itself is left out: it may hold a password.
        raise StoreUnavailable(
            "action_api.database_url is not a database address such as sqlite:///data/a.db"
        ) from error
    shown = url.render_as_string(hide_password=True)
    try:
        engine = _sqlite_engine(url) if url.get_backend_name() == "sqlite" else _server_engine(url)
        _migrate(engine)
    except ImportError as error:
        raise StoreUnavailable(
            f"no driver for {shown} is installed; for PostgreSQL: pip install 'pvewatch[postgres]'"
        ) from error
    except (SQLAlchemyError, OSError) as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise StoreUnavailable(
            f"the action API's database {shown} cannot be opened ({reason}); check action_api.database_url, "
            "that the server runs, and that this user may write there"
        ) from error
    return Database(engine)


def _sqlite_engine(url: URL) -> Engine:
    if not url.database or url.database == ":memory:":
        raise OSError("an SQLite database must be a file: two processes share it")
    path = Path(url.database)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Second-factor secrets are in it. SQLite gives its -wal and -shm files the mode of the file itself.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    engine = create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_SECONDS})

    @event.listens_for(engine, "connect")
    def _settle(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # the module would else begin transactions by itself, and late
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")  # an intent must be on disk before PVE is asked
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # IMMEDIATE waits for its turn here, once; a later upgrade from read to write could only fail.
        reading = connection.get_execution_options().get("read_only", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def _server_engine(url: URL) -> Engine:
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    arguments: dict[str, Any] = {}
    if url.get_backend_name() == "postgresql":
        arguments = {"connect_timeout": _CONNECT_TIMEOUT_SECONDS, "options": "-c lock_timeout=30s -c timezone=UTC"}
    return create_engine(url, pool_pre_ping=True, pool_size=5, max_overflow=10, connect_args=arguments)


def _migrate(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:  # on SQLite BEGIN IMMEDIATE is the lock
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    _log.debug("database tables are up to date")
