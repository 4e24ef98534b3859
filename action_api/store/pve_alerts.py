"""Notifications of Proxmox VE, as alerts that Alertmanager is told of until they end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from sqlalchemy import delete, func, insert, select, update

from action_api.store.database import Database
from action_api.store.records import PveAlert
from action_api.store.tables import pve_alerts

MAX_PRESENT = 1000

_columns = pve_alerts.c


class TooManyAlerts(Exception):
    """So many notifications last already that no other is taken."""


class PveAlerts:
    """One row for each set of labels that has not ended; the newest text is kept."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def accept(self, alert: PveAlert, *, now: float) -> bool:
        """Store what was said; it is on disk when this returns. False: it was said already, and nothing changes.

        Said again later, it lasts longer and has the newer text; it began when it was said first. Raises TooManyAlerts.
        """
        key = key_of(alert.labels)
        mine = _columns.key == key
        values = {
            "annotations": json.dumps(dict(alert.annotations)),
            "said_at": alert.said_at,
            "ends_at": alert.ends_at,
        }
        with self._database.write() as connection:
            connection.execute(delete(pve_alerts).where(_columns.ends_at <= now))
            found = connection.execute(select(_columns.said_at).where(mine).with_for_update()).first()
            if found is not None:
                if found.said_at == alert.said_at:
                    return False
                connection.execute(update(pve_alerts).where(mine).values(values))
                return True
            present = connection.execute(select(func.count()).select_from(pve_alerts)).scalar_one()
            if present >= MAX_PRESENT:
                raise TooManyAlerts(f"{present} notifications of Proxmox VE last already")
            labels = json.dumps(dict(alert.labels), sort_keys=True)
            connection.execute(
                insert(pve_alerts).values(values | {"key": key, "labels": labels, "starts_at": alert.starts_at})
            )
        return True

    def present(self, *, now: float) -> tuple[PveAlert, ...]:
        """What has not ended, the oldest first."""
        query = select(pve_alerts).where(_columns.ends_at > now).order_by(_columns.starts_at, _columns.key)
        with self._database.read() as connection:
            rows = connection.execute(query.limit(MAX_PRESENT)).all()
        return tuple(
            PveAlert(
                labels=json.loads(row.labels),
                annotations=json.loads(row.annotations),
                said_at=row.said_at,
                starts_at=row.starts_at,
                ends_at=row.ends_at,
            )
            for row in rows
        )


def key_of(labels: Mapping[str, str]) -> str:
    """What makes two alerts the same, in 64 characters."""
    return hashlib.sha256(json.dumps(sorted(labels.items())).encode()).hexdigest()
