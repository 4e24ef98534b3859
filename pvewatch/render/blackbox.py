"""blackbox.yml: how each kind of probe looks at a service."""

from __future__ import annotations

from typing import Any

from pvewatch.config import Settings
from pvewatch.probes import Module

_HTTP: dict[str, Any] = {
    # Where a redirect leads is the guest's word: followed, it would lead the probe wherever the guest wants.
    "follow_redirects": False,
    "valid_status_codes": [200, 201, 202, 203, 204, 206, 301, 302, 303, 307, 308],
    "preferred_ip_protocol": "ip4",
}


def blackbox_config() -> dict[str, Any]:
    """One module for each of pvewatch.probes.Module; options: CONFIGURATION.md of prometheus/blackbox_exporter."""
    modules: dict[Module, dict[str, Any]] = {
        "http": {"prober": "http", "http": _HTTP},
        # A guest is probed by its address, and its certificate is made out for a name.
        "http_unverified": {"prober": "http", "http": {**_HTTP, "tls_config": {"insecure_skip_verify": True}}},
        "tcp": {"prober": "tcp", "tcp": {"preferred_ip_protocol": "ip4"}},
        "icmp": {"prober": "icmp", "icmp": {"preferred_ip_protocol": "ip4"}},
    }
    # Below Prometheus' own patience, so that a silent service is a result and not a failed scrape.
    return {"modules": {name: {"timeout": "5s", **module} for name, module in modules.items()}}


def blackbox_flags(settings: Settings) -> list[str]:
    """The command line that belongs to the configuration; the caller adds --config.file."""
    return [f"--web.listen-address={settings.blackbox.listen}"]
