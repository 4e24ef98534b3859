from __future__ import annotations

import http.client
import json
import sqlite3
import stat
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from exporter.heartbeats.progress import SHARED_SECONDS
from exporter.heartbeats.record import to_entry
from exporter.heartbeats.schema import Heartbeat
from exporter.heartbeats.store import GROUP_SIZE, HeartbeatStore, StoreBusy, StoreFailed, StoreUnusable
from exporter.heartbeats.tokens import token
from pvewatch.secrets import Secret

CHECKOUT = Path(__file__).resolve().parents[3]


def beat(example: dict[str, Any], **changes: object) -> Heartbeat:
    return Heartbeat.model_validate(example | changes)


def fill(future: Future[None]) -> None:
    future.result(timeout=10)


def test_an_accepted_heartbeat_is_there_after_a_restart(tmp_path: Path, example: dict[str, Any]) -> None:
    path = tmp_path / "data" / "exporter-heartbeats.db"
    store = HeartbeatStore(path)
    fill(store.submit("home", 101, "lxc", beat(example, sequence=7), 1000.5))
    fill(store.submit("home", 101, "lxc", beat(example, sequence=8, boot_id="second"), 1060.5))
    before = store.get("home", 101)
    store.close()

    again = HeartbeatStore(path)
    record = again.get("home", 101)
    again.close()
    assert record == before
    assert record is not None
    assert record.payload is not None
    assert (record.first_seen, record.last_seen, record.count) == (1000.5, 1060.5, 2)
    assert (record.kind, record.boot_id, record.payload.sequence) == ("lxc", "second", 8)


def test_who_reads_the_records_keeps_the_picture_of_that_moment(store: HeartbeatStore, example: dict[str, Any]) -> None:
    fill(store.submit("home", 101, "qemu", beat(example), 1000))
    before = store.records()
    fill(store.submit("home", 101, "qemu", beat(example), 1060))
    fill(store.submit("home", 102, "qemu", beat(example), 1060))
    assert {guest: record.last_seen for guest, record in before.items()} == {("home", 101): 1000}


def test_more_heartbeats_at_once_than_one_statement_takes_are_all_kept(tmp_path: Path, example: dict[str, Any]) -> None:
    store = HeartbeatStore(tmp_path / "many.db")
    waiting = [store.submit("home", 100 + number, "qemu", beat(example), 1000) for number in range(3 * GROUP_SIZE + 1)]
    for done in waiting:
        fill(done)
    store.close()
    again = HeartbeatStore(tmp_path / "many.db")
    assert len(again.records()) == len(waiting)
    again.close()


def test_equal_vmids_in_two_clusters_are_two_guests(store: HeartbeatStore, example: dict[str, Any]) -> None:
    fill(store.submit("home", 101, "qemu", beat(example, boot_id="a"), 1000))
    fill(store.submit("office", 101, "lxc", beat(example, boot_id="b"), 1001))
    assert {guest: record.boot_id for guest, record in store.records().items()} == {
        ("home", 101): "a",
        ("office", 101): "b",
    }


def test_the_kind_last_known_stays_while_proxmox_ve_cannot_be_asked(
    store: HeartbeatStore, example: dict[str, Any]
) -> None:
    fill(store.submit("home", 101, "lxc", beat(example), 1000))
    fill(store.submit("home", 101, None, beat(example), 1060))
    record = store.get("home", 101)
    assert record is not None
    assert record.kind == "lxc"


def test_many_heartbeats_of_one_guest_in_one_commit_are_all_counted(
    store: HeartbeatStore, example: dict[str, Any]
) -> None:
    beats = [beat(example, sequence=n, uptime_seconds=100.0 + n) for n in range(500)]
    for future in [store.submit("home", 101, "qemu", one, 1000 + n) for n, one in enumerate(beats)]:
        fill(future)
    record = store.get("home", 101)
    assert record is not None
    assert record.payload is not None
    assert (record.count, record.last_seen, record.payload.sequence) == (500, 1499, 499)


