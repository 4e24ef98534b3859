"""The whole way: real agents, the real exporter over TLS, real Prometheus with shipped rules, a simulated cluster."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from pvewatch.bundle import bundle_path
from pvewatch.stack.observe import Prometheus
from pvewatch.stack.ports import free_port
from tests.agents.ingest import Authority, token_file
from tests.agents.linux_agent import AGENT, environment
from tests.e2e.running import Command, pvewatch, until
from tests.rules.servers import prometheus

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SILENT_SECONDS = 6


@dataclass
class Site:
    """A simulated cluster `lab`, and how its exporter is started."""

    config: Path
    metrics_port: int
    heartbeat_port: int
    authority: Authority
    guests: dict[str, str]

    @contextlib.contextmanager
    def exporter(self) -> Iterator[Command]:
        with pvewatch("--config", self.config, "exporter") as command:
            command.says("heartbeats at port")
            # Until every guest's kind is known, a heartbeat's series has no id to stand under.
            until(lambda: self.has("pve_guest_info", len(self.guests)), "the guests")
            yield command

    def has(self, name: str, number: int) -> bool:
        """Whether a family has at least so many series now."""
        return len(re.findall(rf"^{name}{{", self.page(), re.MULTILINE)) >= number

    def page(self) -> str:
        return requests.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5).text

    def token(self, guest: str) -> str:
        command = [Path(sys.executable).with_name("pvewatch"), "--config", self.config, "agent-token", "lab"]
        return subprocess.run(
            [*command, guest.partition("/")[2]], capture_output=True, text=True, check=True, timeout=60
        ).stdout.strip()


@pytest.fixture
def site(tmp_path: Path, authority: Authority) -> Iterator[Site]:
    told = tmp_path / "simulator" / "simulator.json"
    with pvewatch("simulator", "--name=lab", "--data", told.parent) as command:
        until(lambda: told.exists() or command.process.poll() is not None, "the simulator")
        said = json.loads(told.read_text())
        control = requests.get(
            f"{said['control_url']}/guests", headers={"Authorization": f"Bearer {said['control_token']}"}, timeout=5
        ).json()
        monitor = said["tokens"]["monitor"]
        (tmp_path / "monitor").touch(mode=0o600)
        (tmp_path / "monitor").write_text(monitor["secret"])
        cluster = {
            "name": "lab",
            "hosts": [f"{said['host']}:{said['port']}"],
            "fingerprint": said["fingerprint"],
            "monitor": {"token_id": monitor["id"], "token_secret_file": str(tmp_path / "monitor")},
        }
        made = Site(tmp_path / "pvewatch.yaml", free_port(), free_port(), authority, {})
        settings = {
            "data_dir": str(tmp_path / "data"),
            "clusters": [cluster],
            "exporter": {
                "listen": f"127.0.0.1:{made.metrics_port}",
                "heartbeat_listen": f"127.0.0.1:{made.heartbeat_port}",
                "heartbeat_tls_cert": str(authority.cert),
                "heartbeat_tls_key": str(authority.key),
                "poll_interval_seconds": 1,
                "heartbeat_timeout_seconds": SILENT_SECONDS,
            },
            "prometheus": {"scrape_interval_seconds": 1, "evaluation_interval_seconds": 1},
            "alerting": {"time_scale": 0.02},
        }
        made.config.write_text(yaml.safe_dump(settings), encoding="utf-8")
        made.guests = {guest["id"]: guest["status"] for guest in control}
        yield made


@contextlib.contextmanager
def watched(site: Site, tmp_path: Path) -> Iterator[Prometheus]:
    """A Prometheus with the configuration and the rules that `pvewatch render` writes."""
    with pvewatch("--config", site.config, "render", "--out", tmp_path / "rendered") as render:
        assert render.ends() == 0, render.output
    config = next((tmp_path / "rendered").rglob("prometheus.yml"))
    with prometheus(config, tmp_path / "history") as url:
        yield Prometheus(url)


@contextlib.contextmanager
def agent(site: Site, token: Path, boot_id: str) -> Iterator[subprocess.Popen[bytes]]:
    """A guest's agent; `run`, once a second at most as often as one guest may send."""
    variables = {
        "PVEWATCH_URL": f"https://127.0.0.1:{site.heartbeat_port}",
        "PVEWATCH_CA_FILE": site.authority.ca,
        "PVEWATCH_TOKEN_FILE": token,
        "PVEWATCH_INTERVAL": 2,
        "PVEWATCH_INITIAL_OFFSET": 0,
        "PVEWATCH_BOOT_ID": boot_id,
        "PVEWATCH_SMBIOS_UUID": "",
    }
    with subprocess.Popen([AGENT, "run"], env=environment(None, **variables), start_new_session=True) as process:
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGCONT)
            os.killpg(process.pid, signal.SIGKILL)


