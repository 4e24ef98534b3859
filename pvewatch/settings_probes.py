"""Settings of the probes that guests ask for, and of the blackbox exporter that carries them out."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, Field

from pvewatch.settings_base import Listen, Seconds, Section, Url

_HOST_NAME = re.compile(r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value.strip()))
    except ValueError:
        raise ValueError(f"{value!r} is not a network such as 192.0.2.0/24") from None


def _network_or_host(value: str) -> str:
    try:
        return _network(value)
    except ValueError:
        if _HOST_NAME.fullmatch(value) and not value.replace(".", "").isdigit():
            return value
        raise ValueError(f"{value!r} is neither a network such as 192.0.2.0/24 nor a host name in lower case") from None


class BlackboxSettings(Section):
    """The blackbox exporter that probes guests' services."""

    listen: Listen = "127.0.0.1:9115"
    """Where `pvewatch up` lets it listen."""
    url: Url | None = None
    """Where it answers, when that is not http://<listen>."""


class ProbesSettings(Section):
    """Services of guests that are looked at from outside, where a guest's tags or notes ask for it."""

    enabled: bool = True
    """`false`: nothing is probed, whatever tags and notes ask for."""
    networks: Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], Field(max_length=64)] = ()
    """Only a guest's addresses in these networks are probed; default: all but loopback, link-local and multicast."""
    other_hosts: Annotated[tuple[Annotated[str, AfterValidator(_network_or_host)], ...], Field(max_length=64)] = ()
    """Networks and host names that notes may name besides the guest's own addresses, for whoever edits notes."""
    interval_seconds: Seconds = 30
    """How often each probe is made."""
