"""Addresses of guests: what their own systems report, and what their configuration fixes. All are texts, bounded."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any

MOST_ADDRESSES = 32
_CARD = re.compile(r"(net|ipconfig)\d{1,2}", re.ASCII)


def configured_addresses(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Fixed addresses of a configuration: a container's `net0: ip=…`, a VM's `ipconfig0` for cloud-init."""
    found = []
    for key, value in sorted(config.items()):
        if isinstance(value, str) and _CARD.fullmatch(str(key)):
            options = dict(part.partition("=")[::2] for part in value.split(","))
            found += [options.get("ip"), options.get("ip6")]
    return _bounded(found)


def reported_addresses(cards: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Addresses of network cards as a guest's own system names them, `lo` left out.

    Rows of `…/lxc/{vmid}/interfaces` (`inet`, `inet6`, with the prefix' length, and since 8.3 `ip-addresses`) or of
    the result of `…/qemu/{vmid}/agent/network-get-interfaces` (`ip-addresses`).
    """
    found: list[object] = []
    for card in cards:
        if card.get("name") == "lo":
            continue
        listed = card.get("ip-addresses")
        if isinstance(listed, list):
            found += [row.get("ip-address") for row in listed if isinstance(row, dict)]
        found += [card.get("inet"), card.get("inet6")]
    return _bounded(found)


def _bounded(values: Iterable[object]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for value in values:
        text = value.partition("/")[0] if isinstance(value, str) else ""
        try:
            found[str(ipaddress.ip_address(text))] = None
        except ValueError:
            continue  # dhcp, auto, manual, or none
    return tuple(found)[:MOST_ADDRESSES]
