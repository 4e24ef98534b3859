from __future__ import annotations

import json
import socket
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.heartbeats.http import PATHS, REASONS, HeartbeatApp, RateLimit
from exporter.heartbeats.keys import HeartbeatKeys, current_token, revoke, rotate
from exporter.heartbeats.store import HeartbeatStore
from exporter.heartbeats.tokens import token
from pvewatch.inventory import GuestKind
from pvewatch.secrets import Secret, read_internal_secret
from pvewatch.serve import Server, serve


@dataclass
class Listener:
    app: HeartbeatApp
    server: Server
    secret: Secret
    kinds: dict[int, GuestKind] = field(default_factory=dict)

    def bearer(self, vmid: int = 101, cluster: str = "home") -> dict[str, str]:
        return {"Authorization": f"Bearer {token(self.secret, cluster, vmid)}"}

    def request(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], Any]:
        """Status, headers (lower case) and decoded body of one request on its own connection."""
        connection = HTTPConnection(*self.server.address, timeout=10)
        try:
            data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            connection.request(method, path, data, headers or {})
            answer: HTTPResponse = connection.getresponse()
            text = answer.read()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, json.loads(text) if text else None
        finally:
            connection.close()

    def post(self, body: object, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], Any]:
        return self.request("POST", PATHS[0], body, self.bearer() if headers is None else headers)


Start = Callable[..., Listener]


@pytest.fixture
def start(store: HeartbeatStore, secret: Secret) -> Iterator[Start]:
    running: list[Listener] = []

    def start_listener(**options: Any) -> Listener:
        kinds: dict[int, GuestKind] = {101: "qemu"}
        options.setdefault("rate_limit", RateLimit(per_second=1e6, burst=1e6))
        app = HeartbeatApp(store, secret, frozenset(["home"]), lambda _, vmid: kinds.get(vmid), **options)
        listener = Listener(app, serve(app, "127.0.0.1:0", kind="asgi").start(), secret, kinds)
        running.append(listener)
        return listener

    yield start_listener
    for listener in running:
        listener.server.stop()


def assert_refused(answer: tuple[int, dict[str, str], Any], status: int, code: str) -> Any:
    """The one shape of errors; returns its `detail`."""
    assert answer[0] == status
    assert answer[1]["content-type"] == "application/json"
    assert set(answer[2]) == {"error"}
    assert set(answer[2]["error"]) == {"code", "message", "detail"}
    assert answer[2]["error"]["code"] == code
    assert answer[2]["error"]["message"]
    return answer[2]["error"]["detail"]


@pytest.mark.parametrize("path", PATHS)
def test_a_heartbeat_is_taken_under_the_tokens_name(
    start: Start, store: HeartbeatStore, example: dict[str, Any], path: str
) -> None:
    listener = start(clock=lambda: 5000.25)
    status, _, body = listener.request("POST", path, example, listener.bearer())
    assert (status, body) == (204, None)
    record = store.get("home", 101)
    assert record is not None
    assert (record.last_seen, record.kind, record.count) == (5000.25, "qemu", 1)
    assert record.payload is not None
    assert record.payload.heartbeat().model_dump(by_alias=True) == example


def test_what_the_message_says_about_who_sends_it_changes_nothing(
    start: Start, store: HeartbeatStore, example: dict[str, Any]
) -> None:
    listener = start()
    assert listener.post(example | {"vmid": 102, "cluster": "office"})[0] == 204
    assert list(store.records()) == [("home", 101)]


