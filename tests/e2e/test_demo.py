"""`pvewatch demo` as a person meets it: real Prometheus, real Alertmanager, real agents, a simulated cluster."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from pathlib import Path

import pytest
import requests

from tests.e2e.running import demo, free_ports, nothing_is_left, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


def test_every_hop_is_proven_and_nothing_is_left_behind(tmp_path: Path) -> None:
    ports = free_ports()
    with demo(ports, "--check", "--json", "--data", tmp_path / "data") as command:
        status = command.ends(within=300)

        assert status == 0, command.output
        report = json.loads(command.output[command.output.index('{\n  "ok"') :].partition("\n}\n")[0] + "\n}")
        assert report["ok"] is True
        assert [check["check"] for check in report["checks"] if not check["ok"]] == []
        assert len(report["checks"]) >= 15
        nothing_is_left(command, ports)


def test_no_secret_of_the_demo_is_in_a_log(tmp_path: Path) -> None:
    ports, data = free_ports(), tmp_path / "data"
    with demo(ports, "--data", data) as command:
        command.says("Ctrl-C stops everything")
        until(lambda: "heartbeats 8/8" in command.output, "the first heartbeats")
        command.send(signal.SIGINT)
        command.ends()

        password = re.search(r"password: (\S+)", command.output)
        assert password is not None
        secrets = {password[1]}
        for file in [*data.glob("state/secrets/*"), *data.glob("simulators/*/*.secret"), *data.glob("agents/*.token")]:
            secrets.add(file.read_text().strip())
        assert len(secrets) >= 1 + 3 + 4 + 8
        for log in data.glob("state/logs/*.log"):
            text = log.read_text(errors="replace")
            assert [secret for secret in secrets if secret in text] == [], log.name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_however_it_is_ended(tmp_path: Path, number: signal.Signals) -> None:
    ports = free_ports()
    with demo(ports, "--clusters=1", "--data", tmp_path / "data") as command:
        command.says("Ctrl-C stops everything")
        assert requests.get(f"http://127.0.0.1:{ports['prometheus']}/-/ready", timeout=5).ok

        command.send(number)

        assert command.ends() == (-signal.SIGKILL if number is signal.SIGKILL else 0)
        nothing_is_left(command, ports)


@pytest.mark.parametrize("step", ["simulating the cluster demo1", "starting worker", "starting prometheus"])
def test_it_can_be_stopped_while_it_starts(tmp_path: Path, step: str) -> None:
    ports = free_ports()
    with demo(ports, "--clusters=1", "--data", tmp_path / "data") as command:
        command.says(step)

        # As a terminal does: everybody in the foreground is asked.
        os.killpg(command.process.pid, signal.SIGINT)

        assert command.ends() == 0
        nothing_is_left(command, ports)


def test_a_taken_port_is_named_with_its_remedy_before_anything_starts(tmp_path: Path) -> None:
    ports = free_ports()
    with socket.socket() as other:
        other.bind(("127.0.0.1", ports["alertmanager"]))
        other.listen()
        with demo(ports, "--data", tmp_path / "data") as command:
            assert command.ends() == 1

            assert f"127.0.0.1:{ports['alertmanager']} is taken by another program" in command.output
            assert "--port alertmanager=PORT" in command.output
            assert not (tmp_path / "data").exists()


def test_a_part_that_dies_is_named_with_its_log_and_everything_is_stopped(tmp_path: Path) -> None:
    ports = free_ports()
    with demo(ports, "--clusters=1", "--data", tmp_path / "data") as command:
        command.says("Ctrl-C stops everything")
        simulator = until(
            lambda: [pid for pid in command.left_behind() if b"simulator" in Path(f"/proc/{pid}/cmdline").read_bytes()],
            "the simulator",
        )

        for pid in simulator:
            os.kill(pid, signal.SIGKILL)

        assert command.ends() == 1
        assert "simulator-demo1 was ended by SIGKILL" in command.output
        nothing_is_left(command, ports)
