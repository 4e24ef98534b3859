"""What the commands of the action API share: the settings they are handed, its database, and who runs them."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol

import click

from action_api.store import Store, StoreUnavailable, open_store
from pvewatch.config import ConfigError, Settings, internal_secret
from pvewatch.inventory import Inventory, InventoryClient, InventoryUnavailable


class SettingsSource(Protocol):
    """What the program hands over: settings that are loaded when a command needs them."""

    def load(self) -> Settings:
        """The settings; mistakes in them end the program."""


@contextmanager
def opened(settings: Settings) -> Iterator[Store]:
    """The action API's database. A clear message instead of a traceback where it cannot be opened."""
    try:
        store = open_store(settings.database_url)
    except StoreUnavailable as error:
        raise click.ClickException(str(error)) from error
    try:
        yield store
    finally:
        store.close()


def actor() -> str:
    """Who runs this command, for the audit log: who the operating system says it is."""
    try:
        account = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        account = f"uid {os.getuid()}"
    return f"{account} (command line)"


def inventory_of(settings: Settings) -> Inventory | None:
    """What the exporter knows; None when it does not answer, which must keep nobody from acting."""
    try:
        return InventoryClient(settings.exporter_url, internal_secret(settings, "inventory")).fetch()
    except (InventoryUnavailable, ConfigError):
        return None


def utc(moment: float) -> str:
    """Unix seconds as people read them."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")