@pytest.mark.parametrize("path", ["/", "/metrics", "/api/v1/heartbeat/", "/api/v1/inventory", "/-/healthy", "/docs"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nothing_else_answers_on_this_listener(start: Start, path: str, method: str) -> None:
    listener = start()
    assert_refused(listener.request(method, path, b"", listener.bearer()), 404, "not_found")
    assert listener.app.rejected["not_found"] == 1


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
def test_only_post_is_possible(start: Start, method: str) -> None:
    listener = start()
    answer = listener.request(method, PATHS[0], None, listener.bearer())
    assert_refused(answer, 405, "method_not_allowed")
    assert answer[1]["allow"] == "POST"


def test_no_wrong_or_foreign_token_is_taken(start: Start, store: HeartbeatStore, example: dict[str, Any]) -> None:
    listener = start()
    genuine = token(listener.secret, "home", 101)
    presented = [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": genuine},
        {"Authorization": f"Basic {genuine}"},
        {"Authorization": f"Bearer {genuine}0"},
        {"Authorization": f"Bearer {genuine[:-1]}"},
        {"Authorization": f"Bearer {genuine.replace('.101.', '.102.')}"},
        {"Authorization": f"Bearer {token(Secret('of another exporter'), 'home', 101)}"},
        {"Authorization": f"Bearer {'x' * 5000}"},
    ]
    for headers in presented:
        answer = listener.post(example, headers)
        assert_refused(answer, 401, "unauthorized")
        assert "agent-token" in answer[2]["error"]["message"]
        assert genuine.rpartition(".")[2] not in json.dumps(answer[2])
    assert listener.app.rejected["unauthorized"] == len(presented)
    assert not store.records()


def test_a_revoked_guest_is_refused_while_the_exporter_runs_and_the_others_are_not(
    store: HeartbeatStore, example: dict[str, Any], tmp_path: Path
) -> None:
    keys = HeartbeatKeys(tmp_path, read_internal_secret(tmp_path, "heartbeat", create=True))
    app = HeartbeatApp(store, keys, frozenset(["home"]), lambda *_: "qemu")
    listener = Listener(app, serve(app, "127.0.0.1:0", kind="asgi").start(), Secret("not used"))

    def send(token: str) -> tuple[int, dict[str, str], Any]:
        return listener.post(example, {"Authorization": f"Bearer {token}"})

    try:
        old = current_token(tmp_path, "home", 101)
        assert send(old)[0] == 204
        revoke(tmp_path, "home", 101)
        answer = send(old)
        assert_refused(answer, 403, "revoked")
        assert "agent-token" in answer[2]["error"]["message"]
        assert app.rejected["revoked"] == 1
        assert send(current_token(tmp_path, "home", 102))[0] == 204
        assert send(current_token(tmp_path, "home", 101))[0] == 204
        rotate(tmp_path)
        assert send(current_token(tmp_path, "home", 102))[0] == 204
    finally:
        listener.server.stop()


KNOWN_UUID = "64574daf-5cf2-450b-9466-bedf8f66e766"


@pytest.mark.parametrize(
    "told",
    [
        KNOWN_UUID,
        KNOWN_UUID.upper(),
        "af4d5764-f25c-0b45-9466-bedf8f66e766",  # the same bytes, as systems before SMBIOS 2.6 print them
        None,  # an agent that may not read it
    ],
)
def test_a_machine_with_the_guests_own_uuid_is_taken(start: Start, example: dict[str, Any], told: str | None) -> None:
    listener = start(uuid_of=lambda _cluster, _vmid: KNOWN_UUID)
    assert listener.post(example | {"smbios_uuid": told})[0] == 204


def test_a_clone_that_proxmox_ve_gave_another_uuid_is_refused_with_the_reason(
    start: Start, store: HeartbeatStore, example: dict[str, Any]
) -> None:
    listener = start(uuid_of=lambda _cluster, vmid: KNOWN_UUID if vmid == 101 else None)
    clone = example | {"smbios_uuid": "00000000-5cf2-450b-9466-bedf8f66e766"}
    answer = listener.post(clone)
    assert_refused(answer, 403, "wrong_machine")
    assert "clone" in answer[2]["error"]["message"]
    assert listener.app.rejected["wrong_machine"] == 1
    assert not store.records()
    # Where Proxmox VE does not know one there is nothing to compare.
    assert listener.post(clone, listener.bearer(102))[0] == 204


def test_a_flood_from_one_guest_is_cut_off_and_no_other_guests_heartbeat_is_refused(
    start: Start, store: HeartbeatStore, example: dict[str, Any]
) -> None:
    listener = start(rate_limit=RateLimit(per_second=1.0, burst=10.0))
    stop = threading.Event()
    flooded: Counter[int] = Counter()

    def flood() -> None:
        while not stop.is_set():
            flooded[listener.post(example)[0]] += 1

    floods = [threading.Thread(target=flood) for _ in range(4)]
    for each in floods:
        each.start()
    try:
        others = [listener.post(example, listener.bearer(vmid))[0] for vmid in range(200, 300)]
    finally:
        stop.set()
        for each in floods:
            each.join(20)
    assert others == [204] * 100
    assert set(flooded) <= {204, 429}
    assert flooded[429] == listener.app.rejected["too_often"]
    # What was refused never came near the disk.
    record = store.get("home", 101)
    assert record is not None
    assert record.count == flooded[204]


def test_a_clock_an_hour_off_changes_nothing_about_when_the_guest_was_seen(
    start: Start, store: HeartbeatStore, example: dict[str, Any]
) -> None:
    listener = start(clock=lambda: 5000.0)
    for vmid, error in ((101, 3600), (102, -3600)):
        assert listener.post(example | {"time": 5000.0 + error}, listener.bearer(vmid))[0] == 204
        record = store.get("home", vmid)
        assert record is not None
        assert record.last_seen == 5000


def test_a_guest_of_a_cluster_that_is_not_configured_is_told_so(start: Start, example: dict[str, Any]) -> None:
    listener = start()
    answer = listener.post(example, listener.bearer(cluster="gone"))
    assert_refused(answer, 403, "unknown_cluster")
    assert "gone" in answer[2]["error"]["message"]


def test_a_wrong_type_is_refused_with_the_field_named(
    start: Start, store: HeartbeatStore, example: dict[str, Any]
) -> None:
    listener = start()
    example["memory"]["size_bytes"] = "much"
    detail = assert_refused(listener.post(example), 422, "invalid")
    assert [problem["field"] for problem in detail] == ["memory.size_bytes"]
    assert not store.records()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 60_000])
