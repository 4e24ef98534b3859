"""The demo of compose.yaml while it runs, as several tests look at it from the outside."""

from __future__ import annotations

import json
import os
import re
from typing import Any

import requests

from pvewatch.stack.observe import Control, SimulatedGuest
from tests.deploy.compose_project import Project
from tests.deploy.test_compose_file import SERVICES as ALL_SERVICES

OWN_USER = "10001"
# The demo is what runs here; the profile postgres has a test of its own.
SERVICES = {name: one for name, one in ALL_SERVICES.items() if one.get("profiles") != ["postgres"]}
ONE_SHOT = {name for name, service in SERVICES.items() if service["restart"] == "no"}
GUESTS, NODES, AGENTS = 12, 3, 4  # the simulator's defaults, and deploy/demo/guests.py
HUNG = "qemu/101"
IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}

CONTROL = """
import json, sys
from pvewatch.stack.observe import Control
told = json.load(open("/demo/simulator/simulator.json"))
Control(told["control_url"], told["control_token"]).hang(sys.argv[1])
"""

LOOK_INSIDE = """
import dataclasses, json
from pvewatch.stack.observe import Control
told = json.load(open("/demo/simulator/simulator.json"))
guests = Control(told["control_url"], told["control_token"]).guests().values()
print(json.dumps([dataclasses.asdict(guest) for guest in guests]))
"""


def query(project: Project, expression: str) -> list[dict[str, Any]]:
    answer = requests.get(
        f"http://{project.address('PROMETHEUS')}/api/v1/query", params={"query": expression}, timeout=10
    )
    answer.raise_for_status()
    found: list[dict[str, Any]] = answer.json()["data"]["result"]
    return found


def number(project: Project, expression: str) -> float:
    """The value of a query that gives one series, 0 for none."""
    found = query(project, expression)
    return float(found[0]["value"][1]) if found else 0.0


def figure(project: Project, part: str, series: str) -> float | None:
    """The value of one series on a part's own /metrics page, None when it is not there or nobody answers."""
    try:
        page = requests.get(f"http://{project.address(part)}/metrics", timeout=5).text
    except requests.RequestException:
        return None
    match = re.search(rf"^{re.escape(series)} (\S+)", page, re.MULTILINE)
    return float(match[1]) if match else None


def last_heartbeat(project: Project, guest: str) -> float | None:
    return figure(project, "EXPORTER", f'pvewatch_heartbeat_last_seen_timestamp_seconds{{cluster="demo",id="{guest}"}}')


class RemoteControl(Control):
    """The simulator's control port, which is open on the loopback of its container only: asked from in there."""

    def __init__(self, project: Project) -> None:
        super().__init__("", "")
        self._project = project

    def guests(self) -> dict[str, SimulatedGuest]:
        rows = json.loads(self._project.compose("exec", "-T", "demo-guests", "python", "-c", LOOK_INSIDE))
        return {row["id"]: SimulatedGuest(**row) for row in rows}

    def hang(self, guest: str) -> None:
        self._project.compose("exec", "-T", "demo-guests", "python", "-c", CONTROL, guest)
