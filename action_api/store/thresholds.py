"""Thresholds that were set at run time, and count instead of the configured ones until they end."""

from __future__ import annotations

from sqlalchemy import ColumnElement, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from action_api.store.audit import write_entry
from action_api.store.database import Database
from action_api.store.records import ThresholdOverride
from action_api.store.tables import threshold_overrides

# Each is a series of Prometheus, and on the metrics page at every scrape.
MAX_PRESENT = 1000

_columns = threshold_overrides.c


class TooManyOverrides(Exception):
    """So many thresholds are set at run time already that no other is taken."""


class ThresholdOverrides:
    """One row for each cluster, id and figure; every change is in the audit log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def set(self, override: ThresholdOverride) -> None:
        """Let the value count from now on, instead of one that was set before. Raises TooManyOverrides."""
        mine = _mine(override.cluster, override.id, override.figure)
        values = {
            "value": override.value,
            "set_by": override.set_by[:64],
            "set_at": override.set_at,
            "until": override.until,
            "comment": override.comment,
        }
        change = update(threshold_overrides).where(mine).values(values)
        key = {"cluster": override.cluster, "id": override.id, "figure": override.figure}
        with self._database.write() as connection:
            connection.execute(delete(threshold_overrides).where(_columns.until <= override.set_at))
            before = connection.execute(select(_columns.value).where(mine).with_for_update()).scalar()
            if before is not None:
                connection.execute(change)
            else:
                present = connection.execute(select(func.count()).select_from(threshold_overrides)).scalar_one()
                if present >= MAX_PRESENT:
                    raise TooManyOverrides(f"{present} thresholds are set at run time already, and no more are taken")
                try:
                    with connection.begin_nested():
                        connection.execute(insert(threshold_overrides).values(key | values))
                except IntegrityError:  # another process inserted it between the two statements
                    connection.execute(change)
            write_entry(
                connection, "threshold.set", actor=override.set_by, origin="person", now=override.set_at,
                cluster=override.cluster, guest=_guest(override.id),
                detail={
                    "id": override.id, "figure": override.figure, "value": override.value, "before": before,
                    "until": override.until, "comment": override.comment,
                },
            )  # fmt: skip

    def clear(self, cluster: str, id: str, figure: str, *, actor: str, now: float) -> bool:
        """Let the configured value count again. False: none was set, or it had ended."""
        with self._database.write() as connection:
            row = connection.execute(
                delete(threshold_overrides)
                .where(_mine(cluster, id, figure))
                .returning(_columns.value, _columns.until, _columns.set_by)
            ).first()
            if row is None or not (row.until is None or row.until > now):
                return False
            write_entry(
                connection, "threshold.cleared", actor=actor, origin="person", now=now,
                cluster=cluster, guest=_guest(id),
                detail={"id": id, "figure": figure, "before": row.value, "set_by": row.set_by},
            )  # fmt: skip
        return True

    def present(self, *, now: float) -> tuple[ThresholdOverride, ...]:
        """What has not ended, in a stable order; at most MAX_PRESENT."""
        query = (
            select(threshold_overrides)
            .where(_columns.until.is_(None) | (_columns.until > now))
            .order_by(_columns.cluster, _columns.id, _columns.figure)
            .limit(MAX_PRESENT)
        )
        with self._database.read() as connection:
            return tuple(ThresholdOverride(**row) for row in connection.execute(query).mappings())


def _mine(cluster: str, id: str, figure: str) -> ColumnElement[bool]:
    return (_columns.cluster == cluster) & (_columns.id == id) & (_columns.figure == figure)


def _guest(id: str) -> str | None:
    """What the audit log finds the guest by; None for a node or a storage."""
    return id if id.startswith(("qemu/", "lxc/")) else None