def test_a_body_that_is_no_heartbeat_is_refused(start: Start, body: bytes) -> None:
    assert_refused(start().post(body), 422, "invalid")


def test_a_body_of_the_size_limit_is_read_and_one_byte_more_is_not(start: Start, example: dict[str, Any]) -> None:
    listener = start(max_bytes=2000)
    body = json.dumps(example).encode().ljust(2000)
    assert listener.post(body)[0] == 204
    assert_refused(listener.post(body + b" "), 413, "too_large")


def test_the_size_limit_holds_without_a_content_length(start: Start) -> None:
    listener = start(max_bytes=2000)
    headers = listener.bearer() | {"Transfer-Encoding": "chunked"}
    chunk = b"400\r\n" + b" " * 1024 + b"\r\n"
    assert_refused(listener.request("POST", PATHS[0], chunk * 100 + b"0\r\n\r\n", headers), 413, "too_large")


def test_a_body_without_end_is_cut_off(start: Start) -> None:
    listener = start()
    with socket.create_connection(listener.server.address, timeout=10) as raw:
        head = f"POST {PATHS[0]} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        raw.sendall(head.encode())
        # Refused for want of a token; it may still send, but not for ever.
        chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
        with pytest.raises(OSError, match=r"(?i)reset|broken pipe"):
            raw.sendall(chunk * 1000)
    assert listener.app.rejected["unauthorized"] == 1