def test_the_file_is_nobody_elses_to_read(store: HeartbeatStore, example: dict[str, Any]) -> None:
    fill(store.submit("home", 101, "qemu", beat(example), 1000))
    for file in store.path.parent.glob(f"{store.path.name}*"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_a_full_queue_refuses_instead_of_growing(tmp_path: Path, example: dict[str, Any]) -> None:
    path = tmp_path / "exporter-heartbeats.db"
    store = HeartbeatStore(path, queue_size=3)
    # Another process that holds the file keeps the writer in its first commit.
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    taken: list[Future[None]] = []

    def fill_up() -> None:
        while True:
            taken.append(store.submit("home", 101, "qemu", beat(example), 1000))

    with pytest.raises(StoreBusy):
        fill_up()
    assert 3 <= len(taken) <= 8
    assert not any(future.done() for future in taken)
    blocker.execute("ROLLBACK")
    blocker.close()
    for future in taken:
        fill(future)
    record = store.get("home", 101)
    store.close()
    assert record is not None
    assert record.count == len(taken)


def test_a_heartbeat_that_cannot_be_written_is_not_accepted(store: HeartbeatStore, example: dict[str, Any]) -> None:
    with sqlite3.connect(store.path) as other:
        other.execute("ALTER TABLE heartbeats RENAME TO away")
    with pytest.raises(StoreFailed):
        fill(store.submit("home", 101, "qemu", beat(example), 1000))
    assert store.get("home", 101) is None

    with sqlite3.connect(store.path) as other:
        other.execute("ALTER TABLE away RENAME TO heartbeats")
    other.close()
    fill(store.submit("home", 101, "qemu", beat(example), 1001))
    assert store.get("home", 101) is not None


def test_a_closed_store_takes_nothing_more(tmp_path: Path, example: dict[str, Any]) -> None:
    store = HeartbeatStore(tmp_path / "exporter-heartbeats.db")
    store.close()
    with pytest.raises(StoreBusy):
        store.submit("home", 101, "qemu", beat(example), 1000)


def test_a_message_that_comes_late_is_counted_and_does_not_count_as_alive(
    store: HeartbeatStore, example: dict[str, Any]
) -> None:
    fill(store.submit("home", 101, "qemu", beat(example, sequence=1, uptime_seconds=100.0), 1000))
    fill(store.submit("home", 101, "qemu", beat(example, sequence=3, uptime_seconds=220.0), 1120))
    fill(store.submit("home", 101, "qemu", beat(example, sequence=2, uptime_seconds=160.0), 1290))
    record = store.get("home", 101)
    assert record is not None
    assert record.payload is not None
    assert (record.last_seen, record.payload.sequence, record.count) == (1120, 3, 3)
    assert (record.progress.late, record.progress.missed) == (1, 1)
    assert to_entry(record, now=1301, timeout=180).silent


def test_a_clone_is_told_in_the_inventory_and_remembered_over_a_restart(
    tmp_path: Path, example: dict[str, Any]
) -> None:
    path = tmp_path / "exporter-heartbeats.db"
    store = HeartbeatStore(path)
    for minute in range(6):
        boot = ("original", "clone")[minute % 2]
        uptime = 60.0 * minute + 10
        fill(store.submit("home", 101, "qemu", beat(example, boot_id=boot, uptime_seconds=uptime), 1000 + 60 * minute))
    store.close()
    again = HeartbeatStore(path)
    record = again.get("home", 101)
    again.close()
    assert record is not None
    assert to_entry(record, now=1310, timeout=180).identity_shared
    assert not to_entry(record, now=1301 + SHARED_SECONDS, timeout=180).identity_shared


def test_which_secret_a_token_derives_from_is_told(store: HeartbeatStore, example: dict[str, Any]) -> None:
    fill(store.submit("home", 101, "qemu", beat(example), 1000, key_id="older"))
    record = store.get("home", 101)
    assert record is not None
    assert to_entry(record, 1000, 180, "newer").previous_secret
    assert not to_entry(record, 1000, 180, "older").previous_secret


def test_a_forgotten_guest_is_gone_from_the_file_too(tmp_path: Path, example: dict[str, Any]) -> None:
    path = tmp_path / "exporter-heartbeats.db"
    store = HeartbeatStore(path)
    for vmid in (101, 102):
        fill(store.submit("home", vmid, "qemu", beat(example), 1000))
    store.forget(frozenset([("home", 101)]), 1001)
    fill(store.submit("home", 103, "qemu", beat(example), 1001))
    assert set(store.records()) == {("home", 102), ("home", 103)}
    store.close()
    again = HeartbeatStore(path)
    kept = set(again.records())
    again.close()
    assert kept == {("home", 102), ("home", 103)}


def test_a_guest_that_speaks_while_it_is_being_forgotten_stays(tmp_path: Path, example: dict[str, Any]) -> None:
    path = tmp_path / "exporter-heartbeats.db"
    store = HeartbeatStore(path)
    fill(store.submit("home", 101, "qemu", beat(example, sequence=1), 1000))
    later = beat(example, sequence=2, uptime_seconds=example["uptime_seconds"] + 1000)
    fill(store.submit("home", 101, "qemu", later, 2000))
    store.forget(frozenset([("home", 101), ("home", 102)]), 1500)
    store.close()
    again = HeartbeatStore(path)
    kept = dict(again.records())
    again.close()
    assert set(kept) == {("home", 101)}


def test_a_guest_that_speaks_seldom_is_not_silent_between_its_heartbeats(
    store: HeartbeatStore, example: dict[str, Any]
) -> None:
    fill(store.submit("home", 101, "qemu", beat(example, interval_seconds=300.0), 1000))
    record = store.get("home", 101)
    assert record is not None
    assert not to_entry(record, now=1900, timeout=180).silent
    assert to_entry(record, now=1901, timeout=180).silent
    assert to_entry(record, now=1901, timeout=180).timeout_seconds == 900


def test_a_file_of_the_first_version_is_taken_over(tmp_path: Path, example: dict[str, Any]) -> None:
    path = tmp_path / "exporter-heartbeats.db"
    with sqlite3.connect(path) as older:
        older.execute(
            "CREATE TABLE heartbeats (cluster TEXT NOT NULL, vmid INTEGER NOT NULL, kind TEXT,"
            " first_seen REAL NOT NULL, last_seen REAL NOT NULL, boot_id TEXT NOT NULL,"
            " count INTEGER NOT NULL, payload TEXT NOT NULL,"
            " PRIMARY KEY (cluster, vmid)) STRICT, WITHOUT ROWID"
        )
        payload = beat(example, sequence=7).model_dump_json(by_alias=True)
        older.execute(
            "INSERT INTO heartbeats VALUES ('home', 101, 'lxc', 900.0, 1000.0, 'boot', 7, ?)",
            (payload,),
        )
        older.execute("PRAGMA user_version = 1")
    older.close()
    store = HeartbeatStore(path)
    fill(store.submit("home", 101, "lxc", beat(example, sequence=8), 1060))
    record = store.get("home", 101)
    store.close()
    assert record is not None
    assert (record.first_seen, record.last_seen, record.count) == (900, 1060, 8)
    assert record.progress.missed == 0


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "exporter-heartbeats.db"
    HeartbeatStore(path).close()
    with sqlite3.connect(path) as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(StoreUnusable, match=r"newer pvewatch.*install that version again"):
        HeartbeatStore(path)


def test_a_file_that_is_no_database_is_named_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "exporter-heartbeats.db"
    path.write_bytes(b"not a database " * 100)
    with pytest.raises(StoreUnusable, match=rf"{path}.*move a damaged file away"):
        HeartbeatStore(path)


def test_a_stored_form_not_read_any_more_keeps_when_the_guest_was_seen(tmp_path: Path, example: dict[str, Any]) -> None:
    path = tmp_path / "exporter-heartbeats.db"
    store = HeartbeatStore(path)
    fill(store.submit("home", 101, "qemu", beat(example), 1000))
    store.close()
    with sqlite3.connect(path) as older:
        older.execute("""UPDATE heartbeats SET payload = '{"schema": 0}'""")
    older.close()
    store = HeartbeatStore(path)
    record = store.get("home", 101)
    store.close()
    assert record is not None
    assert record.payload is None
    entry = to_entry(record, now=1010, timeout=180)
    assert (entry.last_seen, entry.silent, entry.agent_version) == (1000, False, "unknown")


@pytest.mark.parametrize("clock_error", [-3600, 0, 3600])
def test_only_the_servers_clock_says_whether_a_guest_is_silent(
    store: HeartbeatStore, example: dict[str, Any], clock_error: float
) -> None:
    fill(store.submit("home", 101, "qemu", beat(example, time=5000.0 + clock_error), 5000))
    record = store.get("home", 101)
    assert record is not None
    assert not to_entry(record, now=5180, timeout=180).silent
    assert to_entry(record, now=5180.1, timeout=180).silent


def test_kill_9_in_a_stream_of_heartbeats_loses_none_that_was_acknowledged(
    tmp_path: Path, example: dict[str, Any], secret: Secret
) -> None:
    """Eight senders stream into a real process until it is killed; each knows the last number it got a 204 for."""
    for attempt in ("first", "second", "third"):
        directory = tmp_path / attempt
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.exporter.heartbeats.ingest_process", directory, secret.reveal(), "home"],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        port = int(process.stdout.readline())
        acknowledged = dict.fromkeys(range(101, 109), 0)
        enough = threading.Semaphore(0)

        def stream(vmid: int, port: int, acknowledged: dict[int, int], enough: threading.Semaphore) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            headers = {"Authorization": f"Bearer {token(secret, 'home', vmid)}"}
            sequence = 0
            while True:
                sequence += 1
                body = json.dumps(example | {"sequence": sequence, "uptime_seconds": 1000.0 + sequence})
                try:
                    connection.request("POST", "/api/v1/heartbeat", body, headers)
                    answer = connection.getresponse()
                    answer.read()
                except (OSError, http.client.HTTPException):
                    return
                assert answer.status == 204
                acknowledged[vmid] = sequence
                enough.release()

        senders = [threading.Thread(target=stream, args=(vmid, port, acknowledged, enough)) for vmid in acknowledged]
        for sender in senders:
            sender.start()
        for _ in range(150):
            assert enough.acquire(timeout=30)
        process.kill()
        process.wait(10)
        process.stdout.close()
        for sender in senders:
            sender.join(20)
            assert not sender.is_alive()

        store = HeartbeatStore(directory / "exporter-heartbeats.db")
        stored = {vmid: record.payload.sequence for (_, vmid), record in store.records().items() if record.payload}
        store.close()
        for vmid, sequence in acknowledged.items():
            # One more may be on disk than was heard of: the answer to it was lost with the process.
            assert stored.get(vmid, 0) in (sequence, sequence + 1)
