"""What Proxmox VE reports about one node beyond its status, as typed values.

A figure that PVE did not give is None, never 0. Bytes, seconds and ratios (0..1); time stamps are unix seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pvewatch.pve.models import Number


@dataclass(frozen=True, slots=True)
class NodeHistory:
    """The newest row of `GET /nodes/{node}/rrddata`: averages over its minute.

    `pressure` maps (resource, kind) such as ("cpu", "some") to the share of time stalled, PVE 9 only.
    """

    node: str
    at: float
    net_in_bytes_per_second: Number | None
    net_out_bytes_per_second: Number | None
    arc_size_bytes: Number | None
    pressure: Mapping[tuple[str, str], float]


@dataclass(frozen=True, slots=True)
class Service:
    """A service in `GET /nodes/{node}/services`; `state` is systemd's ActiveState.

    `installed` is false where systemd knows no such unit, or it is masked.
    """

    name: str
    state: str
    enabled: bool
    installed: bool


@dataclass(frozen=True, slots=True)
class NodeServices:
    """The services that PVE looks after on one node, by name."""

    node: str
    services: tuple[Service, ...]


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate file of a node. `filename` is without its folder; times are unix seconds."""

    filename: str
    not_after: Number


@dataclass(frozen=True, slots=True)
class NodeCertificates:
    """`GET /nodes/{node}/certificates/info`."""

    node: str
    certificates: tuple[Certificate, ...]


@dataclass(frozen=True, slots=True)
class Subscription:
    """`GET /nodes/{node}/subscription`. `status` is notfound without one; `next_due` is midnight UTC of that day."""

    node: str
    status: str | None
    level: str | None
    next_due: float | None
