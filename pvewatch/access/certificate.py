"""The certificate that a host shows, so that a person can compare it and pvewatch pin it."""

from __future__ import annotations

import hashlib
import socket
import ssl

from pvewatch.config import HostPort

CONNECT_SECONDS = 10.0


class NoCertificate(Exception):
    """The host showed none; the message names the host, the reason and the remedy."""


def shown_fingerprint(host: HostPort) -> str:
    """The SHA-256 fingerprint (AA:BB:…) of the certificate that `host` shows; nothing is sent but the handshake.

    Who answers is not verified: that is what the fingerprint is compared for. Raises NoCertificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host.host, host.port), timeout=CONNECT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host.host) as secured,
        ):
            certificate = secured.getpeercert(binary_form=True)
    except ssl.SSLError as error:
        reason = f"does not speak TLS ({error.reason or error}); is {host.port} the port of the web interface?"
        raise NoCertificate(f"{host} {reason}") from error
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "no answer in time"
        remedy = "is it the address of a Proxmox VE host, and is pveproxy running there?"
        raise NoCertificate(f"{host} cannot be reached: {reason}; {remedy}") from error
    digest = hashlib.sha256(certificate or b"").hexdigest().upper()
    return ":".join(digest[i : i + 2] for i in range(0, 64, 2))
