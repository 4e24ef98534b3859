"""The simulated clusters of a demonstration: one simulator process each, and the pvewatch.yaml that reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pvewatch.stack.observe import Control
from pvewatch.stack.parts import pvewatch
from pvewatch.stack.ports import LISTENERS, LOOPBACK
from pvewatch.stack.processes import Part

HEARTBEAT_INTERVAL_SECONDS = 5
# The real one renews its statistics every 10 s.
STATISTICS_SECONDS = 2
PROBED_VMID = 100

# Waits that a person can watch: seconds where a real site takes minutes. Everything else is as it ships.
_DEMO_SIZED: dict[str, dict[str, Any]] = {
    "exporter": {
        "poll_interval_seconds": 2,
        "node_interval_seconds": 5,
        "config_interval_seconds": 10,
        "figures_expire_seconds": 30,
        "heartbeat_timeout_seconds": 3 * HEARTBEAT_INTERVAL_SECONDS,
    },
    "action_api": {"require_second_factor": False},
    "automation": {
        "grace_after_boot_seconds": 10,
        "cool_down_seconds": 20,
        "max_attempts": 5,
        "attempt_window_seconds": 600,
        "recovery_timeout_seconds": 60,
        "task_timeout_seconds": 60,
    },
    "prometheus": {"scrape_interval_seconds": 2, "evaluation_interval_seconds": 2},
    "alertmanager": {"group_wait_seconds": 1, "group_interval_seconds": 5, "repeat_interval_seconds": 60},
    "alerting": {"time_scale": 0.05},
    # A simulated guest has no services: the one that asks for a probe names the action API of this machine.
    "probes": {"interval_seconds": 2, "other_hosts": [LOOPBACK]},
}


@dataclass(frozen=True, slots=True)
class Simulated:
    """One simulated cluster, once its simulator has said where it listens."""

    name: str
    host: str
    port: int
    fingerprint: str
    control: Control
    tokens: Mapping[str, Mapping[str, str]]
    folder: Path

    @classmethod
    def read(cls, name: str, folder: Path) -> Simulated:
        """Read the simulator.json that the simulator wrote into its folder."""
        said = json.loads((folder / "simulator.json").read_text(encoding="utf-8"))
        control = Control(said["control_url"], said["control_token"])
        return cls(name, said["host"], int(said["port"]), said["fingerprint"], control, said["tokens"], folder)

    def as_settings(self) -> dict[str, Any]:
        """Its entry in pvewatch.yaml; writes the files that hold the tokens' secrets."""
        entry: dict[str, Any] = {
            "name": self.name,
            "hosts": [f"{self.host}:{self.port}"],
            "fingerprint": self.fingerprint,
        }
        for kind in ("monitor", "power"):
            secret = self.folder / f"{kind}.secret"
            secret.touch(mode=0o600)
            secret.write_text(self.tokens[kind]["secret"] + "\n", encoding="utf-8")
            entry[kind] = {"token_id": self.tokens[kind]["id"], "token_secret_file": str(secret)}
        return entry


def simulator(number: int, guests: int, folder: Path, scenario: str, *, probed: str) -> Part:
    """The process that simulates cluster `number`: the first is a cluster of three, the others are single hosts.

    In each the guest PROBED_VMID asks in its notes that the address `probed` is probed.
    """
    name = cluster_name(number)
    told = folder / "simulator.json"
    told.unlink(missing_ok=True)
    nodes, version = (3, "8.4") if number == 1 else (1, "9.2")
    arguments = [
        "simulator",
        *("--listen", f"{LOOPBACK}:0"),
        *("--control", f"{LOOPBACK}:0"),
        *("--name", name),
        *("--nodes", str(nodes)),
        *("--guests", str(guests)),
        *("--seed", str(number)),
        *("--pve-version", version),
        *("--scenario", scenario),
        *("--refresh-seconds", str(STATISTICS_SECONDS)),
        *("--notes", f"{PROBED_VMID}=pvewatch-probe: {probed}"),
        *("--data", str(folder)),
    ]
    return Part(f"simulator-{name}", pvewatch(*arguments), told.exists, prints_secrets=True)


def cluster_name(number: int) -> str:
    """demo1, demo2 …"""
    return f"demo{number}"


def write_settings(clusters: list[Simulated], chosen_ports: Mapping[str, int], folder: Path) -> Path:
    """Write pvewatch.yaml for the simulated clusters into `folder`; returns its path."""
    document: dict[str, Any] = {"data_dir": "state", "clusters": [cluster.as_settings() for cluster in clusters]}
    document |= {section: dict(values) for section, values in _DEMO_SIZED.items()}
    for listener in LISTENERS:
        section = document.setdefault(listener.section, {})
        section[listener.key] = f"{LOOPBACK}:{chosen_ports[listener.name]}"
    path = folder / "pvewatch.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path
