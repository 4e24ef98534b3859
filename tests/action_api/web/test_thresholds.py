"""Thresholds set at run time: the command, and what Prometheus is told."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from flask import Flask, Response
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from action_api.maintenance import NotPossible
from action_api.store import Store
from action_api.store import thresholds as stored
from action_api.thresholds import FIGURES, check, missing_in, same_storage
from action_api.thresholds_cli import threshold
from pvewatch.config import Settings, internal_secret
from pvewatch.inventory import INVENTORY_PATH, StorageEntry
from pvewatch.serve import serve
from tests.action_api.web.site import RecordedInventory, Site, settings_for

COMMENT = ("--comment", "the migration")


@dataclass
class Source:
    settings: Settings

    def load(self) -> Settings:
        return self.settings


@pytest.fixture
def command(tmp_path: Path, store: Store) -> Source:
    """No exporter answers."""
    settings = settings_for(tmp_path)
    nowhere = settings.exporter.model_copy(update={"url": "http://127.0.0.1:1"})
    return Source(settings.model_copy(update={"exporter": nowhere}))


def storage(id: str, *, shared: bool) -> StorageEntry:
    _, node, name = id.split("/")
    return StorageEntry(id=id, storage=name, node=node, status="available", shared=shared)


def with_storages() -> RecordedInventory:
    inventory = RecordedInventory(time.time)
    storages = [storage(f"storage/{node}/nfs", shared=True) for node in ("pve1", "pve2", "pve3")]
    inventory.change_cluster("alpha", storages=[*storages, storage("storage/pve1/local", shared=False)])
    return inventory


@pytest.fixture
def answered(command: Source) -> Iterator[Source]:
    """An exporter answers with what was recorded."""
    internal_secret(command.settings, "inventory", create=True)
    app = Flask("exporter")

    @app.get(INVENTORY_PATH)
    def inventory() -> Response:
        return Response(with_storages().fetch().model_dump_json(), content_type="application/json")

    server = serve(app, "127.0.0.1:0").start()
    there = command.settings.exporter.model_copy(update={"url": f"http://127.0.0.1:{server.address[1]}"})
    yield Source(command.settings.model_copy(update={"exporter": there}))
    server.stop()


def run(source: Source, *arguments: str) -> Result:
    return CliRunner().invoke(threshold, arguments, obj=source)


def told(site: Site) -> dict[tuple[str, str, str], float]:
    """What the page for Prometheus says of thresholds: cluster, id and figure → value."""
    page = site.app.test_client().get("/metrics").text
    return {
        (sample.labels["cluster"], sample.labels["id"], sample.labels["figure"]): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "pvewatch_threshold_override"
    }


def test_prometheus_is_told_from_setting_to_clearing(command: Source, site: Site, store: Store) -> None:
    site.clock.now = time.time()
    assert told(site) == {}
    done = run(command, "set", "alpha", "qemu/100", "guest_memory_ratio", "0.99", *COMMENT)
    assert done.exit_code == 0, done.output
    assert "until: pvewatch threshold clear alpha qemu/100 guest_memory_ratio" in done.stderr
    assert "was not checked" in done.stderr, "no exporter answers in this test"
    assert told(site) == {("alpha", "qemu/100", "guest_memory_ratio"): 0.99}

    assert run(command, "clear", "alpha", "qemu/100", "guest_memory_ratio").exit_code == 0
    assert told(site) == {}
    assert [entry.event for entry in store.audit.recent(2)] == ["threshold.cleared", "threshold.set"]
    assert store.audit.recent(1)[0].actor.endswith("(command line)")


def test_one_with_an_end_is_told_until_then(command: Source, site: Site) -> None:
    done = run(command, "set", "alpha", "storage/pve1/local", "storage_usage_ratio", "1", "--for", "2d", *COMMENT)
    assert done.exit_code == 0, done.output
    site.clock.now = time.time() + 2 * 86_400 - 60
    assert told(site) == {("alpha", "storage/pve1/local", "storage_usage_ratio"): 1.0}
    site.clock.now += 120
    assert told(site) == {}


def test_the_list_says_what_who_and_why(command: Source) -> None:
    assert "No threshold is set at run time" in run(command, "list").stderr
    run(command, "set", "alpha", "node/pve1", "node_load_per_cpu", "4", "--for", "8h", *COMMENT)
    run(command, "set", "alpha", "qemu/100", "heartbeat_age_seconds", "600", *COMMENT)
    shown = run(command, "list").stdout
    assert "alpha  node/pve1  node_load_per_cpu  4  until " in shown
    assert "alpha  qemu/100  heartbeat_age_seconds  600\n" in shown
    assert "(command line): the migration" in shown
    node, guest = json.loads(run(command, "list", "--json").stdout)
    assert node["until"] - node["set_at"] == 8 * 3600
    assert (guest["cluster"], guest["id"], guest["figure"], guest["value"], guest["until"]) == (
        "alpha", "qemu/100", "heartbeat_age_seconds", 600.0, None,
    )  # fmt: skip


def test_administrators_see_them_on_a_page(command: Source, site: Site) -> None:
    site.clock.now = time.time()
    alice = site.signed_in("Alice")
    assert "None is set; those of the configuration count." in alice.get("/thresholds").text
    run(command, "set", "alpha", "qemu/100", "guest_cpu_ratio", "0.999", "--for", "2d", "--comment", "<b>a build</b>")
    run(command, "set", "alpha", "storage/pve1/local", "storage_usage_ratio", "1", *COMMENT)
    page = alice.get("/thresholds").text
    assert 'href="/guests/alpha/qemu/100"' in page
    assert ">0.999<" in page
    assert "&lt;b&gt;a build&lt;/b&gt;" in page
    assert "storage/pve1/local" in page
    assert "when it is cleared" in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gamma", "qemu/100", "guest_cpu_ratio", "1"], "'gamma' is not a cluster; known are: alpha, beta"),
        (["alpha", "100", "guest_cpu_ratio", "1"], "'100' is not an id: write for example qemu/101"),
        (["alpha", "storage/local", "storage_usage_ratio", "1"], "'storage/local' is not an id"),
        (["alpha", "node/pve1", "guest_cpu_ratio", "1"], "a node has no threshold 'guest_cpu_ratio'; it has: node_"),
        (["alpha", "qemu/100", "node_load_per_cpu", "1"], "a guest has no threshold 'node_load_per_cpu'; it has: "),
        (["alpha", "qemu/100", "by_tag", "1"], "'by_tag' is not one of"),
        (["alpha", "qemu/100", "guest_cpu_ratio", "95"], "has to be less than or equal to 1; 95 is not"),
        (["alpha", "qemu/100", "guest_cpu_ratio", "0"], "has to be greater than 0; 0 is not"),
        (["alpha", "qemu/100", "guest_cpu_ratio", "nan"], "nan is not"),
        (["alpha", "node/pve1", "node_load_per_cpu", "inf"], "inf is not"),
        (["alpha", "qemu/100", "heartbeat_age_seconds", "nan"], "nan is not"),
        (["alpha", "qemu/100", "guest_cpu_ratio", "much"], "'much' is not a valid float"),
        (["alpha", "qemu/100", "guest_cpu_ratio", "1", "--for", "5s"], "a threshold lasts between 1m and 365d; 5s"),
        (["alpha", "qemu/100", "guest_cpu_ratio", "1", "--for", "2 days"], "is not a duration"),
        (["alpha", "qemu/100", "guest_cpu_ratio", "1", "--comment", " "], "say why, in a comment"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_would(
    command: Source, store: Store, arguments: list[str], words: str
) -> None:
    done = run(command, "set", *COMMENT, *arguments)
    assert done.exit_code == 2, done.output
    assert words in " ".join(done.stderr.split())
    assert store.threshold_overrides.present(now=0) == ()
    assert store.audit.recent() == ()


def test_what_the_exporter_does_not_know_is_refused(answered: Source) -> None:
    for id, figure in (("qemu/999", "guest_cpu_ratio"), ("node/pve9", "node_io_wait_ratio")):
        done = run(answered, "set", "alpha", id, figure, "1", *COMMENT)
        assert done.exit_code == 2
        assert f"alpha has no {id}" in done.stderr
    done = run(answered, "set", "alpha", "qemu/100", "guest_cpu_ratio", "1", *COMMENT)
    assert done.exit_code == 0
    assert "not checked" not in done.stderr


def test_of_a_shared_storage_the_ids_on_the_other_nodes_are_told(answered: Source) -> None:
    shared = run(answered, "set", "alpha", "storage/pve2/nfs", "storage_usage_ratio", "1", *COMMENT)
    assert "set it for: storage/pve1/nfs, storage/pve3/nfs" in shared.stderr
    local = run(answered, "set", "alpha", "storage/pve1/local", "storage_usage_ratio", "1", *COMMENT)
    assert (local.exit_code, "shared" in local.stderr) == (0, False)


def test_more_than_the_metrics_page_can_hold_are_refused(command: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "MAX_PRESENT", 1)
    assert run(command, "set", "alpha", "qemu/100", "guest_cpu_ratio", "1", *COMMENT).exit_code == 0
    done = run(command, "set", "alpha", "qemu/101", "guest_cpu_ratio", "1", *COMMENT)
    assert done.exit_code == 1
    assert "1 thresholds are set at run time already, and no more are taken. Clear some" in done.stderr


def test_clearing_what_is_not_set_fails(command: Source) -> None:
    done = run(command, "clear", "alpha", "qemu/100", "guest_cpu_ratio")
    assert done.exit_code == 1
    assert "see: pvewatch threshold list" in done.stderr


@given(st.text(), st.sampled_from(FIGURES), st.floats())
def test_no_text_becomes_an_id_and_no_value_is_out_of_range(id: str, figure: str, value: float) -> None:
    with pytest.raises(NotPossible):
        check("alpha", f"{id}\n", figure, value, clusters=["alpha"])
    try:
        check("alpha", "qemu/100", figure, value, clusters=["alpha"])
    except NotPossible:
        return
    assert figure.startswith(("guest_", "heartbeat_"))
    assert 0 < value <= 315_360_000


def test_a_cluster_of_which_nothing_is_known_is_not_an_objection() -> None:
    inventory = with_storages()
    inventory.change_cluster("alpha", guests=[], nodes=[], storages=[])
    assert missing_in("alpha", "qemu/999", inventory.fetch()) is None
    assert missing_in("gamma", "qemu/999", inventory.fetch()) is None
    assert missing_in("alpha", "storage/pve1/other", with_storages().fetch()) == "alpha has no storage/pve1/other"
    assert same_storage("gamma", "storage/pve1/nfs", inventory.fetch()) == ()