def test_a_sender_that_does_not_finish_is_given_up(start: Start, example: dict[str, Any]) -> None:
    listener = start(read_timeout_seconds=0.2)
    with socket.create_connection(listener.server.address, timeout=10) as raw:
        headers = "".join(f"{name}: {value}\r\n" for name, value in listener.bearer().items())
        raw.sendall(f"POST {PATHS[0]} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n{headers}\r\n{{".encode())
        answer = b""
        while part := raw.recv(65_536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 408")
    assert listener.app.rejected["too_slow"] == 1
    assert listener.post(example)[0] == 204


def test_a_sender_that_goes_away_leaves_no_trace(start: Start, store: HeartbeatStore, example: dict[str, Any]) -> None:
    listener = start()
    with socket.create_connection(listener.server.address, timeout=10) as raw:
        headers = "".join(f"{name}: {value}\r\n" for name, value in listener.bearer().items())
        raw.sendall(f"POST {PATHS[0]} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n{headers}\r\n{{".encode())
    assert listener.post(example, listener.bearer(102))[0] == 204
    assert list(store.records()) == [("home", 102)]
    assert not any(listener.app.rejected.values())


def test_a_flood_of_one_guest_is_refused_and_others_are_not(start: Start, example: dict[str, Any]) -> None:
    listener = start(rate_limit=RateLimit(per_second=0.001, burst=3))
    assert [listener.post(example)[0] for _ in range(3)] == [204] * 3
    answer = listener.post(example)
    assert_refused(answer, 429, "too_often")
    assert int(answer[1]["retry-after"]) > 0
    assert listener.post(example, listener.bearer(102))[0] == 204


def test_when_nothing_can_be_written_the_sender_is_asked_to_come_again(
    start: Start, store: HeartbeatStore, example: dict[str, Any]
) -> None:
    listener = start()
    with sqlite3.connect(store.path) as other:
        other.execute("DROP TABLE heartbeats")
    other.close()
    answer = listener.post(example)
    assert_refused(answer, 503, "not_stored")
    assert int(answer[1]["retry-after"]) > 0


def test_a_full_queue_is_answered_503(start: Start, store: HeartbeatStore, example: dict[str, Any]) -> None:
    listener = start()
    store.close()
    answer = listener.post(example)
    assert_refused(answer, 503, "busy")
    assert int(answer[1]["retry-after"]) > 0


def test_the_answer_waits_for_the_commit(start: Start, store: HeartbeatStore, example: dict[str, Any]) -> None:
    arrived, answered = threading.Event(), threading.Event()

    def clock() -> float:
        arrived.set()
        return 5000.0

    listener = start(clock=clock)

    def send() -> None:
        assert listener.post(example)[0] == 204
        answered.set()

    # Whoever holds the file's write lock holds back the commit, and so the answer.
    blocker = sqlite3.connect(store.path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    sender = threading.Thread(target=send)
    sender.start()
    assert arrived.wait(10)
    assert not answered.wait(0.3)
    assert store.get("home", 101) is None
    blocker.execute("ROLLBACK")
    blocker.close()
    assert answered.wait(10)
    sender.join()
    assert store.get("home", 101) is not None


def test_every_reason_is_counted_from_the_start(start: Start) -> None:
    assert start().app.rejected == dict.fromkeys(REASONS, 0)


@given(st.lists(st.tuples(st.integers(100, 104), st.floats(0, 3)), max_size=200))
def test_a_guest_never_gets_more_than_its_burst_and_rate(arrivals: list[tuple[int, float]]) -> None:
    limit = RateLimit(per_second=0.5, burst=4, guests=3)
    now, taken = 0.0, dict.fromkeys(range(100, 105), 0)
    for vmid, pause in arrivals:
        now += pause
        taken[vmid] += limit.take(("home", vmid), now)
        # Three buckets for five guests: one forgotten early starts afresh, and so memory stays bounded.
        assert limit.remembered <= 3
    limit, now, count = RateLimit(per_second=0.5, burst=4), 0.0, 0
    for _, pause in arrivals:
        now += pause
        count += limit.take(("home", 101), now)
        assert count <= 4 + now * 0.5 + 1e-6
