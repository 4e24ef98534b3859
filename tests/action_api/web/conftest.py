"""Fixtures of the web process's tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from action_api.auth import passwords
from action_api.store import Store, open_store
from tests.action_api.web.site import Site, password_hash


@pytest.fixture(scope="session", autouse=True)
def quick_hashes() -> Iterator[None]:
    """The same algorithm with little work: the real cost is there to be felt, hundreds of times over in these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
        forget_hashes()
        yield
    forget_hashes()


def forget_hashes() -> None:
    """Hashes made at another cost are made anew."""
    passwords._nobodys_hash.cache_clear()
    password_hash.cache_clear()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with all tables and no rows: making it takes longer than copying it."""
    file = tmp_path_factory.mktemp("database") / "empty.db"
    open_store(f"sqlite:///{file}").close()
    return file


@pytest.fixture
def store(tmp_path: Path, empty_database: Path) -> Iterator[Store]:
    shutil.copy(empty_database, tmp_path / "action_api.db")
    opened = open_store(f"sqlite:///{tmp_path / 'action_api.db'}")
    yield opened
    opened.close()


@pytest.fixture
def site(tmp_path: Path, store: Store) -> Site:
    return Site(tmp_path, store)
