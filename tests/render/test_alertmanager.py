"""Routing and inhibition of the rendered alertmanager.yml, judged by amtool and by a real Alertmanager."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from pvewatch.config import Settings
from pvewatch.render import write_all
from pvewatch.stack import tools
from tests.rules.servers import alertmanager, wait_until

GUEST = {"cluster": "lab", "id": "qemu/101", "kind": "qemu", "vmid": "101", "name": "web", "node": "pve1"}
SILENT = {"alertname": "GuestHeartbeatMissing", "severity": "critical", "automation": "recover", **GUEST}


@dataclass
class Webhook:
    """What the stand-in for the action API has been sent."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    authorizations: set[str] = field(default_factory=set)

    def ids(self, status: str) -> list[str]:
        """The guests of every message of that status, in order of arrival."""
        return [m["commonLabels"]["id"] for m in self.messages if m["status"] == status]

    def ids_told(self) -> set[str]:
        """The ids of all alerts in all messages."""
        return {alert["labels"]["id"] for m in self.messages for alert in m["alerts"] if "id" in alert["labels"]}


@pytest.fixture
def webhook() -> Iterator[tuple[str, Webhook]]:
    """An HTTP server that keeps what Alertmanager posts to it."""
    received = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.authorizations.add(self.headers.get("Authorization", ""))
            received.messages.append({"path": self.path, **json.loads(body)})
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", received
        server.shutdown()
        thread.join()


def rendered(tmp_path: Path, **sections: dict[str, Any]) -> Path:
    settings = Settings.model_validate({"data_dir": tmp_path / "data", **sections})
    write_all(settings, tmp_path / "rendered", "native")
    return tmp_path / "rendered" / "alertmanager" / "alertmanager.yml"


def post(url: str, *alerts: dict[str, str], ended: bool = False) -> None:
    now = datetime.now(UTC)
    # An alert that began long ago is sent at once, without the group's wait: Prometheus sends it when it begins.
    body = [
        {
            "labels": labels,
            "startsAt": (now - timedelta(seconds=1) if ended else now).isoformat(),
            "endsAt": (now if ended else now + timedelta(minutes=5)).isoformat(),
        }
        for labels in alerts
    ]
    requests.post(f"{url}/api/v2/alerts", json=body, timeout=5).raise_for_status()


def receivers_of(config: Path, **labels: str) -> list[str]:
    command = [str(tools.find("amtool")), "config", "routes", "test", f"--config.file={config}"]
    done = subprocess.run([*command, *(f"{k}={v}" for k, v in labels.items())], capture_output=True, check=True)
    return done.stdout.decode().strip().split(",")


def test_the_rendered_configuration_is_accepted_by_amtool(tmp_path: Path) -> None:
    command = [str(tools.find("amtool")), "check-config", str(rendered(tmp_path))]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_silent_guest_goes_to_the_action_api_and_to_people(tmp_path: Path) -> None:
    assert receivers_of(rendered(tmp_path), **SILENT) == ["action-api", "people"]


def test_what_is_not_recovered_automatically_goes_to_people_alone(tmp_path: Path) -> None:
    config = rendered(tmp_path)
    for alert in ("NodeDown", "GuestDown", "ExporterBlind", "ExporterDown"):
        assert receivers_of(config, alertname=alert, severity="critical", cluster="lab") == ["people"]


def test_an_alert_of_severity_none_is_sent_to_nobody(tmp_path: Path) -> None:
    assert receivers_of(rendered(tmp_path), alertname="GuestLocked", severity="none") == ["nobody"]


def fast(action_api_url: str) -> dict[str, dict[str, Any]]:
    return {"action_api": {"url": action_api_url}, "prometheus": {"evaluation_interval_seconds": 0.2}}


def test_each_silent_guest_is_sent_by_itself_with_the_secret_and_so_is_its_end(
    tmp_path: Path, webhook: tuple[str, Webhook]
) -> None:
    url, received = webhook
    other = {**SILENT, "id": "qemu/102", "vmid": "102"}
    with alertmanager(rendered(tmp_path, **fast(url)), tmp_path / "alertmanager") as am:
        post(am, SILENT, other)
        wait_until(lambda: len(received.ids("firing")) == 2, "both alerts at the webhook")
        assert sorted(received.ids("firing")) == ["qemu/101", "qemu/102"]
        post(am, SILENT, ended=True)
        wait_until(lambda: received.ids("resolved") == ["qemu/101"], "the end of one alert at the webhook")
    secret = (tmp_path / "data" / "secrets" / "webhook").read_text(encoding="utf-8").strip()
    assert received.authorizations == {f"Bearer {secret}"}
    assert {message["path"] for message in received.messages} == {"/webhook/alertmanager"}
    assert {message["version"] for message in received.messages} == {"4"}


