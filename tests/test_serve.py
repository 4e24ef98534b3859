"""Listeners: what a slow, silent or greedy client can and cannot do, and what a taken port says."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import ssl
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pvewatch import serve as serve_module
from pvewatch.serve import CannotListen, PortTaken, Server, serve
from tests.agents.ingest import await_true, make_authority


def echo(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["REQUEST_METHOD"].encode(), b" ", body]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(serve_module, "REQUEST_SECONDS", 0.5)
    monkeypatch.setattr(serve_module, "MAX_BODY_BYTES", 1000)
    running = serve(echo, "127.0.0.1:0", threads=1).start()
    yield running
    running.stop()


def post(server: Server, body: bytes) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(*server.address, timeout=10)
    try:
        connection.request("POST", "/", body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_a_request_with_a_body_arrives_whole(server: Server) -> None:
    assert post(server, b"x" * 900) == (200, b"POST " + b"x" * 900)


def test_a_body_over_the_limit_is_refused(server: Server) -> None:
    assert post(server, b"x" * 1001)[0] == 413


def test_a_client_that_never_sends_its_body_does_not_hold_the_only_thread(server: Server) -> None:
    with socket.create_connection(server.address, timeout=10) as slow:
        slow.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        assert post(server, b"quick") == (200, b"POST quick")
        assert slow.recv(100).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("beginning", [b"", b"GET / HTTP/1.1\r\nHos"])
def test_a_connection_that_never_finishes_its_headers_is_closed(server: Server, beginning: bytes) -> None:
    with socket.create_connection(server.address, timeout=10) as silent:
        silent.sendall(beginning)
        assert silent.recv(100) == b""


def test_a_kept_connection_without_a_second_request_is_closed(server: Server) -> None:
    with socket.create_connection(server.address, timeout=10) as silent:
        silent.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while not answer.endswith(b"\r\n0\r\n\r\n"):
            answer += silent.recv(1000)
        silent.sendall(b"\r\n")
        while silent.recv(1000):
            pass


def test_an_answer_may_take_longer_than_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_module, "REQUEST_SECONDS", 0.1)

    async def slow(_scope: Any, _receive: Any, send: Any) -> None:
        await asyncio.sleep(0.3)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    running = serve(slow, "127.0.0.1:0", kind="asgi").start()
    assert post(running, b"") == (204, b"")
    running.stop()


@pytest.mark.parametrize(
    "beginning",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nX: ",
        b"GET /",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX: ",
    ],
    ids=["a header", "the path", "an extension of a chunk", "a trailer"],
)
def test_endless_headers_are_refused_before_they_fill_the_memory(
    server: Server, monkeypatch: pytest.MonkeyPatch, beginning: bytes
) -> None:
    monkeypatch.setattr(serve_module, "REQUEST_SECONDS", 60)
    with socket.create_connection(server.address, timeout=10) as endless:
        endless.sendall(beginning)
        with contextlib.suppress(OSError):
            for _ in range(1000):
                endless.sendall(b"x" * 10_000)
            pytest.fail("ten million bytes were taken")


def test_a_connection_is_kept_for_the_next_request(server: Server) -> None:
    connection = http.client.HTTPConnection(*server.address, timeout=10)
    for _ in range(3):
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"GET "
    connection.close()


def test_a_connection_that_never_begins_tls_is_closed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(serve_module, "HANDSHAKE_SECONDS", 0.5)
    authority = make_authority(tmp_path)
    running = serve(echo, "127.0.0.1:0", tls_cert=authority.cert, tls_key=authority.key).start()
    try:
        for beginning in (b"", b"\x16\x03\x01"):
            with socket.create_connection(running.address, timeout=10) as silent:
                silent.sendall(beginning)
                assert silent.recv(100) == b""
    finally:
        running.stop()


@pytest.mark.parametrize("encrypted", [False, True])
def test_one_address_takes_at_most_a_quarter_of_the_connections(tmp_path: Path, encrypted: bool) -> None:
    authority = make_authority(tmp_path) if encrypted else None
    files = {"tls_cert": authority.cert, "tls_key": authority.key} if authority else {}
    running = serve(echo, "127.0.0.1:0", connections=100, fair=True, **files).start()

    def answer(address: str, held: contextlib.ExitStack) -> bytes:
        """What a request of that address gets; its connection stays open."""
        plain = socket.create_connection(running.address, timeout=10, source_address=(address, 0))
        client = (
            ssl.create_default_context(cafile=authority.ca).wrap_socket(plain, server_hostname="127.0.0.1")
            if (authority)
            else plain
        )
        held.enter_context(client)
        try:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            return client.recv(12)
        except OSError:
            return b""

    with contextlib.ExitStack() as held:
        first = contextlib.ExitStack()
        assert answer("127.0.0.1", first) == b"HTTP/1.1 200"
        assert [answer("127.0.0.1", held) for _ in range(24)] == [b"HTTP/1.1 200"] * 24
        assert answer("127.0.0.1", held) == b""
        assert answer("127.0.0.2", held) == b"HTTP/1.1 200"
        first.close()
        await_true(lambda: answer("127.0.0.1", held) == b"HTTP/1.1 200")
    running.stop()


def test_a_taken_port_is_named(server: Server) -> None:
    address = f"{server.address[0]}:{server.address[1]}"
    with pytest.raises(PortTaken, match=address):
        serve(echo, address)


def test_a_listener_that_was_never_started_can_be_stopped() -> None:
    never = serve(echo, "127.0.0.1:0")
    never.stop()
    serve(echo, f"{never.address[0]}:{never.address[1]}").stop()


def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(CannotListen, match=r"192\.0\.2\.1:0 cannot be listened on: .*; give an address"):
        serve(echo, "192.0.2.1:0")


@pytest.mark.parametrize("content", [None, "not PEM"])
def test_a_certificate_that_cannot_be_used_is_named_before_anything_is_served(
    tmp_path: Path, content: str | None
) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    if content is not None:
        cert.write_text(content)
        key.write_text(content)
    with pytest.raises(CannotListen, match=f"certificate {cert} and key {key}"):
        serve(echo, "127.0.0.1:0", tls_cert=cert, tls_key=key)


def test_after_stop_the_port_is_free(server: Server) -> None:
    server.stop()
    again = serve(echo, f"{server.address[0]}:{server.address[1]}").start()
    assert post(again, b"") == (200, b"POST ")
    again.stop()
