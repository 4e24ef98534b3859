"""From a real Alertmanager 0.25 through the real web process and the real notifications worker to a Gotify stub."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
import yaml

from action_api.store import open_store
from pvewatch.config import Settings, load_settings
from pvewatch.render import write_all
from pvewatch.stack.ports import free_port
from tests.notify.services import Web, web
from tests.rules.servers import alertmanager, wait_until

START_SECONDS = 90.0
"""A process imports much; several that start at once on a busy machine wait for each other."""
GUEST = {"cluster": "home", "node": "pve2", "id": "qemu/101", "kind": "qemu", "vmid": "101", "name": "web"}
DOWN = {"alertname": "GuestDown", "severity": "critical", **GUEST}


class Way:
    """The configuration, and the processes that read it."""

    def __init__(self, folder: Path, service: Web) -> None:
        self.folder = folder
        token = folder / "gotify-token"
        token.write_text("T0KEN")
        token.chmod(0o600)
        monitor = {"token_id": "pvewatch@pve!monitor", "token_secret_env": "UNUSED"}
        document = {
            "clusters": [{"name": "home", "hosts": ["127.0.0.1"], "monitor": monitor}],
            "action_api": {"listen": f"127.0.0.1:{free_port()}"},
            "alertmanager": {
                "listen": f"127.0.0.1:{free_port()}",
                "group_wait_seconds": 0.2,
                "group_interval_seconds": 1,
            },
            "channels": [{"name": "phone", "type": "gotify", "url": service.url, "token": {"file": token.name}}],
        }
        self.file = folder / "pvewatch.yaml"
        self.file.write_text(yaml.safe_dump(document))
        self.settings: Settings = load_settings(self.file)
        write_all(self.settings, folder / "rendered", "native")

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "pvewatch.cli", "--config", str(self.file), *arguments]

    @contextmanager
    def web(self) -> Iterator[subprocess.Popen[bytes]]:
        """The web process; ended by SIGTERM if the test has not killed it."""
        with (
            (self.folder / "web.log").open("ab") as log,
            subprocess.Popen(self.command("action-api"), stdout=log, stderr=log) as process,
        ):
            try:
                wait_until(lambda: self._answers(process), "the web process", START_SECONDS)
                yield process
            finally:
                process.terminate()

    @contextmanager
    def worker(self) -> Iterator[None]:
        with (
            (self.folder / "worker.log").open("ab") as log,
            subprocess.Popen(self.command("worker", "--queue", "notifications"), stdout=log, stderr=log) as process,
        ):
            try:
                yield
            finally:
                process.terminate()

    def _answers(self, process: subprocess.Popen[bytes]) -> bool:
        assert process.poll() is None, (self.folder / "web.log").read_text(encoding="utf-8")
        try:
            return requests.get(f"{self.settings.action_api_url}/-/healthy", timeout=2).status_code == 200
        except requests.ConnectionError:
            return False

    @contextmanager
    def alertmanager(self) -> Iterator[None]:
        config = self.folder / "rendered" / "alertmanager" / "alertmanager.yml"
        with alertmanager(config, self.folder / "storage", url=self.settings.alertmanager_url):
            yield

    def tell(self, *, ended: bool = False) -> None:
        """What Prometheus would say of a guest that is down, or no longer."""
        now = datetime.now(UTC)
        alert = {
            "labels": DOWN,
            "annotations": {"summary": "Guest web is stopped but should run", "description": "For two minutes."},
            "startsAt": (now - timedelta(seconds=5)).isoformat(),
            "endsAt": (now if ended else now + timedelta(minutes=5)).isoformat(),
        }
        requests.post(f"{self.settings.alertmanager_url}/api/v2/alerts", json=[alert], timeout=5).raise_for_status()

    def was_refused(self) -> bool:
        """Whether Alertmanager has tried in vain to hand a message over."""
        page = requests.get(f"{self.settings.alertmanager_url}/metrics", timeout=5).text
        failed = 'alertmanager_notification_requests_failed_total{integration="webhook"} '
        return any(line.startswith(failed) and line != f"{failed}0" for line in page.splitlines())

    def states(self) -> list[str]:
        """Of the relay's messages, as the database has them."""
        store = open_store(self.settings.database_url)
        try:
            return [delivery.state for delivery in store.deliveries.newest()]
        finally:
            store.close()


@pytest.fixture
def service() -> Iterator[Web]:
    with web() as started:
        yield started


@pytest.fixture
def way(tmp_path: Path, service: Web) -> Way:
    return Way(tmp_path, service)


def titles(service: Web) -> list[str]:
    return [body["title"] for body in service.at("/message")]


FIRED = "CRITICAL Guest web is stopped but should run"
ENDED = "RESOLVED Guest web is stopped but should run"


def test_what_fires_and_what_ends_arrives_once_although_the_web_process_is_away_and_then_killed(
    way: Way, service: Web
) -> None:
    with way.alertmanager(), ExitStack() as processes:
        way.tell()
        wait_until(way.was_refused, "Alertmanager's first attempt, while nobody listens")
        with way.web() as first:
            wait_until(lambda: way.states() == ["waiting"], "the accepted message")
            os.kill(first.pid, signal.SIGKILL)
            first.wait()
        assert service.requests == [], "accepted, not delivered"
        processes.enter_context(way.worker())
        processes.enter_context(way.web())
        wait_until(lambda: titles(service) == [FIRED], "what the killed process had accepted", START_SECONDS)
        way.tell(ended=True)
        wait_until(lambda: way.states() == ["sent", "sent"], "both written down as sent")
    assert titles(service) == [FIRED, ENDED]
    assert [body["priority"] for body in service.at("/message")] == [8, 0]
    assert not any("may be a repeat" in body["message"] for body in service.at("/message"))