@pytest.mark.parametrize(
    ("source", "spared"),
    [
        pytest.param(
            {"alertname": "NodeDown", "severity": "critical", "cluster": "lab", "id": "node/pve1", "node": "pve1"},
            {**SILENT, "id": "qemu/201", "vmid": "201", "node": "pve2"},
            id="a lost node silences its own guests and no other's",
        ),
        pytest.param(
            {"alertname": "GuestLocked", "severity": "none", "lock": "backup", **GUEST},
            {**SILENT, "id": "qemu/201", "vmid": "201"},
            id="a lock silences its own guest and no other",
        ),
        pytest.param(
            {"alertname": "ExporterBlind", "severity": "critical", "cluster": "lab"},
            {**SILENT, "cluster": "other", "id": "qemu/201", "vmid": "201"},
            id="a cluster that cannot be read silences its own guests and no other's",
        ),
    ],
)
def test_what_explains_a_silent_guest_keeps_it_from_the_action_api(
    tmp_path: Path, webhook: tuple[str, Webhook], source: dict[str, str], spared: dict[str, str]
) -> None:
    url, received = webhook
    with alertmanager(rendered(tmp_path, **fast(url)), tmp_path / "alertmanager") as am:
        post(am, source, SILENT, spared)
        wait_until(lambda: received.ids("firing") == [spared["id"]], "the alert that nothing explains")
        alerts = requests.get(f"{am}/api/v2/alerts", timeout=5).json()
        silent = [a for a in alerts if a["labels"]["alertname"] == SILENT["alertname"]]
        inhibited = {a["labels"]["id"]: bool(a["status"]["inhibitedBy"]) for a in silent}
        assert inhibited == {"qemu/101": True, "qemu/201": False}
        post(am, source, ended=True)
        wait_until(lambda: "qemu/101" in received.ids("firing"), "the silent guest once nothing explains it any more")


def test_people_hear_of_a_silent_guest_only_after_the_time_its_recovery_may_take(tmp_path: Path) -> None:
    assert people_wait(rendered(tmp_path)) == "5m30s"


def test_people_hear_at_once_where_nothing_is_recovered_automatically(tmp_path: Path) -> None:
    assert people_wait(rendered(tmp_path, automation={"enabled": False})) == "30s"


def people_wait(config: Path) -> object:
    routes = yaml.safe_load(config.read_text(encoding="utf-8"))["route"]["routes"]
    return next(r["group_wait"] for r in routes if r["receiver"] == "people")


def told_people(config: Path, url: str, group_wait: str) -> Path:
    """The rendered configuration with a webhook for people, and waits as short as a test can bear."""
    document = yaml.safe_load(config.read_text(encoding="utf-8"))
    people = next(receiver for receiver in document["receivers"] if receiver["name"] == "people")
    people["webhook_configs"] = [{"url": f"{url}/people"}]
    for route in (document["route"], *document["route"]["routes"]):
        route.update({"group_wait": group_wait, "group_interval": "1s"})
    config.write_text(yaml.safe_dump(document), encoding="utf-8")
    return config


def test_a_lost_node_with_two_hundred_guests_makes_a_handful_of_messages_and_none_of_a_guest(
    tmp_path: Path, webhook: tuple[str, Webhook]
) -> None:
    url, received = webhook
    config = told_people(rendered(tmp_path, **fast(url)), url, "2s")
    lost = {"alertname": "NodeDown", "severity": "critical", "cluster": "lab", "id": "node/pve1", "node": "pve1"}
    at_risk = {"alertname": "QuorumAtRisk", "severity": "warning", "cluster": "lab"}
    elsewhere = {**GUEST, "alertname": "GuestDown", "severity": "critical", "id": "qemu/900", "node": "pve2"}
    guests = [{**GUEST, "id": f"qemu/{vmid}", "vmid": str(vmid)} for vmid in range(1000, 1200)]
    # As if every guest's alerts came all the same, and before that of the node.
    storm = [{**SILENT, **guest} for guest in guests]
    storm += [{**guest, "alertname": "GuestDown", "severity": "critical"} for guest in guests]
    with alertmanager(config, tmp_path / "alertmanager") as am:
        post(am, *storm, lost, at_risk)
        # One more, of a guest of another node: by the time it is told, the groups of the storm have been flushed.
        wait_until(lambda: len(received.messages) >= 2, "the messages of the storm")
        post(am, elsewhere)
        wait_until(lambda: "qemu/900" in received.ids_told(), "the message of the other node's guest")
    told = [message["commonLabels"]["alertname"] for message in received.messages]
    assert sorted(told) == ["GuestDown", "NodeDown", "QuorumAtRisk"]
    assert received.ids_told() == {"node/pve1", "qemu/900"}


def test_what_is_only_to_be_logged_is_told_to_nobody(tmp_path: Path, webhook: tuple[str, Webhook]) -> None:
    url, received = webhook
    config = told_people(rendered(tmp_path, **fast(url)), url, "1s")
    with alertmanager(config, tmp_path / "alertmanager") as am:
        post(am, {"alertname": "Watchdog", "severity": "none"})
        post(am, {**SILENT, "alerting": "log"})
        wait_until(lambda: bool(requests.get(f"{am}/api/v2/alerts?inhibited=true", timeout=5).json()), "the alerts")
        post(am, {**SILENT, "id": "qemu/102", "vmid": "102"})
        wait_until(lambda: "qemu/102" in received.ids_told(), "another guest's alert")
    assert received.ids_told() == {"qemu/102"}
