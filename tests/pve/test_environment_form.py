"""The environment-only form, as a person uses it: two addresses of one simulated cluster, and nothing in a file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from pvewatch.simulator.server import Simulator
from pvewatch.stack.ports import free_port
from tests.e2e.running import pvewatch, until


@pytest.fixture
def environment(simulator: Simulator) -> dict[str, str]:
    """PROXMOX_NODE_1_* and _2_*, which are one cluster."""
    told = simulator.details
    variables: dict[str, str] = {}
    for number, host in ((1, "127.0.0.1"), (2, "localhost")):
        variables |= {
            f"PROXMOX_NODE_{number}_{field}": value
            for field, value in {
                "NAME": f"pve{number}",
                "HOST": f"{host}:{told['port']}",
                "FINGERPRINT": told["fingerprint"],
                "TOKEN_ID": told["tokens"]["monitor"]["id"],
                "TOKEN_SECRET": told["tokens"]["monitor"]["secret"],
                "POWER_TOKEN_ID": told["tokens"]["power"]["id"],
                "POWER_TOKEN_SECRET": told["tokens"]["power"]["secret"],
            }.items()
        }
    return variables


def run(*arguments: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PVEWATCH_", "PROXMOX_"))}
    return subprocess.run(
        [Path(sys.executable).with_name("pvewatch"), *arguments],
        cwd=folder,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_check_asks_every_host_and_repeats_no_secret(tmp_path: Path, environment: dict[str, str]) -> None:
    done = run("check", folder=tmp_path, environment=environment)

    assert done.returncode == 0, done.stdout + done.stderr
    assert environment["PROXMOX_NODE_1_HOST"] in done.stdout
    assert environment["PROXMOX_NODE_2_HOST"] in done.stdout
    assert "may start, shut down and reset guests on /" in done.stdout
    for name, value in environment.items():
        if name.endswith("_SECRET"):
            assert value not in done.stdout + done.stderr


def test_the_exporter_shows_two_addresses_of_one_cluster_once_and_needs_no_power_secret(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    listen = f"127.0.0.1:{free_port()}"
    environment |= {"PVEWATCH_EXPORTER_LISTEN": listen, "PVEWATCH_EXPORTER_HEARTBEAT_LISTEN": "127.0.0.1:0"}
    for number in (1, 2):
        del environment[f"PROXMOX_NODE_{number}_POWER_TOKEN_SECRET"]
        environment[f"PROXMOX_NODE_{number}_POWER_TOKEN_SECRET_FILE"] = "only-the-worker-may-read-this"

    def page() -> str:
        try:
            answer = requests.get(f"http://{listen}/metrics", timeout=5).text
        except requests.ConnectionError:
            return ""
        return answer if "pve_guest_info{" in answer else ""

    with pvewatch("exporter", cwd=tmp_path, environment=environment) as exporter:
        figures = until(lambda: page() or exporter.process.poll() is not None, "the figures of the guests")
        assert exporter.process.poll() is None, exporter.output
    assert figures.count('pve_guest_info{cluster="pve1",id="qemu/101"') == 1
    assert 'cluster="pve2"' not in figures

    # An agent with a token for the other name would be refused for ever.
    refused = run("agent-token", "pve2", "101", folder=tmp_path, environment=environment)
    assert refused.returncode == 2
    assert "'pve2' is not a cluster; known are: pve1" in refused.stderr
    given = run("agent-token", "pve1", "101", folder=tmp_path, environment=environment)
    assert given.stdout.startswith("v1.pve1.101.")