def firing(server: Prometheus, alert: str, guest: str) -> bool:
    return bool(server.query(f'ALERTS{{alertname="{alert}", id="{guest}", alertstate="firing"}}'))


def test_a_guest_that_goes_silent_is_told_at_its_threshold_and_no_more_when_it_speaks_again(
    site: Site, tmp_path: Path
) -> None:
    guest = next(guest for guest, status in site.guests.items() if status == "running")
    token = token_file(tmp_path, site.token(guest))
    last_seen = f'pvewatch_heartbeat_last_seen_timestamp_seconds{{id="{guest}"}}'
    with site.exporter(), watched(site, tmp_path) as server, agent(site, token, "first-boot") as process:
        until(lambda: server.query(last_seen), "the guest's heartbeat in Prometheus")
        assert not server.query(f'ALERTS{{id="{guest}", alertname="GuestHeartbeatMissing"}}')

        # The inside hangs: nothing ends, nothing runs.
        os.killpg(process.pid, signal.SIGSTOP)
        until(lambda: firing(server, "GuestHeartbeatMissing", guest), "the alert")
        silent_since = server.number(last_seen)
        # When the rule first held is Prometheus' own word (the value of ALERTS_FOR_STATE, in whole seconds).
        held_since = server.number(f'ALERTS_FOR_STATE{{id="{guest}", alertname="GuestHeartbeatMissing"}}')
        assert held_since > silent_since + SILENT_SECONDS - 1

        os.killpg(process.pid, signal.SIGCONT)
        until(lambda: not firing(server, "GuestHeartbeatMissing", guest), "the end of the alert")
        assert server.number(last_seen) > silent_since


def test_a_cloned_guest_is_told_and_kept_from_automation(site: Site, tmp_path: Path) -> None:
    guest = next(guest for guest, status in site.guests.items() if status == "running")
    token = token_file(tmp_path, site.token(guest))
    with (
        site.exporter(),
        watched(site, tmp_path) as server,
        agent(site, token, "original"),
        agent(site, token, "clone"),
    ):
        until(lambda: firing(server, "GuestIdentityShared", guest), "the alert")
        secret = (tmp_path / "data" / "secrets" / "inventory").read_text().strip()
        inventory = requests.get(
            f"http://127.0.0.1:{site.metrics_port}/api/v1/inventory",
            headers={"Authorization": f"Bearer {secret}"},
            timeout=5,
        ).json()
        entry = next(entry for entry in inventory["clusters"][0]["guests"] if entry["id"] == guest)
        # What the policy of automation refuses by.
        assert entry["heartbeat"]["identity_shared"] is True


def test_kill_9_of_the_exporter_loses_no_heartbeat_that_was_acknowledged(site: Site) -> None:
    """Each guest streams until the exporter is gone; started again, it counts at least what it has answered for."""
    tokens = {guest: site.token(guest) for guest in itertools.islice(site.guests, 6)}
    acknowledged = dict.fromkeys(tokens, 0)
    enough = threading.Semaphore(0)

    def stream(guest: str) -> None:
        for sequence in itertools.count(1):
            try:
                status = send(site, tokens[guest], sequence)
            except (OSError, http.client.HTTPException):
                return
            # Ten at once, then one a second: what comes too often is refused and does not count.
            if status == 204:
                acknowledged[guest] += 1
                enough.release()

    with site.exporter() as exporter:
        senders = [threading.Thread(target=stream, args=(guest,)) for guest in tokens]
        for sender in senders:
            sender.start()
        for _ in range(40):
            assert enough.acquire(timeout=30)
        exporter.process.kill()
        for sender in senders:
            sender.join(30)
            assert not sender.is_alive()

    with site.exporter():
        until(lambda: site.has("pvewatch_heartbeats_received_total", len(tokens)), "the heartbeats")
        page = site.page()
        for guest, count in acknowledged.items():
            found = re.search(rf'^pvewatch_heartbeats_received_total{{cluster="lab",id="{guest}"}} (\S+)', page, re.M)
            assert found is not None
            # One more may be on disk than was heard of: the answer to it was lost with the process.
            assert float(found[1]) in (count, count + 1)
            assert send(site, tokens[guest], 1_000) == 204


def send(site: Site, token: str, sequence: int) -> int:
    message: dict[str, Any] = json.loads((bundle_path("agents") / "heartbeat.example.json").read_text("utf-8"))
    del message["smbios_uuid"]
    message |= {"sequence": sequence, "uptime_seconds": 1000.0 + sequence}
    trusting = ssl.create_default_context(cafile=str(site.authority.ca))
    connection = http.client.HTTPSConnection("127.0.0.1", site.heartbeat_port, timeout=20, context=trusting)
    try:
        connection.request("POST", "/api/v1/heartbeat", json.dumps(message), {"Authorization": f"Bearer {token}"})
        return connection.getresponse().status
    finally:
        connection.close()
