"""Addresses of guests: what their own systems report, and what their configuration fixes. All are texts, bounded."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

MOST_ADDRESSES = 32
MOST_CHARACTERS = 64
_CARD = re.compile(r"(net|ipconfig)(\d{1,2})", re.ASCII)


def configured_addresses(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Fixed addresses of a configuration, each once, at most MOST_ADDRESSES."""
    return _bounded(configured_cards(config))


def reported_addresses(cards: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Addresses that a guest's own system names, each once, at most MOST_ADDRESSES."""
    return _bounded(reported_cards(cards))


def configured_cards(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Pairs of network card and fixed address: a container's `net0: ip=…`, a VM's `ipconfig0` for cloud-init."""
    for key, value in sorted(config.items()):
        match = _CARD.fullmatch(str(key))
        if match is not None and isinstance(value, str):
            options = dict(part.partition("=")[::2] for part in value.split(","))
            yield from _pairs(options.get("name") or f"net{match[2]}", (options.get("ip"), options.get("ip6")))


def reported_cards(cards: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Pairs of network card and address as a guest's own system names them, `lo` left out.

    Rows of `…/lxc/{vmid}/interfaces` (`inet`, `inet6`, with the prefix' length, and since 8.3 `ip-addresses`) or of
    the result of `…/qemu/{vmid}/agent/network-get-interfaces` (`ip-addresses`).
    """
    for card in cards:
        name = card.get("name")
        if name == "lo":
            continue
        listed = card.get("ip-addresses")
        given = [row.get("ip-address") for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []
        yield from _pairs(name if isinstance(name, str) else "", (*given, card.get("inet"), card.get("inet6")))


def _pairs(card: str, values: Iterable[object]) -> Iterator[tuple[str, str]]:
    for value in values:
        text = value.partition("/")[0] if isinstance(value, str) else ""
        try:
            yield card[:MOST_CHARACTERS], str(ipaddress.ip_address(text))
        except ValueError:
            continue  # dhcp, auto, manual, or none


def _bounded(pairs: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(address for _, address in pairs))[:MOST_ADDRESSES]
