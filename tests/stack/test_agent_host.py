"""Real agents live and die with simulated guests; what they send arrives at a listener of the test."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pvewatch.stack import agent_host
from pvewatch.stack.agent_host import AgentGuest, AgentHost
from pvewatch.stack.observe import SimulatedGuest, Unanswered
from pvewatch.stack.processes import Processes, StackError

GUEST = AgentGuest("demo1", "qemu/101")
PATIENCE_SECONDS = 30.0


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.02)


class Inside:
    """A control port with one guest, moved by the test."""

    def __init__(self) -> None:
        self.guest: SimulatedGuest | None = SimulatedGuest("qemu/101", "pve1", "running", alive=True, boot=1)

    def guests(self) -> dict[str, SimulatedGuest]:
        if self.guest is None:
            raise Unanswered("gone")
        return {self.guest.id: self.guest}

    def becomes(self, *, alive: bool, boot: int, status: str = "running") -> None:
        self.guest = SimulatedGuest("qemu/101", "pve1", status, alive=alive, boot=boot)


@pytest.fixture
def heartbeats() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    received: list[dict[str, Any]] = []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Listener) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()


@pytest.fixture
def scene(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heartbeats: tuple[str, list[dict[str, Any]]]
) -> Iterator[tuple[Inside, Processes, AgentHost, list[dict[str, Any]]]]:
    monkeypatch.setattr(agent_host, "pvewatch", lambda *_, **__: ("echo", "v1.demo1.101.token"))
    monkeypatch.setattr(agent_host, "LOOK_SECONDS", 0.05)
    url, received = heartbeats
    inside, processes = Inside(), Processes(tmp_path / "logs", threading.Event())
    control: Any = inside
    host = AgentHost(
        processes,
        {"demo1": control},
        [GUEST],
        tmp_path / "agents",
        config=tmp_path / "pvewatch.yaml",
        url=url,
        interval_seconds=1,
        environment=os.environ,
    )
    host.start()
    yield inside, processes, host, received
    host.stop()
    processes.stop()


Scene = tuple[Inside, Processes, AgentHost, list[dict[str, Any]]]


def test_a_live_guest_sends_heartbeats_and_a_hung_one_falls_silent(scene: Scene) -> None:
    inside, processes, _, received = scene
    until(lambda: len(received) >= 2, "two heartbeats")

    inside.becomes(alive=False, boot=1)

    until(lambda: not processes.running(GUEST.agent), "the end of the agent")
    processes.check()


def test_the_next_boot_has_an_agent_of_its_own_with_another_boot_id(scene: Scene) -> None:
    inside, processes, _, received = scene
    until(lambda: received, "the first heartbeat")
    inside.becomes(alive=False, boot=1)
    until(lambda: not processes.running(GUEST.agent), "the end of the first agent")
    first = received[-1]["boot_id"]

    inside.becomes(alive=True, boot=2)

    until(lambda: received[-1]["boot_id"] != first, "a heartbeat of the second boot")


def test_a_stopped_guest_has_no_agent(scene: Scene) -> None:
    inside, processes, _, _ = scene
    until(lambda: processes.running(GUEST.agent), "the agent")

    inside.becomes(alive=False, boot=1, status="stopped")

    until(lambda: not processes.running(GUEST.agent), "the end of the agent")


def test_agents_go_on_while_the_control_port_does_not_answer(scene: Scene) -> None:
    inside, processes, host, received = scene
    until(lambda: processes.running(GUEST.agent), "the agent")
    inside.guest = None
    before = len(received)

    until(lambda: len(received) > before + 1, "further heartbeats")

    assert host.problem is None


def test_only_the_owner_can_read_the_token(scene: Scene, tmp_path: Path) -> None:
    token = tmp_path / "agents" / "agent-demo1-101.token"

    assert token.read_text() == "v1.demo1.101.token\n"
    assert token.stat().st_mode & 0o077 == 0


def test_a_token_that_cannot_be_made_stops_the_start_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_host, "pvewatch", lambda *_, **__: ("sh", "-c", "echo no such cluster >&2; exit 2"))

    with pytest.raises(StackError, match=r"no heartbeat token for demo1 qemu/101: no such cluster"):
        AgentHost(
            Processes(tmp_path / "logs", threading.Event()),
            {},
            [GUEST],
            tmp_path / "agents",
            config=tmp_path / "pvewatch.yaml",
            url="http://127.0.0.1:1",
            interval_seconds=1,
            environment=os.environ,
        )
