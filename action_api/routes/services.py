"""What a request works with: settings, database, the exporter's inventory, the clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

from flask import current_app

from action_api.store import Store
from pvewatch.config import Settings
from pvewatch.enrolment import Enrolment, Platform
from pvewatch.inventory import Inventory, InventoryUnavailable

EXTENSION = "pvewatch"
Clock = Callable[[], float]


class InventorySource(Protocol):
    """Where the inventory comes from: `pvewatch.inventory.InventoryClient`, or recorded answers in a test."""

    def fetch(self) -> Inventory:
        """The inventory as it is now. Raises InventoryUnavailable."""


class EnrolmentSource(Protocol):
    """Who makes tokens and installers: `pvewatch.enrolment.EnrolmentClient`, or a stand-in in a test."""

    def ask(self, cluster: str, vmid: int, platform: Platform | None) -> Enrolment:
        """The token and installer of one guest. Raises EnrolmentRefused."""


class RecentInventory:
    """The inventory, asked for at most once in `keep_seconds` however many people look at pages.

    A failure is kept as well: while the exporter hangs, one request waits for the time-out, not all of them in turn.
    """

    def __init__(self, source: InventorySource, *, keep_seconds: float = 2.0) -> None:
        self._source = source
        self._keep_seconds = keep_seconds
        self._lock = threading.Lock()
        self._asked_at: float | None = None
        self._answer: Inventory | None = None
        self._reason = ""

    def fetch(self, *, fresh: bool = False) -> Inventory:
        """The inventory, at most `keep_seconds` old; with `fresh` as it is now. Raises InventoryUnavailable."""
        with self._lock:
            old = self._asked_at is None or time.monotonic() - self._asked_at > self._keep_seconds
            if old or fresh:
                self._ask()
            if self._answer is None:
                raise InventoryUnavailable(self._reason)
            return self._answer

    def _ask(self) -> None:
        try:
            self._answer = self._source.fetch()
        except InventoryUnavailable as error:
            self._answer, self._reason = None, str(error)
        self._asked_at = time.monotonic()


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that `create_app` was given."""

    settings: Settings
    store: Store
    inventory: RecentInventory
    enrolment: EnrolmentSource
    clock: Clock


def services() -> Services:
    """The services of the application that answers this request."""
    return cast(Services, current_app.extensions[EXTENSION])


def now() -> float:
    """Unix seconds, from the application's clock."""
    return services().clock()
