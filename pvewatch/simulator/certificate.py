"""The self-signed certificate that the simulator shows."""

from __future__ import annotations

import ipaddress
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_VALID_DAYS = 825  # the longest that clients with a limit accept


def write_private(path: Path, content: bytes) -> None:
    """Write `content` to `path` with mode 0600, complete or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    part.replace(path)


def ensure(directory: Path, host: str) -> tuple[Path, Path]:
    """cert.pem and key.pem in `directory`, made for localhost, 127.0.0.1 and `host` unless both are there and valid."""
    certificate_file, key_file = directory / "cert.pem", directory / "key.pem"
    if certificate_file.is_file() and key_file.is_file():
        present = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        if present.not_valid_after_utc > datetime.now(UTC) + timedelta(days=1):
            return certificate_file, key_file
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Proxmox VE simulator"),
            x509.NameAttribute(NameOID.COMMON_NAME, "localhost"),
        ]
    )
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=_VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(_names(host)), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    write_private(
        key_file,
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    write_private(certificate_file, certificate.public_bytes(serialization.Encoding.PEM))
    return certificate_file, key_file


def fingerprint(certificate_file: Path) -> str:
    """The SHA-256 fingerprint as Proxmox VE shows it: "AA:BB:…"."""
    certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def _names(host: str) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ]
    try:
        extra: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        extra = x509.DNSName(host)
    return names if extra in names else [*names, extra]
