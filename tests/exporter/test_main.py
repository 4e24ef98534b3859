"""The exporter as a process: it starts, answers on both listeners, and ends when told to."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import requests

from pvewatch.config import HostPort
from tests.exporter.conftest import TOKEN_SECRET, RecordedCluster
from tests.exporter.running import Running


def test_it_reads_answers_and_ends_cleanly(pve: RecordedCluster, tmp_path: Path, started: list[Running]) -> None:
    exporter = Running(tmp_path, pve.host.address)
    started.append(exporter)
    exporter.wait_for("/-/ready")
    page = exporter.wait_for("/metrics").text
    assert 'pve_guest_status{cluster="lab0",id="qemu/100",status="running"} 1' in page
    refused = requests.post(f"http://127.0.0.1:{exporter.heartbeat_port}/api/v1/heartbeat", json={}, timeout=5)
    assert refused.status_code == 401
    secret = (tmp_path / "data" / "secrets" / "inventory").read_text().strip()
    known = requests.get(
        f"http://127.0.0.1:{exporter.port}/api/v1/inventory", headers={"Authorization": f"Bearer {secret}"}, timeout=5
    )
    assert known.json()["clusters"][0]["name"] == "lab0"
    assert exporter.end() == 0
    assert TOKEN_SECRET not in exporter.log.read_text() + page
    assert secret not in exporter.log.read_text()


def test_a_cluster_that_never_answers_does_not_keep_it_from_ending(tmp_path: Path, started: list[Running]) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        exporter = Running(tmp_path, HostPort(host="127.0.0.1", port=silent.getsockname()[1]))
        started.append(exporter)
        exporter.wait_for("/-/healthy")
        exporter.wait_for("/-/ready", status=503)
        assert exporter.end() == 0


def test_what_is_wrong_with_every_cluster_is_said_before_anything_is_served(tmp_path: Path) -> None:
    (tmp_path / "pvewatch.yaml").write_text(
        "clusters:\n  - {name: one, hosts: [127.0.0.1]}\n"
        "  - {name: two, hosts: [127.0.0.2], monitor: {token_id: 'a@pve!bc', token_secret_env: NOT_SET_ANYWHERE}}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pvewatch.cli", "--config", str(tmp_path / "pvewatch.yaml"), "exporter"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "one: has no monitor token" in done.stderr
    assert "NOT_SET_ANYWHERE" in done.stderr


def test_a_store_that_cannot_be_opened_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "data" / "heartbeats.db").mkdir(parents=True)
    (tmp_path / "pvewatch.yaml").write_text(
        "clusters:\n  - {name: one, hosts: [127.0.0.1], monitor: {token_id: 'a@pve!bc', token_secret_env: MONITOR}}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pvewatch.cli", "--config", str(tmp_path / "pvewatch.yaml"), "exporter"],
        env={**os.environ, "MONITOR": TOKEN_SECRET},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert f"{tmp_path}/data/heartbeats.db: cannot be opened" in done.stderr
    assert "remedy: let the exporter's user write there" in done.stderr
