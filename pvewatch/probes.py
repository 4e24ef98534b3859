"""What a guest may ask to be probed, how it is written, and which of it is granted: docs/probes.md for people.

A request stands in a tag (`probe-icmp`, `probe-tcp-22`, `probe-http`, `probe-https-8443`) or in a line of the notes:

    pvewatch-probe: https:8443/health

Whoever may edit a guest's notes could otherwise have any address of the monitoring network asked: granted are the
guest's own addresses, and what the settings name besides.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from pvewatch.settings_probes import ProbesSettings

PROBES_PATH = "/sd/probes"
MOST_PER_GUEST = 8
MOST_CHARACTERS = 256

Module = Literal["http", "http_unverified", "tcp", "icmp"]
Scheme = Literal["http", "https", "tcp", "icmp"]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NOTE = re.compile(r"^[ \t>*`-]*pvewatch-probe:[ \t]*`?([^\s`]+)`?[ \t\r]*$", re.MULTILINE)
# Proxmox VE's tags: lower case, digits, - _ + and . (pve-common src/PVE/JSONSchema.pm, pve-tag).
_TAG = re.compile(r"^probe-(icmp|tcp|https?)(?:-([0-9]{1,5}))?$", re.ASCII)
_OWN = re.compile(r"^(?P<scheme>icmp|tcp|https?)(?::(?P<port>[0-9]{1,5}))?(?P<path>/[!-~]*)?$", re.ASCII)
_ELSEWHERE = re.compile(
    r"^(?P<scheme>icmp|tcp|https?)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>/[!-~]*)?$",
    re.ASCII,
)
_SYNTAX = "write icmp, tcp:PORT, http[:PORT][/PATH], https[:PORT][/PATH], or one of them with ://HOST"


class NotGranted(Exception):
    """A request that is not probed; the message says why and what mends it."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request in parts. `host` None means the guest itself; `path` is empty or begins with /."""

    scheme: Scheme
    host: str | None
    port: int | None
    path: str


@dataclass(frozen=True, slots=True)
class Probe:
    """What the blackbox exporter is told: the module and the target, for the request as it was written."""

    request: str
    module: Module
    target: str


def in_notes(notes: str | None) -> tuple[str, ...]:
    """The requests in a guest's notes; of too many, or of too long ones, just enough to see that they are."""
    found = []
    for match in _NOTE.finditer(notes or ""):
        found.append(match[1][: MOST_CHARACTERS + 1])
        if len(found) > MOST_PER_GUEST:
            break
    return tuple(found)


def in_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """The requests in a guest's tags, in the form of the notes."""
    matches = [match for tag in tags if (match := _TAG.fullmatch(tag))]
    return tuple(f"{match[1]}:{match[2]}" if match[2] else match[1] for match in matches)


def parse(text: str) -> Request:
    """One request in parts. Raises NotGranted for what is none."""
    match = _OWN.fullmatch(text) or _ELSEWHERE.fullmatch(text)
    if match is None or len(text) > MOST_CHARACTERS:
        raise NotGranted(f"not understood; {_SYNTAX}")
    found = match.groupdict()
    scheme: Scheme = found["scheme"]  # type: ignore[assignment]  # the patterns have these four and no others
    port = int(found["port"]) if found["port"] else None
    path = found["path"] or ""
    if port is not None and not 1 <= port <= 65535:
        raise NotGranted(f"{port} is not a port; choose one from 1 to 65535")
    if scheme == "icmp" and (port is not None or path):
        raise NotGranted("icmp has neither port nor path")
    if scheme == "tcp" and (port is None or path):
        raise NotGranted("tcp needs a port and has no path; write tcp:22")
    host = found.get("host")
    return Request(scheme, host.strip("[]") if host else None, port, path)


def grant(text: str, own: Sequence[str], settings: ProbesSettings) -> Probe:
    """What is probed for that request of a guest with those addresses, the preferred first. Raises NotGranted."""
    request = parse(text)
    mine = allowed_addresses(own, settings)
    if request.host is None:
        if not mine:
            raise NotGranted("no address of the guest is known, or none in probes.networks")
        return Probe(text, _module(request, verified=False), _target(request, str(mine[0])))
    address = _address(request.host)
    if address is not None and address in mine:
        return Probe(text, _module(request, verified=False), _target(request, str(address)))
    if not _is_named(request.host, address, settings.other_hosts):
        raise NotGranted(f"{request.host} is no known address of this guest; probes.other_hosts may permit it")
    return Probe(text, _module(request, verified=address is None), _target(request, request.host))


def granted(requests: Iterable[str], own: Sequence[str], settings: ProbesSettings) -> list[Probe | tuple[str, str]]:
    """For each request once, in order, the probe or (request, why not); MOST_PER_GUEST probes at most."""
    found: list[Probe | tuple[str, str]] = []
    for text in list(dict.fromkeys(requests))[: MOST_PER_GUEST + 1]:
        if len(found) == MOST_PER_GUEST:
            found.append((text[:MOST_CHARACTERS], f"a guest may ask for {MOST_PER_GUEST} probes"))
            break
        try:
            found.append(grant(text, own, settings))
        except NotGranted as reason:
            found.append((text[:MOST_CHARACTERS], str(reason)))
    return found


def allowed_addresses(own: Iterable[str], settings: ProbesSettings) -> list[Address]:
    """Those of a guest's addresses that may be probed: in probes.networks, and IPv4 before IPv6.

    What a guest says of itself is not taken for the machine that probes: loopback, link-local, multicast, unspecified
    and mapped addresses are none of its own.
    """
    networks = [ipaddress.ip_network(network) for network in settings.networks]
    found = []
    for text in own:
        address = _address(text)
        if address is None or not _is_ordinary(address):
            continue
        if not networks or any(address in network for network in networks):
            found.append(address)
    return sorted(dict.fromkeys(found), key=lambda address: address.version)


def _is_ordinary(address: Address) -> bool:
    mapped = isinstance(address, ipaddress.IPv6Address) and (
        address.ipv4_mapped or address.sixtofour or address.teredo or address.scope_id
    )
    special = address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified
    return not (mapped or special or str(address) == "255.255.255.255")


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _is_named(host: str, address: Address | None, others: Iterable[str]) -> bool:
    if address is None:
        return host in others
    return any(
        address in ipaddress.ip_network(other) for other in others if _address(other.partition("/")[0]) is not None
    )


def _module(request: Request, *, verified: bool) -> Module:
    if request.scheme in ("tcp", "icmp"):
        return request.scheme
    return "http_unverified" if request.scheme == "https" and not verified else "http"


def _target(request: Request, host: str) -> str:
    written = f"[{host}]" if ":" in host else host
    if request.scheme == "icmp":
        return host
    port = "" if request.port is None else f":{request.port}"
    if request.scheme == "tcp":
        return written + port
    return f"{request.scheme}://{written}{port}{request.path or '/'}"
