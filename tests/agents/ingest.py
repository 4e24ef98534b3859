"""The real ingest, over TLS with an authority of its own, and what an agent needs to reach it."""

from __future__ import annotations

import datetime
import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from exporter.heartbeats.http import HeartbeatApp
from exporter.heartbeats.record import Record
from exporter.heartbeats.schema import Heartbeat
from exporter.heartbeats.store import HeartbeatStore
from exporter.heartbeats.tokens import token
from pvewatch.secrets import Secret

SECRET = Secret("a-secret-of-43-characters-like-the-real-one")
TOKEN = token(SECRET, "home", 101)


def await_true(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come about"
        time.sleep(0.01)


@dataclass
class Authority:
    ca: Path
    cert: Path
    key: Path


def make_authority(directory: Path) -> Authority:
    """An authority, and a certificate of it for 127.0.0.1, valid for a day."""
    now = datetime.datetime.now(datetime.UTC)

    def certificate(
        name: str, public: ec.EllipticCurvePublicKey, signer: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> bytes:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")]))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(extension, critical=False)
            .sign(signer, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )

    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    made = Authority(directory / "ca.pem", directory / "cert.pem", directory / "key.pem")
    made.ca.write_bytes(certificate("authority", ca_key.public_key(), ca_key, x509.BasicConstraints(True, None)))
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made.cert.write_bytes(certificate("exporter", key.public_key(), ca_key, alternative))
    made.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made


@dataclass
class Ingest:
    url: str
    store: HeartbeatStore
    app: HeartbeatApp

    def count(self) -> int:
        record = self.store.get("home", 101)
        return record.count if record else 0

    def record(self) -> Record:
        record = self.store.get("home", 101)
        assert record is not None
        return record

    def heartbeat(self) -> Heartbeat:
        payload = self.record().payload
        assert payload is not None
        return payload.heartbeat()


def token_file(tmp_path: Path, text: str = TOKEN, mode: int = 0o600) -> Path:
    file = tmp_path / "agent.token"
    file.touch(mode=0o600)
    file.write_text(f"{text}\n", encoding="utf-8")
    file.chmod(mode)
    return file
