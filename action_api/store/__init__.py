"""The action API's memory: people, sessions, what was asked for, what was done.

``open_store(database_url)`` gives a Store. Its parts are grouped by subject; each of their functions is one
transaction, and takes ``now`` (unix seconds) where time matters, so that nothing in here reads a clock.

Only this package imports SQLAlchemy. It holds no rules of the trade: what may be done is said in policy.py.
"""

from __future__ import annotations

from action_api.store.audit import Audit, Counters
from action_api.store.database import Database, open_database
from action_api.store.deliveries import Deliveries, QueueFull
from action_api.store.incidents import Incidents
from action_api.store.people import Confirmations, LoginFailures, Sessions, Users
from action_api.store.pve_alerts import PveAlerts, TooManyAlerts
from action_api.store.records import (
    DELIVERY_STATES,
    FINISHED_STATES,
    INCIDENT_STATES,
    UNFINISHED_STATES,
    ActionRun,
    AuditEntry,
    Confirmation,
    Delivery,
    DeliveryState,
    GuestBusy,
    Incident,
    IncidentState,
    NameTaken,
    Origin,
    PveAlert,
    Role,
    RunEvent,
    RunState,
    Session,
    StoreUnavailable,
    ThresholdOverride,
    User,
)
from action_api.store.runs import Runs
from action_api.store.thresholds import ThresholdOverrides, TooManyOverrides

__all__ = [
    "DELIVERY_STATES",
    "FINISHED_STATES",
    "INCIDENT_STATES",
    "UNFINISHED_STATES",
    "ActionRun",
    "AuditEntry",
    "Confirmation",
    "Delivery",
    "DeliveryState",
    "GuestBusy",
    "Incident",
    "IncidentState",
    "NameTaken",
    "Origin",
    "PveAlert",
    "QueueFull",
    "Role",
    "RunEvent",
    "RunState",
    "Session",
    "Store",
    "StoreUnavailable",
    "ThresholdOverride",
    "TooManyAlerts",
    "TooManyOverrides",
    "User",
    "open_store",
]


class Store:
    """One open database. Threads may share it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.users = Users(database)
        self.sessions = Sessions(database)
        self.confirmations = Confirmations(database)
        self.login_failures = LoginFailures(database)
        self.audit = Audit(database)
        self.counters = Counters(database)
        self.runs = Runs(database)
        self.incidents = Incidents(database)
        self.deliveries = Deliveries(database)
        self.pve_alerts = PveAlerts(database)
        self.threshold_overrides = ThresholdOverrides(database)

    def close(self) -> None:
        """Close all connections."""
        self._database.close()


def open_store(database_url: str) -> Store:
    """Open the database, creating or migrating its tables first. Raises StoreUnavailable."""
    return Store(open_database(database_url))
