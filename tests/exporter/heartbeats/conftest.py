from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.heartbeats.store import HeartbeatStore
from pvewatch.bundle import bundle_path
from pvewatch.secrets import Secret


@pytest.fixture
def example() -> dict[str, Any]:
    """The committed example message, free to be changed."""
    message: dict[str, Any] = json.loads((bundle_path("agents") / "heartbeat.example.json").read_text("utf-8"))
    return message


@pytest.fixture
def secret() -> Secret:
    return Secret("a-secret-of-43-characters-like-the-real-one")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[HeartbeatStore]:
    store = HeartbeatStore(tmp_path / "exporter-heartbeats.db")
    yield store
    store.close()
