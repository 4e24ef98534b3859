"""The HTTPS listener: what of HTTP the real API server speaks, with its non-standard status codes and reason phrases.

The standard library's server is used because the usual frameworks allow neither status 595 nor an own reason phrase.
"""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pvewatch.simulator.answers import Refusal
from pvewatch.simulator.routes import Request

API_PREFIX = "/api2/json"
MOST_CONNECTIONS = 128
_IDLE_SECONDS = 30.0
_PLACE_WAIT_SECONDS = 2.0
_LARGEST_BODY = 512 * 1024
_LARGEST_PATH = 4096
_GZIP_FROM_BYTES = 1024
_TLS_HANDSHAKE = 0x16
_LONGEST_REASON = 512
_MOST_FIELDS = 200


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes out: no body means no Content-Type either, as with 401 and 595."""

    status: int
    reason: str
    body: bytes | None


Responder = Callable[[Request], Reply]


def json_reply(data: object, status: int = 200, reason: str = "OK") -> Reply:
    """A reply with a JSON body."""
    return Reply(status, reason, json.dumps(data, separators=(",", ":")).encode())


def refusal_reply(refusal: Refusal) -> Reply:
    """The reply to a refusal: its text is the reason phrase, the body repeats it."""
    body = refusal.body()
    return Reply(refusal.status, refusal.text, None) if body is None else json_reply(body, refusal.status, refusal.text)


def printable(text: str) -> str:
    """A reason phrase that cannot break the header: one line of Latin-1, not endless."""
    line = "".join(character if character.isprintable() else " " for character in text[:_LONGEST_REASON]).strip()
    return line.encode("latin-1", "replace").decode("latin-1")


class Handler(BaseHTTPRequestHandler):
    """One connection. The TLS handshake happens here, in the connection's own thread."""

    protocol_version = "HTTP/1.1"
    timeout = _IDLE_SECONDS
    # One write for head and body, sent at once: two small ones would wait 40 ms for each other.
    wbufsize = -1
    disable_nagle_algorithm = True
    server: HttpsServer

    def setup(self) -> None:
        """Look at the first byte: TLS goes on encrypted, anything else is sent to https."""
        self.request.settimeout(_IDLE_SECONDS)
        self.encrypted = self.request.recv(1, socket.MSG_PEEK)[:1] == bytes([_TLS_HANDSHAKE])
        if self.encrypted:
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self) -> None:
        """Close the encrypted socket as well: the server only knows the plain one."""
        super().finish()
        self.request.close()

    def version_string(self) -> str:
        """The Server header of the real one."""
        return "pve-api-daemon/3.0"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a log line per request would drown the stack's own."""

    def do_GET(self) -> None:
        """Reads."""
        self._serve()

    def do_POST(self) -> None:
        """Actions."""
        self._serve()

    def do_PUT(self) -> None:
        """Changes of configuration: none is simulated."""
        self._serve()

    def do_DELETE(self) -> None:
        """Ending a task."""
        self._serve()

    def do_HEAD(self) -> None:
        """The real one has no HEAD."""
        self._send(Reply(501, "method 'HEAD' not available", None), close=True)

    def _serve(self) -> None:
        if not self.encrypted:
            host = self.headers.get("Host") or "localhost"
            self._send(
                Reply(301, "Moved Permanently", None), location=f"https://{printable(host)}{self.path}", close=True
            )
            return
        try:
            body = self._read_body()
            reply = self._reply(body)
        except Refusal as refusal:
            self._send(refusal_reply(refusal), close=True)
            return
        if reply.status == 401 and self.server.auth_delay_seconds:
            # Every refused login waits, so that guessing is slow.
            time.sleep(self.server.auth_delay_seconds)
        self._send(reply, close=reply.body is None)

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding"):
            raise Refusal(501, "chunked transfer encoding not supported", empty=True)
        length = self.headers.get("Content-Length", "0")
        if not (length.isascii() and length.isdigit()) or len(length) > 12:
            raise Refusal(400, "bad content length", empty=True)
        if int(length) > _LARGEST_BODY:
            raise Refusal(413, "for data too large", empty=True)
        return self.rfile.read(int(length))

    def _reply(self, body: bytes) -> Reply:
        url = urlsplit(self.path if self.path.startswith("/") else "/" + self.path)
        path = unquote(url.path)
        if len(path) > _LARGEST_PATH:
            raise Refusal(400, "path too long", empty=True)
        if path == "/":
            return Reply(200, "OK", b"<!DOCTYPE html><title>pvewatch simulator</title><p>A simulated Proxmox VE API.")
        if path != API_PREFIX and not path.startswith(API_PREFIX + "/"):
            raise Refusal(501, f"no such file '{path}'", empty=True)
        return self.server.respond(
            Request(
                method=str(self.command),
                path=path.removeprefix(API_PREFIX) or "/",
                parameters=_query(url.query) | _form(self.headers.get_content_type(), body),
                authorization=self.headers.get("Authorization"),
                ticket=_ticket(self.headers.get("Cookie") or ""),
            )
        )

    def _send(self, reply: Reply, *, location: str | None = None, close: bool = False) -> None:
        self.send_response(reply.status, printable(reply.reason))
        self.send_header("Cache-Control", "max-age=0")
        self.send_header("Pragma", "no-cache")
        self.send_header("Connection", "close" if close else "Keep-Alive")
        if location is not None:
            self.send_header("Location", location)
        body = reply.body
        if body is not None:
            if len(body) >= _GZIP_FROM_BYTES and "gzip" in (self.headers.get("Accept-Encoding") or ""):
                body = gzip.compress(body, compresslevel=1)
                self.send_header("Content-Encoding", "gzip")
            kind = "text/html" if body.startswith(b"<!DOCTYPE") else "application/json"
            self.send_header("Content-Type", f"{kind};charset=UTF-8")
            self.send_header("Content-Length", str(len(body)))
        if close:
            self.close_connection = True
        self.end_headers()
        if body is not None:
            self.wfile.write(body)


def _ticket(cookies: str) -> str | None:
    """The login ticket among the cookies, None without one."""
    for pair in cookies.split(";"):
        name, found, value = pair.strip().partition("=")
        if found and name == "PVEAuthCookie":
            return unquote(value)
    return None


def _query(text: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError as error:
        raise Refusal(400, "too many parameters", empty=True) from error


def _form(content_type: str, body: bytes) -> dict[str, str]:
    """The parameters of a body: a JSON object or a form, whose pairs end at ';' as well as at '&'."""
    if not body:
        return {}
    if content_type != "application/json":
        return _query(body.decode("utf-8", "replace").replace(";", "&"))
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(500, "malformed JSON string", empty=True) from error
    if not isinstance(parsed, dict):
        raise Refusal(500, "malformed JSON string", empty=True)
    return {str(key): _text(value) for key, value in parsed.items() if value is not None}


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


class HttpsServer(ThreadingHTTPServer):
    """Listens, and hands each connection to a thread of its own, at most `MOST_CONNECTIONS` at a time."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(
        self,
        address: tuple[str, int],
        respond: Responder,
        certificate_file: Path,
        key_file: Path,
        *,
        auth_delay_seconds: float = 0.0,
    ) -> None:
        self.respond = respond
        self.auth_delay_seconds = auth_delay_seconds
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self.tls.load_cert_chain(certificate_file, key_file)
        self._places = threading.BoundedSemaphore(MOST_CONNECTIONS)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Wait for a free place; who waits too long is turned away."""
        if not self._places.acquire(timeout=_PLACE_WAIT_SECONDS):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection and free its place."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that breaks off or refuses the certificate is its own affair; anything else is a fault of ours."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)
