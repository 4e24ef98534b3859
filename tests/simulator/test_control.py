"""The control listener shows the inside of guests and breaks things, for who holds its token."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

from pvewatch.simulator.server import Simulator


@pytest.fixture
def control(simulator: Simulator) -> Callable[..., requests.Response]:
    def ask(method: str, path: str, **more: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {simulator.details['control_token']}"}
        return requests.request(method, simulator.details["control_url"] + path, headers=headers, timeout=10, **more)

    return ask


def inside(control: Callable[..., requests.Response], guest_id: str) -> dict[str, Any]:
    return next(guest for guest in control("GET", "/guests").json() if guest["id"] == guest_id)


def test_a_hang_is_seen_inside_and_ended_by_a_reset(
    control: Callable[..., requests.Response], session: requests.Session, simulator: Simulator
) -> None:
    before = inside(control, "qemu/100")
    assert before["alive"] is True
    assert control("POST", "/faults", json={"fault": "hang", "guest": "qemu/100"}).status_code == 201
    assert inside(control, "qemu/100") == before | {"alive": False}
    url = f"{simulator.details['url']}/api2/json/nodes/{before['node']}/qemu/100/status/reset"
    assert session.post(url, timeout=10).status_code == 200
    deadline = time.monotonic() + 30
    while not inside(control, "qemu/100")["alive"] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert inside(control, "qemu/100") == before | {"boot": before["boot"] + 1}
    assert control("DELETE", "/faults").json() == {"removed": 1}


def test_one_fault_can_be_taken_out_alone(control: Callable[..., requests.Response]) -> None:
    locked = {"fault": "lock", "guest": "qemu/100", "lock": "backup"}
    control("POST", "/faults", json=locked)
    control("POST", "/faults", json={"fault": "status", "code": 403, "path": "^/never$"})
    assert control("DELETE", "/faults", json=locked).json() == {"removed": 1}
    assert [fault["fault"] for fault in control("GET", "/faults").json()] == ["status"]
    control("DELETE", "/faults")
    assert control("GET", "/faults").json() == []


def test_a_mistake_is_answered_with_what_would_be_right(control: Callable[..., requests.Response]) -> None:
    wrong = control("POST", "/faults", json={"fault": "hang", "guest": "qemu/777"})
    assert (wrong.status_code, wrong.json()) == (400, {"error": "guest: there is no qemu/777; GET /guests lists them"})
    assert control("POST", "/faults", data=b"{").status_code == 400
    assert control("GET", "/nosuch").status_code == 404


def test_without_the_token_nothing_is_shown(simulator: Simulator) -> None:
    answer = requests.get(simulator.details["control_url"] + "/guests", timeout=10)
    assert answer.status_code == 401
    assert "simulator.json" in answer.json()["error"]
