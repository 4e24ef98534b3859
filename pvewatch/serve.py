"""Serving HTTP: one way for every listener, uvicorn in a thread of its own.

uvicorn reads and writes in an event loop, so a slow or silent client costs a socket and never a thread; it also speaks
TLS, which the heartbeat listener needs. WSGI applications run in a bounded pool of threads behind it.
"""

from __future__ import annotations

import errno
import socket
import threading
import time
from pathlib import Path
from typing import Any, Literal

import uvicorn
from a2wsgi import WSGIMiddleware

STOP_SECONDS = 3.0


class PortTaken(Exception):
    """Somebody else listens there already."""


class Server:
    """A running listener. `address` is the real one, also when port 0 was asked for."""

    def __init__(self, server: uvicorn.Server, listener: socket.socket) -> None:
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
        self._server.should_exit = True
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
) -> Server:
    """Prepare a listener for a WSGI or ASGI application on `host:port`; call `.start()` on the result.

    More than `connections` at once are answered 503; `threads` bounds the WSGI requests worked on at once.
    Raises PortTaken when the address is in use, OSError when it cannot be bound at all.
    """
    listener = _bind(listen)
    config = uvicorn.Config(
        WSGIMiddleware(app, workers=threads) if kind == "wsgi" else app,
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=connections,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=int(STOP_SECONDS),
        ssl_certfile=tls_cert,
        ssl_keyfile=tls_key,
    )
    return Server(uvicorn.Server(config), listener)


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
        raise
    listener.listen(1024)
    return listener
