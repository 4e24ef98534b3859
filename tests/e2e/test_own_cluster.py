"""README's "Your own cluster", followed literally against a server known only by address, fingerprint and token."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from pvewatch.stack.ports import LISTENERS
from tests.e2e.running import Command, free_ports, nothing_is_left, pvewatch, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
# What a person has in their checkout before they begin; it is not taken along from ours.
OWN = {"pvewatch.yaml", "data", "secrets", ".env"}


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of the README."""

    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """The lines a person types into their shell; `# …` lines are for a node of the cluster."""
        return [line.removeprefix("$ ") for line in self.text.splitlines() if line.startswith("$ ")]


@dataclass(frozen=True, slots=True)
class Server:
    """All that the owner of a cluster knows about it."""

    address: str
    fingerprint: str
    token_id: str
    token_secret: str


def blocks_under(heading: str) -> list[Block]:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [Block(found[1], found[2]) for found in re.finditer(r"^```(\w*)\n(.*?)^```$", section, re.M | re.S)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    told = tmp_path / "server" / "simulator.json"
    with pvewatch("simulator", "--name=lab", "--data", told.parent) as command:
        until(lambda: told.exists() or command.process.poll() is not None, "the server")
        said = json.loads(told.read_text())
        token = said["tokens"]["monitor"]
        yield Server(f"{said['host']}:{said['port']}", said["fingerprint"], token["id"], token["secret"])


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that looks like a fresh checkout in which `make tools` has run."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for entry in ROOT.iterdir():
        if entry.name not in OWN:
            (folder / entry.name).symlink_to(entry)
    return folder


def test_the_section_leads_from_nothing_to_figures_in_prometheus(server: Server, checkout: Path) -> None:
    blocks = blocks_under("Your own cluster")
    *before, init, up = [command for block in blocks for command in block.commands]
    assert (init, up) == (".venv/bin/pvewatch init", ".venv/bin/pvewatch up")

    for command in before:
        subprocess.run(["bash", "-c", command], cwd=checkout, check=True, timeout=120)
    # In a session of its own there is no terminal to read the secret from: it is read from standard input.
    answered = subprocess.run(
        init.split(),
        cwd=checkout,
        input=f"{server.address}\ny\n{server.token_id}\n{server.token_secret}\nhome\n",
        start_new_session=True,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert answered.returncode == 0, answered.stdout + answered.stderr
    assert server.fingerprint in answered.stdout
    assert server.token_secret not in answered.stdout + answered.stderr
    for file in (checkout / "pvewatch.yaml", *(checkout / "secrets").iterdir()):
        assert file.stat().st_mode & 0o077 == 0

    # Nothing but the ports differs from what a person does: the usual ones may be taken here.
    ports = free_ports()
    moved = {
        f"PVEWATCH_{listener.section.upper()}_{listener.key.upper()}": f"127.0.0.1:{ports[listener.name]}"
        for listener in LISTENERS
    }
    with Command(*up.split(), cwd=checkout, environment=moved) as running:
        running.says("Ctrl-C stops everything")
        assert re.search(r"first login: admin +password: \S{16,}", running.output), running.output
        until(lambda: guests_in_prometheus(ports["prometheus"]) == 12, "12 guests in Prometheus")
        status = subprocess.run(
            [".venv/bin/pvewatch", "status", "--json"],
            cwd=checkout,
            env={**os.environ, **moved},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        found = json.loads(status.stdout)
        assert status.returncode == 0, status.stdout
        assert {part["name"] for part in found["parts"] if part["state"] == "ok"} >= {
            *("exporter", "action API", "worker", "Prometheus", "Alertmanager")
        }
        assert ["alerts are sent to nobody" in warning for warning in found["warnings"]] == [True]
        assert 'cluster="home"' in requests.get(f"http://127.0.0.1:{ports['exporter']}/metrics", timeout=5).text

        running.send(signal.SIGINT)

        assert running.ends() == 0
        nothing_is_left(running, ports)


def guests_in_prometheus(port: int) -> int:
    answer = requests.get(
        f"http://127.0.0.1:{port}/api/v1/query",
        params={"query": 'count(pve_guest_info{cluster="home"})'},
        timeout=5,
    ).json()
    result = answer["data"]["result"]
    return int(result[0]["value"][1]) if result else 0
