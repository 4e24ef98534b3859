"""Services that people are told over, as far as a test needs them: they keep what arrives and answer as documented."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default as email_policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from pvewatch.stack.ports import free_port

NASTY = 'web & <b>"mail"</b> *x* _y_ `z` ünïcode 日本 {{ . }} %s'
"""A guest's name that each service's own markup would trip over."""


@dataclass
class Received:
    """One request: its path with the query, its headers in lower case, and its body as JSON."""

    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Web:
    """An HTTP server that keeps what is posted. `refuse` has the status codes of the next answers, before 200."""

    url: str = ""
    requests: list[Received] = field(default_factory=list)
    refuse: list[int] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)
    """While it is cleared, what arrives is kept and not answered."""

    def at(self, path: str) -> list[Any]:
        """The bodies of all requests whose path begins so."""
        return [request.body for request in self.requests if request.path.startswith(path)]


@contextmanager
def web() -> Iterator[Web]:
    """The documented answers: Telegram's Bot API and Gotify want JSON back, Slack the word ok, Discord nothing."""
    kept = Web()
    kept.hold.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            body = json.loads(text) if text.startswith(("{", "[")) else text
            kept.requests.append(Received(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            kept.hold.wait(30)
            status = kept.refuse.pop(0) if kept.refuse else 200
            kind, answer = (
                "application/json",
                b'{"ok":true,"id":1,"result":{"message_id":1,"date":0,"chat":{"id":1,"type":"group"}}}',
            )
            if self.path.startswith("/slack"):
                kind, answer = "text/plain", b"ok"
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        kept.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield kept
        finally:
            server.shutdown()
            thread.join()


class _Mailbox:
    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  aiosmtpd's
        content = envelope.content
        assert isinstance(content, bytes)
        mail = BytesParser(policy=email_policy).parsebytes(content)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 taken"


@contextmanager
def mail_server() -> Iterator[tuple[str, Sequence[EmailMessage]]]:
    """A real SMTP server; gives its address and the mails that have arrived."""
    mailbox = _Mailbox()
    port = free_port()
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield f"127.0.0.1:{port}", mailbox.mails
    finally:
        controller.stop()
