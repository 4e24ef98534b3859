"""Serving HTTP: one way for every listener, uvicorn in a thread of its own.

uvicorn reads and writes in an event loop, so a slow or silent client costs a socket and never a thread; it also speaks
TLS, which the heartbeat listener needs. WSGI applications run in a bounded pool of threads behind it, and get a request
only when its body is there: a thread never waits for a client.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import re
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, Literal

import uvicorn
import uvloop
from a2wsgi import WSGIMiddleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pvewatch.logging import about

STOP_SECONDS = 3.0
TICK_SECONDS = 1.0
# A client gets so long for its request line and headers, and again for its body.
REQUEST_SECONDS = 15.0
# And so long for the beginning of TLS. Until it is done a connection counts against no limit.
HANDSHAKE_SECONDS = 10.0
MAX_BODY_BYTES = 4 * 1024 * 1024
# Of a request's bytes so many may be something else than its body, and as many again as its body has.
MAX_HEAD_BYTES = 64 * 1024
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class CannotListen(Exception):
    """A listener cannot be opened; the message names its address, the reason and the remedy."""


class PortTaken(CannotListen):
    """Somebody else listens there already."""


class ImpatientLoop(uvloop.Loop):
    """uvloop's, except that a client gets HANDSHAKE_SECONDS to begin TLS and not a minute; uvicorn cannot set it."""

    async def create_server(self, *args: Any, **options: Any) -> Any:
        """See asyncio."""
        if options.get("ssl") is not None:
            options.setdefault("ssl_handshake_timeout", HANDSHAKE_SECONDS)
        return await super().create_server(*args, **options)


class _Config(uvicorn.Config):
    """uvicorn's, and how many connections one address may have (None: any number) and has, by address."""

    per_address: int | None = None
    held: Counter[str]


class _ImpatientProtocol(HttpToolsProtocol):
    """uvicorn's faster protocol, with bounds on what comes before, between and after the bytes of a body.

    uvicorn itself waits for ever for the first request, and a silent connection would count against the limit as long;
    httptools takes any amount of headers, trailers and extensions of chunks.
    """

    _headers_due: asyncio.TimerHandle | None = None
    _in_headers = False
    _head_bytes = 0
    _cut = False
    config: _Config

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn itself
        super().connection_made(transport)
        address, limit = self._address, self.config.per_address
        self.config.held[address] += 1
        if limit is not None and self.config.held[address] > limit:
            self._cut = True
            transport.abort()
        else:
            self._wait_for_headers()

    @property
    def _address(self) -> str:
        return self.client[0] if self.client else ""

    def data_received(self, data: bytes) -> None:
        if self._cut:
            return
        self._head_bytes += len(data)
        super().data_received(data)
        self._wait_for_headers()
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The headers are too large.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_headers = True

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._in_headers = False

    def on_body(self, body: bytes) -> None:
        self._head_bytes -= 2 * len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._head_bytes = 0

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self.config.held[self._address] -= 1
        if not self.config.held[self._address]:
            del self.config.held[self._address]
        super().connection_lost(exc)

    def _wait_for_headers(self) -> None:
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering and not self._in_headers:
            self._stop_waiting()
        elif self._headers_due is None:
            self._headers_due = self.loop.call_later(REQUEST_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None


class _Named:
    """Gives every request an id: of its log lines, and in the answer's X-Request-ID. A proxy's own id is kept."""

    def __init__(self, app: Any) -> None:
        self._app = app
        # Random once: asking the system for it gives up a thread's turn, which counts at a thousand requests a second.
        self._prefix = secrets.token_hex(4)
        self._number = itertools.count(1)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        presented = dict(scope.get("headers", ())).get(b"x-request-id", b"")
        name = presented.decode() if _REQUEST_ID.fullmatch(presented) else f"{self._prefix}{next(self._number):08x}"

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", name.encode())]
            await send(message)

        with about(request=name):
            await self._app(scope, receive, send_named)


class _WholeBody:
    """Reads a request's body, within bounds, before the application behind it is given a thread."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        try:
            body = await asyncio.wait_for(_read_body(receive), REQUEST_SECONDS)
        except TimeoutError:
            return await _refuse(send, 408, b"the request did not arrive in time")
        if body is None:
            return await _refuse(send, 413, b"the request is too large")
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def replay() -> Message:
            return next(messages, {"type": "http.disconnect"})

        await self._app(scope, replay, send)
        return None


async def _read_body(receive: Receive) -> bytes | None:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            return None
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return bytes(body)


async def _refuse(send: Send, status: int, text: bytes) -> None:
    headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})


class _CalmServer(uvicorn.Server):
    """uvicorn's server, which wakes once a second instead of ten times, and at once when it is to stop."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stopping = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def main_loop(self) -> None:
        """Tick until it is to end."""
        self._loop = asyncio.get_running_loop()
        # 0 is the turn at which uvicorn brings the Date header up to date.
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), TICK_SECONDS)

    def stop(self) -> None:
        """Begin to end; to be called from another thread."""
        self.should_exit = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._stopping.set)


