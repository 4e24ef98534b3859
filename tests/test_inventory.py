"""The client of the exporter's inventory: whatever goes wrong on the way is one condition, and the token stays here."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pvewatch.inventory import GuestEntry, HeartbeatEntry, InventoryClient, InventoryUnavailable, agent_states
from pvewatch.secrets import Secret

WHOLE = b'{"generated_at":1.0,"clusters":[]}'


def answer(body: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", *headers, b"", body])


@contextmanager
def exporter(*pieces: bytes, hang: bool = False) -> Iterator[tuple[str, list[bytes]]]:
    """Sends these pieces to everybody, whatever is asked, then closes; gives its address and what it was asked."""
    asked: list[bytes] = []
    over = threading.Event()

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # the test is over
                return
            with connection:
                asked.append(connection.recv(65536))
                for piece in pieces:
                    connection.sendall(piece)
                if hang:
                    over.wait(30)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
        over.set()
        listener.shutdown(socket.SHUT_RDWR)


def fetching(url: str) -> Callable[[], object]:
    return InventoryClient(url, Secret("inventory-secret"), timeout=0.5).fetch


def test_an_inventory_is_read() -> None:
    with exporter(answer(WHOLE, b"Content-Length: %d" % len(WHOLE))) as (url, asked):
        assert InventoryClient(url, Secret("inventory-secret")).fetch().clusters == []
    assert b"Authorization: Bearer inventory-secret\r\n" in asked[0]


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [answer(WHOLE, b"Content-Length: 1000")],
        [answer(b"not gzip", b"Content-Encoding: gzip", b"Content-Length: 8")],
        [answer(b"zz\r\n", b"Transfer-Encoding: chunked")],
        [answer(b"{}", b"Content-Length: 2")],
        [b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"],
    ],
    ids=["none", "cut-off", "not-gzip", "broken-chunk", "another-shape", "elsewhere"],
)
def test_an_answer_that_is_not_an_inventory_is_unavailability(pieces: list[bytes]) -> None:
    with exporter(*pieces) as (url, _), pytest.raises(InventoryUnavailable, match="the exporter at http"):
        fetching(url)()


def test_an_exporter_that_falls_silent_in_its_answer_is_not_waited_for() -> None:
    with (
        exporter(answer(b"", b"Content-Length: 1000"), hang=True) as (url, _),
        pytest.raises(InventoryUnavailable, match="the exporter at http"),
    ):
        fetching(url)()


def test_the_token_does_not_go_through_a_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with exporter() as (proxy, told), exporter(answer(WHOLE, b"Content-Length: %d" % len(WHOLE))) as (url, _):
        monkeypatch.setenv("http_proxy", proxy)
        fetching(url)()
    assert told == []


@pytest.mark.parametrize(
    ("status", "said"),
    [("running", "silent"), ("unknown", "silent"), ("stopped", "not running"), ("paused", "not running")],
)
def test_the_agent_of_a_guest_that_is_off_is_not_called_silent(status: str, said: str) -> None:
    heard = HeartbeatEntry(last_seen=1, boot_id="b", agent_version="1", sequence=1, silent=True, timeout_seconds=180)
    guest = GuestEntry(
        cluster="lab", kind="qemu", vmid=100, id="qemu/100", name=None, node="n", status=status, template=False,
        heartbeat=heard,
    )  # fmt: skip
    assert agent_states(guest) == (said,)
