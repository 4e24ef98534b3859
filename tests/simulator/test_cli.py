"""The command in a process of its own: it says where it is, and stops when told."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from pvewatch.simulator.cli import simulator
from tests.simulator.conftest import FIXTURES


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "pvewatch.simulator", "--data", str(tmp_path), "--nodes", "1", "--guests", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        details_file, deadline = tmp_path / "simulator.json", time.monotonic() + 30
        while not details_file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        details = json.loads(details_file.read_text())
        token = details["tokens"]["monitor"]
        header = {"Authorization": f"PVEAPIToken={token['id']}={token['secret']}"}
        url = f"{details['url']}/api2/json/cluster/status"
        rows = requests.get(url, headers=header, verify=details["ca_file"], timeout=10).json()["data"]
        assert [(row["type"], row["nodeid"]) for row in rows] == [("node", 0)]  # a single host has no cluster row
        process.send_signal(number)
        printed, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    assert (process.returncode, errors) == (0, "")
    assert details["url"] in printed
    assert details["fingerprint"] in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--listen", "nonsense"], "is not HOST:PORT"),
        (["--control", "0.0.0.0:0"], "stays on 127.0.0.1"),
        (["--scenario", "nosuch"], "nosuch"),
        (["--scenario", "node-lost", "--nodes", "1"], "there is no pve2"),
        (["--replay", str(Path(__file__).parent)], "no recorded answers"),
        (["--replay", str(FIXTURES / "recorded-8.4"), "--listen", "192.0.2.1:1"], "choose another --listen"),
    ],
)
def test_a_mistake_ends_with_two_and_what_to_do(tmp_path: Path, arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(simulator, ["--data", str(tmp_path), *arguments])
    assert result.exit_code == 2
    assert words in result.output
