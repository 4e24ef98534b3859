"""`pvewatch status` against real pages of the action API, and stand-ins for the others that answer as they do."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from flask import Flask, Response

from action_api.app import create_app
from action_api.store import Store, open_store
from pvewatch.cli import cli
from pvewatch.config import internal_secret, load_settings
from pvewatch.inventory import ClusterEntry, Inventory, InventoryClient
from pvewatch.serve import Server, serve

# As Prometheus 2.42 and Alertmanager 0.25 answer, shortened to what is read.
BUILD = {"status": "success", "data": {"version": "2.42.0+ds", "revision": "unknown"}}
DIRECTED = "route: {receiver: people}\nreceivers: [{name: people, email_configs: [{to: a@example.org}]}]\n"
TO_NOBODY = "route: {receiver: people}\nreceivers: [{name: people}]\n"


@dataclass
class Stack:
    """What the parts answer; a test changes it before it asks."""

    folder: Path
    store: Store
    servers: dict[str, Server]
    cluster: ClusterEntry
    health: str = "up"
    alertmanager: str = DIRECTED
    settings: dict[str, Any] = field(default_factory=dict)

    def status(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli, ["--config", str(self.folder / "pvewatch.yaml"), "status", *arguments])

    def change(self, **values: Any) -> None:
        self.cluster = self.cluster.model_copy(update=values)


def stand_ins(stack: dict[str, Stack]) -> dict[str, Flask]:
    exporter, prometheus, alertmanager = Flask("exporter"), Flask("prometheus"), Flask("alertmanager")

    @exporter.get("/metrics")
    def metrics() -> str:
        return '# TYPE pvewatch_build_info gauge\npvewatch_build_info{version="0.1.0",python="3.11"} 1\n# broken {\n'

    @exporter.get("/api/v1/inventory")
    def inventory() -> Response:
        answer = Inventory(generated_at=time.time(), clusters=[stack["own"].cluster])
        return Response(answer.model_dump_json(), content_type="application/json")

    @prometheus.get("/api/v1/status/buildinfo")
    def build() -> dict[str, Any]:
        return BUILD

    @prometheus.get("/api/v1/targets")
    def targets() -> dict[str, Any]:
        labels = {"job": "pvewatch", "instance": "127.0.0.1:9221"}
        return {"status": "success", "data": {"activeTargets": [{"labels": labels, "health": stack["own"].health}]}}

    @alertmanager.get("/api/v2/status")
    def status() -> dict[str, Any]:
        return {"versionInfo": {"version": "0.25.0"}, "config": {"original": stack["own"].alertmanager}}

    return {"exporter": exporter, "prometheus": prometheus, "alertmanager": alertmanager}


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    own: dict[str, Stack] = {}
    servers = {name: serve(app, "127.0.0.1:0").start() for name, app in stand_ins(own).items()}
    document: dict[str, Any] = {
        name: {"url": f"http://127.0.0.1:{server.address[1]}"} for name, server in servers.items()
    }
    file = tmp_path / "pvewatch.yaml"
    power = {"token_id": "pvewatch-power@pve!main", "token_secret_file": "secrets/power"}
    document |= {
        "clusters": [{"name": "home", "hosts": ["pve1"], "power": power}],
        "grafana": {"listen": "127.0.0.1:9"},
    }
    file.write_text(yaml.safe_dump(document))
    settings = load_settings(file)
    store = open_store(settings.database_url)
    inventory = InventoryClient(settings.exporter_url, internal_secret(settings, "inventory", create=True))
    servers["action_api"] = serve(create_app(settings, store, inventory), "127.0.0.1:0").start()
    document["action_api"] = {"url": f"http://127.0.0.1:{servers['action_api'].address[1]}"}
    file.write_text(yaml.safe_dump(document))
    cluster = ClusterEntry(
        name="home",
        members=["pve1"],
        web_url="https://pve1:8006",
        age_seconds=4.0,
        error=None,
        quorate=True,
        version="9.2.11",
        nodes=[],
        guests=[],
        storages=[],
    )
    own["own"] = Stack(tmp_path, store, servers, cluster)
    store.counters.keep("worker_last_seen", int(time.time()), queue="actions", version="0.1.0")
    yield own["own"]
    for server in servers.values():
        server.stop()
    store.close()


def test_when_all_is_well_one_screen_says_so(stack: Stack) -> None:
    result = stack.status()

    assert result.exit_code == 0, result.output
    for words in ("exporter", "action API", "worker", "2.42.0+ds", "0.25.0", "4 s old", "9.2.11", "All is well."):
        assert words in result.output
    assert "sent to nobody" not in result.output


def test_scripts_get_the_same_as_json(stack: Stack) -> None:
    found = json.loads(stack.status("--json").output)

    assert found["ok"] is True
    assert {part["name"]: part["state"] for part in found["parts"]} == {
        "exporter": "ok",
        "action API": "ok",
        "worker": "ok",
        "Prometheus": "ok",
        "Alertmanager": "ok",
        "Grafana": "off",
    }
    assert {queue["name"] for queue in found["queues"]} == {"incidents", "actions", "notifications"}
    assert found["clusters"][0]["age_seconds"] == 4.0


@pytest.mark.parametrize("part", ["exporter", "action_api", "prometheus", "alertmanager"])
def test_a_part_that_does_not_answer_is_named(stack: Stack, part: str) -> None:
    stack.servers[part].stop()

    result = stack.status()

    assert result.exit_code == 1
    bad = [line for line in result.output.splitlines() if "NOT OK" in line]
    assert any("does not answer" in line and part.replace("_", " ").lower() in line.lower() for line in bad)


def test_figures_that_stand_still_are_not_well(stack: Stack) -> None:
    stack.change(age_seconds=500.0)

    result = stack.status()

    assert result.exit_code == 1
    assert "500 s old" in result.output


def test_a_cluster_that_cannot_be_read_says_why(stack: Stack) -> None:
    stack.change(age_seconds=None, error="pve1:8006 /cluster/resources: 401")

    result = stack.status()

    assert result.exit_code == 1
    assert "no figures" in result.output
    assert "/cluster/resources: 401" in result.output


def test_a_worker_that_is_gone_is_seen_by_its_silence(stack: Stack) -> None:
    stack.store.counters.keep("worker_last_seen", int(time.time()) - 300, queue="actions", version="0.1.0")

    result = stack.status()

    assert result.exit_code == 1
    assert "queue actions, last seen 30" in result.output


def test_of_two_versions_the_one_seen_last_counts(stack: Stack) -> None:
    stack.store.counters.keep("worker_last_seen", int(time.time()) - 9000, queue="actions", version="0.0.9")

    workers = [part for part in json.loads(stack.status("--json").output)["parts"] if part["name"] == "worker"]

    assert [(worker["state"], worker["version"]) for worker in workers] == [("ok", "0.1.0")]


def test_a_target_that_prometheus_cannot_read_is_named(stack: Stack) -> None:
    stack.health = "down"

    result = stack.status()

    assert result.exit_code == 1
    assert "cannot read pvewatch (127.0.0.1:9221)" in result.output


def test_alerts_that_nobody_gets_are_a_warning(stack: Stack) -> None:
    stack.alertmanager = TO_NOBODY

    result = stack.status()

    assert result.exit_code == 0
    assert "warning: alerts are sent to nobody: the receiver people of Alertmanager has no channel" in result.output


def test_each_alertmanager_of_several_is_asked(stack: Stack) -> None:
    file = stack.folder / "pvewatch.yaml"
    document = yaml.safe_load(file.read_text())
    document["alertmanager"]["more_urls"] = ["http://127.0.0.1:9"]
    file.write_text(yaml.safe_dump(document))

    result = stack.status("--json")

    assert result.exit_code == 1
    found = [part for part in json.loads(result.output)["parts"] if part["name"] == "Alertmanager"]
    assert [(part["address"], part["state"]) for part in found] == [
        (document["alertmanager"]["url"], "ok"),
        ("http://127.0.0.1:9", "bad"),
    ]


def test_another_program_on_the_port_is_told_from_ours(stack: Stack) -> None:
    file = stack.folder / "pvewatch.yaml"
    document = yaml.safe_load(file.read_text())
    document["prometheus"], document["alertmanager"] = document["alertmanager"], document["prometheus"]
    file.write_text(yaml.safe_dump(document))

    result = stack.status()

    assert result.exit_code == 1
    assert result.output.count("answers 404") == 2


def test_a_mistake_in_the_configuration_is_exit_2(stack: Stack) -> None:
    (stack.folder / "pvewatch.yaml").write_text("clusters: [{name: X Y}]\n")

    assert stack.status().exit_code == 2
