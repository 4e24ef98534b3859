"""Heartbeat tokens: who speaks is said by the token, never by the message.

A token is derived from one secret and the guest's identity, so nothing is stored per guest, and a broken-into guest can
speak for itself only:

    v1.<cluster>.<vmid>.<hex of HMAC-SHA256(secret, "v1.<cluster>.<vmid>")>

After its n-th revocation a guest's tokens are signed over "v1.<cluster>.<vmid>.<n>": they look the same, and those from
before do not fit any more.
"""

from __future__ import annotations

import hmac
import re

from pvewatch.secrets import Secret

# The names that pvewatch.config takes for clusters hold no dot. VMIDs: 100 to 999999999
# (pve-common, src/PVE/JSONSchema.pm, standard option pve-vmid).
_CLUSTER = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_TOKEN = re.compile(rf"v1\.({_CLUSTER.pattern})\.([1-9][0-9]{{2,8}})\.([0-9a-f]{{64}})")


class TokenRefused(Exception):
    """The token is malformed, or was not derived from this secret for this guest. Says nothing about the token."""


def token(secret: Secret, cluster: str, vmid: int, revocations: int = 0) -> str:
    """The token of the guest `vmid` of the configured `cluster`, whose tokens were revoked that often.

    Raises ValueError when no guest can have such a name or number.
    """
    if not _CLUSTER.fullmatch(cluster):
        raise ValueError(f"{cluster!r} is not a cluster's name: use its name from the configuration")
    if not 100 <= vmid <= 999_999_999:
        raise ValueError(f"{vmid} is not a VMID: Proxmox VE gives numbers from 100 to 999999999")
    identity = f"v1.{cluster}.{vmid}"
    return f"{identity}.{_signature(secret, identity, revocations)}"


def verify(secret: Secret, presented: str, revocations: int = 0) -> tuple[str, int]:
    """The (cluster, vmid) that this token speaks for; the comparison takes the same time wherever it differs.

    Raises TokenRefused.
    """
    match = _TOKEN.fullmatch(presented)
    if match is None:
        raise TokenRefused
    cluster, vmid, signature = match.groups()
    if not hmac.compare_digest(signature, _signature(secret, f"v1.{cluster}.{vmid}", revocations)):
        raise TokenRefused
    return cluster, int(vmid)


def _signature(secret: Secret, identity: str, revocations: int) -> str:
    signed = f"{identity}.{revocations}" if revocations else identity
    return hmac.digest(secret.reveal().encode(), signed.encode(), "sha256").hex()
