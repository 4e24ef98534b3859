"""The relay as Alertmanager and an administrator see it: accepted means stored, nothing is lost, repeats say so."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from flask.testing import FlaskClient

from action_api.app import create_app
from action_api.notifiers.loop import NotificationWorker
from action_api.store import Store, open_store
from pvewatch.cli import cli
from pvewatch.config import Secret, load_settings
from pvewatch.inventory import Inventory
from tests.notify.messages import alert, message
from tests.notify.services import Web, web
from tests.rules.servers import wait_until

PATIENCE_SECONDS = 90.0
"""A process imports much, and on a busy machine that takes its time."""
SECRET = "the-webhook-secret"
BEARER = {"Authorization": f"Bearer {SECRET}"}


class NoInventory:
    def fetch(self) -> Inventory:
        return Inventory(generated_at=0, clusters=[])


class Relay:
    """A configuration with one Gotify channel, its database, and the web process' routes."""

    def __init__(self, folder: Path, service: Web) -> None:
        self.folder = folder
        token = folder / "gotify-token"
        token.write_text("T0KEN")
        token.chmod(0o600)
        monitor = {"token_id": "pvewatch@pve!monitor", "token_secret_env": "UNUSED"}
        document = {
            "clusters": [{"name": "home", "hosts": ["127.0.0.1"], "monitor": monitor}],
            "channels": [{"name": "phone", "type": "gotify", "url": service.url, "token": {"file": "gotify-token"}}],
        }
        self.file = folder / "pvewatch.yaml"
        self.file.write_text(yaml.safe_dump(document))
        self.settings = load_settings(self.file)
        self.store: Store = open_store(self.settings.database_url)
        self.web: FlaskClient = create_app(
            self.settings, self.store, NoInventory(), webhook_secret=Secret(SECRET)
        ).test_client()

    def post(self, body: dict[str, Any], channel: str = "phone", headers: dict[str, str] = BEARER) -> Any:
        return self.web.post(f"/webhook/notify/{channel}", json=body, headers=headers)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "pvewatch.cli", "--config", str(self.file), *arguments]

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli, ["--config", str(self.file), "notify", *arguments])

    @contextmanager
    def working(self) -> Iterator[None]:
        """The worker's loop in a thread, for what does not depend on its being a process."""
        worker = NotificationWorker(self.settings, self.store)
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            yield
        finally:
            worker.stop()
            thread.join()

    @contextmanager
    def worker(self) -> Iterator[subprocess.Popen[bytes]]:
        """The notifications worker as a process; ended by SIGTERM."""
        with (
            (self.folder / "worker.log").open("ab") as log,
            subprocess.Popen(self.command("worker", "--queue", "notifications"), stdout=log, stderr=log) as process,
        ):
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                    assert process.wait(timeout=8) == 0

    def let_leases_lapse(self) -> None:
        """As if the time had passed that a worker has for one message."""
        with sqlite3.connect(self.settings.data_dir / "action_api.db") as database:
            database.execute("UPDATE deliveries SET lease_until = 0 WHERE state = 'sending'")
        database.close()

    def states(self) -> list[str]:
        return [delivery.state for delivery in self.store.deliveries.newest()]


@pytest.fixture
def service() -> Iterator[Web]:
    with web() as running:
        yield running


@pytest.fixture
def relay(tmp_path: Path, service: Web) -> Iterator[Relay]:
    made = Relay(tmp_path, service)
    yield made
    made.store.close()


def test_accepted_means_stored(relay: Relay) -> None:
    answer = relay.post(message(alert()))
    assert answer.status_code == 202
    (kept,) = open_store(relay.settings.database_url).deliveries.newest()
    assert (kept.id, kept.channel, kept.state) == (answer.json["delivery"], "phone", "waiting")


def test_a_message_whose_answer_was_lost_is_kept_once(relay: Relay) -> None:
    relay.post(message(alert()))
    assert relay.post(message(alert())).json == {"delivery": None, "repeated": True}
    assert relay.post(message(alert(status="resolved"))).json["repeated"] is False
    assert relay.states() == ["waiting", "waiting"]


@pytest.mark.parametrize(
    ("status", "headers", "channel", "change", "named"),
    [
        (401, {}, "phone", {}, "bearer"),
        (401, {"Authorization": "Bearer wrong"}, "phone", {}, "bearer"),
        (404, BEARER, "nobody", {}, "nobody"),
        (422, BEARER, "phone", {"version": "3"}, "version"),
        (422, BEARER, "phone", {"groupKey": 5}, "groupKey"),
        (422, BEARER, "phone", {"alerts": [{"status": "burning"}]}, "alerts.0.status"),
    ],
)
def test_what_is_wrong_is_refused_and_named(
    relay: Relay, status: int, headers: dict[str, str], channel: str, change: dict[str, Any], named: str
) -> None:
    answer = relay.post(message(alert()) | change, channel, headers)
    assert answer.status_code == status
    assert named in answer.get_data(as_text=True)
    assert relay.states() == []


