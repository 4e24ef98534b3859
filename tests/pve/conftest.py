"""A TLS server that answers what a test tells it to and notes what it was asked; and a whole simulated cluster."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import ipaddress
import json
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pvewatch.config import Cluster, HostPort, TokenRef
from pvewatch.simulator.server import Options, Simulator

SECRET = "4f6c1d8e-not-to-be-seen"
FIXTURES = Path(__file__).parents[1] / "fixtures"


@dataclass
class Answer:
    """What the server says.

    `drop` closes the connection without an answer, `garble` sends what is not TLS any more, `drips` sends a large body
    byte by byte.
    """

    status: int = 200
    reason: str = "OK"
    body: bytes = b'{"data":{"version":"8.4.21","release":"8.4","repoid":"x"}}'
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False
    garble: bool = False
    drips: bool = False

    @classmethod
    def recorded(cls, name: str) -> Answer:
        """A recorded answer of a running server: status, reason phrase and body as they were."""
        found = json.loads((FIXTURES / name).read_text())
        body = b"" if found["body"] is None else json.dumps(found["body"]).encode()
        return cls(status=found["status"], reason=found["reason"], body=body)


class FakeHost:
    """One host: `answers` is asked with method and path; `asked` and `connections` tell what came in."""

    def __init__(self, folder: Path) -> None:
        self.answer: Callable[[str, str], Answer] = lambda _method, _path: Answer()
        self.asked: list[tuple[str, str, str]] = []
        self.connections = 0
        self.closed = threading.Event()
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                host.connections += 1

            def _reply(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path = self.path.removeprefix("/api2/json")
                host.asked.append((self.command, path, self.headers.get("Authorization", "")))
                answer = host.answer(self.command, path)
                if answer.garble:
                    # Below TLS: the request has arrived whole, and the client cannot decrypt the answer.
                    os.write(self.connection.fileno(), b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
                if answer.drips:
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                    with contextlib.suppress(OSError):  # the client has given up
                        while not host.closed.wait(0.05):
                            self.wfile.write(b" ")
                if answer.drop or answer.garble or answer.drips:
                    self.close_connection = True
                    return
                self.send_response(answer.status, answer.reason)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            do_GET = do_POST = _reply  # noqa: N815  http.server wants these names

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.cert_file, key_file, self.fingerprint = make_certificate(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert_file, key_file)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]  # a refused handshake is expected here
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def address(self) -> HostPort:
        return HostPort(host="127.0.0.1", port=self.port)

    def close(self) -> None:
        self.closed.set()
        self.server.shutdown()
        self.server.server_close()


def make_certificate(folder: Path) -> tuple[Path, Path, str]:
    """A self-signed certificate for 127.0.0.1, its key and its fingerprint."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    digest = hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest().upper()
    return cert_file, key_file, ":".join(digest[i : i + 2] for i in range(0, 64, 2))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[FakeHost]:
    fake = FakeHost(tmp_path / "host")
    yield fake
    fake.close()


@pytest.fixture
def second_host(tmp_path: Path) -> Iterator[FakeHost]:
    fake = FakeHost(tmp_path / "second")
    yield fake
    fake.close()


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    """A simulated cluster with the tokens that a real one would be given."""
    running = Simulator(Options(data=tmp_path / "simulator", auth_delay_seconds=0))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> TokenRef:
    monkeypatch.setenv("TEST_TOKEN_SECRET", SECRET)
    return TokenRef(token_id="pvewatch@pve!monitor", token_secret_env="TEST_TOKEN_SECRET")


def cluster_of(*hosts: FakeHost | HostPort, **trust: Any) -> Cluster:
    """A cluster of these hosts; without `trust` TLS is not verified."""
    addresses = [found.address if isinstance(found, FakeHost) else found for found in hosts]
    return Cluster(name="home", hosts=tuple(addresses), **(trust or {"verify_tls": False}))