class Server:
    """A running listener. `address` is the real one, also when port 0 was asked for."""

    def __init__(self, server: _CalmServer, listener: socket.socket) -> None:
        self._server = server
        self._listener = listener
        host, port = listener.getsockname()[:2]
        self.address: tuple[str, int] = (host, port)
        self._thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name=f"http-{port}", daemon=True
        )

    def start(self) -> Server:
        """Begin to answer; returns once requests are taken."""
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started and self._thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.005)
        if not self._server.started:
            raise RuntimeError(f"the listener on {self.address[0]}:{self.address[1]} did not start")
        return self

    def stop(self) -> None:
        """Finish running requests (at most STOP_SECONDS) and close."""
        self._server.stop()
        if self._thread.ident is not None:  # else another listener of the process could not be opened
            self._thread.join(STOP_SECONDS + 1)
        self._listener.close()


def serve(
    app: Any,
    listen: str,
    *,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    kind: Literal["wsgi", "asgi"] = "wsgi",
    threads: int = 8,
    connections: int = 1000,
    fair: bool = False,
) -> Server:
    """Prepare a listener for a WSGI or ASGI application on `host:port`; call `.start()` on the result.

    More than `connections` at once are answered 503; `threads` bounds the WSGI requests worked on at once. A WSGI
    request may have MAX_BODY_BYTES; an ASGI application bounds its bodies itself. With `fair` one address has at most a
    quarter of the connections, and further ones of it are cut.
    Raises PortTaken when the address is in use, CannotListen when it cannot be bound at all or TLS not be set up.
    """
    config = _Config(
        _Named(_WholeBody(WSGIMiddleware(app, workers=threads)) if kind == "wsgi" else app),
        http=_ImpatientProtocol,
        loop="pvewatch.serve:ImpatientLoop",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        # Who asks matters to the pages for people only.
        proxy_headers=kind == "wsgi",
        limit_concurrency=connections,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=int(STOP_SECONDS),
        ssl_certfile=tls_cert,
        ssl_keyfile=tls_key,
    )
    config.held = Counter()
    config.per_address = max(1, connections // 4) if fair else None
    try:
        config.load()  # here, not in the thread that serves: only here can somebody be told
    except OSError as error:  # ssl.SSLError is one
        reason = error.strerror or str(error)
        raise CannotListen(
            f"{listen} cannot speak TLS with certificate {tls_cert} and key {tls_key}: {reason}; give PEM files that "
            "belong together and that this user may read"
        ) from error
    return Server(_CalmServer(config), _bind(listen))


def _bind(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, int(port)))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(f"{listen} is taken by another program; end it or choose another address") from error
        raise CannotListen(
            f"{listen} cannot be listened on: {error.strerror}; give an address of this machine, and a port that this "
            "user may open"
        ) from error
    listener.listen(1024)
    return listener
