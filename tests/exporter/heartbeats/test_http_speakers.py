"""Who may speak for which guest, and what their messages prove, as agents see it: over the real listener."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from exporter.heartbeats.http import PATHS, HeartbeatApp, RateLimit
from exporter.heartbeats.keys import HeartbeatKeys, current_token, finish_rotation, rotate
from exporter.heartbeats.record import Record, to_entry
from exporter.heartbeats.store import HeartbeatStore
from pvewatch.secrets import read_internal_secret
from pvewatch.serve import Server, serve

BOOTED_AT = 1_000_000.0


@dataclass
class Listener:
    """The ingest of the clusters `home` and `office`; `now` is its clock."""

    data_dir: Path
    store: HeartbeatStore
    now: float = BOOTED_AT
    server: Server = field(init=False)

    def __post_init__(self) -> None:
        keys = HeartbeatKeys(self.data_dir, read_internal_secret(self.data_dir, "heartbeat", create=True))
        app = HeartbeatApp(
            self.store,
            keys,
            frozenset(["home", "office"]),
            lambda _cluster, _vmid: "qemu",
            rate_limit=RateLimit(per_second=1e6, burst=1e6),
            clock=lambda: self.now,
        )
        self.server = serve(app, "127.0.0.1:0", kind="asgi").start()

    def send(self, token: str, message: dict[str, Any]) -> int:
        connection = http.client.HTTPConnection(*self.server.address, timeout=10)
        try:
            connection.request("POST", PATHS[0], json.dumps(message), {"Authorization": f"Bearer {token}"})
            return connection.getresponse().status
        finally:
            connection.close()

    def record(self, cluster: str = "home", vmid: int = 101) -> Record:
        found = self.store.get(cluster, vmid)
        assert found is not None
        return found


@pytest.fixture
def listener(tmp_path: Path, store: HeartbeatStore) -> Iterator[Listener]:
    made = Listener(tmp_path, store)
    yield made
    made.server.stop()


def test_a_token_of_the_secret_before_is_valid_until_the_rotation_is_finished(
    listener: Listener, example: dict[str, Any]
) -> None:
    old = current_token(listener.data_dir, "home", 101)
    assert listener.send(old, example) == 204

    rotate(listener.data_dir)
    new = current_token(listener.data_dir, "home", 101)
    assert new != old
    assert [listener.send(token, example) for token in (old, new)] == [204, 204]

    finish_rotation(listener.data_dir)
    assert [listener.send(token, example) for token in (old, new)] == [401, 204]


def test_guests_of_equal_number_in_two_clusters_are_two_guests_with_a_token_each(
    listener: Listener, example: dict[str, Any]
) -> None:
    home, office = (current_token(listener.data_dir, cluster, 101) for cluster in ("home", "office"))
    assert listener.send(home, example | {"boot_id": "at-home"}) == 204
    assert listener.send(office, example | {"boot_id": "in-the-office"}) == 204
    assert listener.record("home").boot_id == "at-home"
    assert listener.record("office").boot_id == "in-the-office"
    # Nobody turns the one into the other.
    assert listener.send(home.replace(".home.", ".office."), example) == 401
    assert listener.record("office").count == 1


def test_a_cloned_guest_is_told_as_a_shared_identity_and_a_rebooted_one_is_not(
    listener: Listener, example: dict[str, Any]
) -> None:
    token = current_token(listener.data_dir, "home", 101)

    def beat(boot_id: str, sequence: int, uptime: float) -> None:
        assert (
            listener.send(token, example | {"boot_id": boot_id, "sequence": sequence, "uptime_seconds": uptime}) == 204
        )

    def shared() -> bool:
        return to_entry(listener.record(), listener.now, 180).identity_shared

    beat("original", 1, 0)
    listener.now += 60
    beat("rebooted", 1, 0)
    listener.now += 60
    beat("rebooted", 2, 60)
    assert not shared()
    for minute in range(3, 5):
        listener.now += 30
        beat("clone", minute, 60.0 * minute)
        listener.now += 30
        beat("rebooted", minute, 60.0 * minute - 60)
    assert shared()


def test_a_heartbeat_that_was_held_up_is_taken_and_leaves_the_guest_silent(
    listener: Listener, example: dict[str, Any]
) -> None:
    """Somewhere on the way it lay for five minutes: the guest may have died since."""
    token = current_token(listener.data_dir, "home", 101)
    assert listener.send(token, example | {"sequence": 1, "uptime_seconds": 0}) == 204
    listener.now += 360
    assert listener.send(token, example | {"sequence": 2, "uptime_seconds": 60}) == 204
    entry = to_entry(listener.record(), listener.now, 180)
    assert (entry.last_seen, entry.silent) == (BOOTED_AT, True)
    assert listener.record().progress.late == 1
