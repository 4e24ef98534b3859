"""Guessing is slow: after some failures, a name, an address or a second factor has to wait, longer each time."""

from __future__ import annotations

from dataclasses import dataclass

from action_api.store import Store

REMEMBER_SECONDS = 3600.0
FIRST_WAIT_SECONDS = 15.0
LONGEST_WAIT_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Key:
    """What failures are counted for, and how many are free."""

    text: str
    free_failures: int


def name_key(name: str) -> Key:
    """A name as it was typed; names of nobody count alike, so that waiting does not tell who exists."""
    # PostgreSQL takes no NUL in a text, and what is not printable is in nobody's name.
    return Key(f"name:{''.join(filter(str.isprintable, name.casefold()))[:64]}", 5)


def address_key(address: str | None) -> Key:
    """Where a request comes from. Many people may share an address, so more failures are free."""
    return Key(f"address:{(address or 'unknown')[:64]}", 20)


def code_key(user_id: int) -> Key:
    """The second factor of a person."""
    return Key(f"code:{user_id}", 5)


def wait_seconds(store: Store, key: Key, *, now: float) -> float:
    """How long to wait before the next try is looked at; 0 when it may come now."""
    failures = store.login_failures.count(key.text, since=now - REMEMBER_SECONDS)
    if failures < key.free_failures:
        return 0.0
    newest = store.login_failures.newest(key.text)
    if newest is None:
        return 0.0
    wait = min(FIRST_WAIT_SECONDS * 2.0 ** (failures - key.free_failures), LONGEST_WAIT_SECONDS)
    return max(0.0, newest + wait - now)