def test_a_full_queue_is_refused_so_that_alertmanager_tries_again(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("action_api.store.deliveries.MAX_WAITING_PER_CHANNEL", 1)
    relay.post(message(alert()))
    answer = relay.post(message(alert("web1", 102)))
    assert answer.status_code == 503
    assert "worker --queue notifications" in answer.get_data(as_text=True)


def test_the_worker_delivers_in_order_and_ends_in_time(relay: Relay, service: Web) -> None:
    relay.post(message(alert()))
    relay.post(message(alert(status="resolved")))
    with relay.worker():
        wait_until(lambda: relay.states() == ["sent", "sent"], "both messages", PATIENCE_SECONDS)
    assert [body["title"].partition(" ")[0] for body in service.at("/message")] == ["CRITICAL", "RESOLVED"]
    page = relay.web.get("/metrics").get_data(as_text=True)
    assert 'pvewatch_notifications_total{channel="phone",outcome="sent"} 2.0' in page


def test_a_message_that_is_refused_goes_out_when_the_service_is_back(
    relay: Relay, service: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("action_api.notifiers.loop.FIRST_WAIT_SECONDS", 0.1)
    service.refuse = [500]
    relay.post(message(alert()))
    with relay.working():
        wait_until(lambda: relay.states() == ["sent"], "the second attempt")
    (kept,) = relay.store.deliveries.newest()
    assert kept.attempts == 2
    assert "may be a repeat" not in service.at("/message")[1]["message"], "the service has said that it took nothing"


def test_a_killed_worker_loses_nothing_and_its_successor_says_that_it_may_repeat(relay: Relay, service: Web) -> None:
    relay.post(message(alert()))
    relay.post(message(alert("web1", 102)))
    service.hold.clear()
    with relay.worker() as process:
        wait_until(lambda: len(service.requests) == 1, "the first message to be under way", PATIENCE_SECONDS)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    service.hold.set()
    assert sorted(relay.states()) == ["sending", "waiting"]
    relay.let_leases_lapse()
    with relay.working():
        wait_until(lambda: relay.states() == ["sent", "sent"], "both messages")
    told = {("101" in body["title"], "may be a repeat" in body["message"]) for body in service.at("/message")[1:]}
    assert told == {(True, True), (False, False)}


def test_what_is_given_up_is_listed_and_can_be_retried(relay: Relay, service: Web) -> None:
    relay.post(message(alert()))
    taken = relay.store.deliveries.claim_due("w", now=time.time(), lease_seconds=60)
    assert taken is not None
    relay.store.deliveries.failed(taken, "401 Unauthorized", now=time.time(), next_at=None)
    listed = json.loads(relay.run("list", "--dead", "--json").stdout)
    assert [(row["id"], row["state"], row["last_error"]) for row in listed] == [(taken.id, "dead", "401 Unauthorized")]
    assert "401 Unauthorized" in relay.run("list").stdout
    assert relay.run("retry", str(taken.id)).stdout == "1 messages wait again.\n"
    with relay.working():
        wait_until(lambda: relay.states() == ["sent"], "the retried message")
    again = relay.run("retry", str(taken.id))
    assert (again.exit_code, "no dead letters" in again.stderr) == (1, True)


def test_notify_test_shows_what_the_service_answers(relay: Relay, service: Web) -> None:
    good = relay.run("test")
    assert (good.exit_code, good.stdout) == (0, "✓ phone: gotify has taken it\n")
    assert service.at("/message")[0]["title"] == "INFO This is a sample: pvewatch can reach you here"
    service.refuse = [403]
    bad = relay.run("test", "phone", "--json")
    assert bad.exit_code == 1
    (row,) = json.loads(bad.stdout)
    assert (row["delivered"], "403" in row["answer"]) == (False, True)
    unknown = relay.run("test", "nobody")
    assert (unknown.exit_code, "known are: phone" in unknown.stderr) == (2, True)


def test_the_notifications_worker_holds_no_way_to_proxmox_ve() -> None:
    code = (
        "import sys, action_api.notifiers.loop; "
        "print([m for m in sys.modules if m.startswith(('proxmoxer', 'pvewatch.pve'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
