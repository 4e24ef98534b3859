"""Which threshold and which alerting mode a guest, node or storage gets, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from exporter.thresholds import alerting_mode, guest_thresholds
from pvewatch.config import AlertingSettings, Thresholds, load_settings
from pvewatch.pve.models import Guest
from pvewatch.pve.parsers import guest
from tests.exporter.conftest import Bench, Clock, RecordedCluster


def tagged(tags: str) -> Guest:
    row = {"id": "qemu/101", "type": "qemu", "vmid": 101, "node": "pve1", "status": "running", "tags": tags}
    found = guest(row, "qemu")
    assert found is not None
    return found


RULES = Thresholds.model_validate(
    {
        "guest_memory_ratio": 0.9,
        "by_tag": {"prod": {"guest_memory_ratio": 0.8}, "db": {"guest_memory_ratio": 0.7, "guest_cpu_ratio": 0.6}},
        "by_guest": {"lab/101": {"guest_filesystem_ratio": 0.5}},
    }
)


def test_what_is_said_of_a_guest_goes_before_its_tags_and_those_before_everybody() -> None:
    found = guest_thresholds(tagged("db;prod"), "lab", RULES)
    assert found == {
        # Of two tags the one that the configuration names first, for each figure by itself.
        "guest_memory_ratio": 0.8,
        "guest_cpu_ratio": 0.6,
        "guest_filesystem_ratio": 0.5,
        "guest_snapshot_age_seconds": 2_592_000,
    }
    assert guest_thresholds(tagged(""), "other", RULES)["guest_memory_ratio"] == 0.9


@pytest.mark.parametrize(
    ("tags", "mode"),
    [("", "normal"), ("prod", "normal"), ("scratch", "log"), ("scratch;lab", "off"), ("scratchy", "normal")],
)
def test_the_strictest_of_a_guests_tags_says_who_is_told(tags: str, mode: str) -> None:
    alerting = AlertingSettings.model_validate({"mode_by_tag": {"prod": "normal", "scratch": "log", "lab": "off"}})
    assert alerting_mode(tagged(tags), "home", alerting) == mode


def test_a_guests_own_mode_goes_before_its_tags() -> None:
    alerting = AlertingSettings.model_validate({"mode_by_tag": {"lab": "off"}, "mode_by_guest": {"home/101": "normal"}})
    assert alerting_mode(tagged("lab"), "home", alerting) == "normal"
    assert alerting_mode(tagged("lab"), "work", alerting) == "off"


CLUSTERS = "clusters: [{name: home, hosts: [pve1]}]\n"


def test_a_bare_off_in_yaml_means_off(tmp_path: Path) -> None:
    file = tmp_path / "pvewatch.yaml"
    file.write_text(CLUSTERS + "alerting: {mode_by_tag: {lab: off, prod: on}}\n", encoding="utf-8")
    assert load_settings(file, {}).alerting.mode_by_tag == {"lab": "off", "prod": "normal"}


def test_the_environment_sets_what_is_for_all(tmp_path: Path) -> None:
    file = tmp_path / "pvewatch.yaml"
    file.write_text(CLUSTERS + "thresholds: {guest_cpu_ratio: 0.5}\n", encoding="utf-8")
    found = load_settings(file, {"PVEWATCH_THRESHOLDS_GUEST_MEMORY_RATIO": "0.7"}).thresholds
    assert (found.guest_memory_ratio, found.guest_cpu_ratio) == (0.7, 0.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"guest_memory_ratio": 95},
        {"guest_memory_ratio": 0},
        {"by_guest": {"101": {"guest_cpu_ratio": 0.5}}},
        {"by_tag": {"prod": {"node_memory_ratio": 0.5}}},
        {"by_node": {"pve1": {"node_memory_ratio": 0.5}}},
    ],
)
def test_a_threshold_that_means_nothing_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Thresholds.model_validate(wrong)


def test_every_guest_node_and_storage_has_its_thresholds_and_a_template_none(
    pve: RecordedCluster, make_bench: Callable[..., Bench]
) -> None:
    bench = make_bench(pve)
    pve.row("lxc/200", template=1)
    bench.poll()
    assert bench.value("pvewatch_threshold", id="qemu/100", figure="guest_memory_ratio") == 0.95
    assert bench.value("pvewatch_threshold", id="qemu/100", figure="heartbeat_age_seconds") == 180
    assert bench.value("pvewatch_threshold", id="node/pve1", figure="node_rootfs_ratio") == 0.9
    assert bench.value("pvewatch_threshold", id="storage/pve1/local", figure="storage_usage_ratio") == 0.9
    assert not [line for line in bench.lines("pvewatch_threshold") if 'id="lxc/200"' in line]
    assert bench.lines("pvewatch_alerting_mode") == []


def test_a_configuration_read_again_counts_at_the_next_answer_and_makes_no_second_series(
    pve: RecordedCluster, make_bench: Callable[..., Bench], clock: Clock
) -> None:
    bench = make_bench(pve)
    bench.poll()
    before = len(bench.lines("pvewatch_threshold"))
    exporter = bench.exporter
    changed = exporter.settings.model_copy(
        update={
            "thresholds": Thresholds.model_validate({"by_guest": {"lab/100": {"guest_cpu_ratio": 0.5}}}),
            "alerting": AlertingSettings.model_validate({"mode_by_guest": {"lab/100": "log"}}),
        }
    )
    exporter.reload(changed, exporter.groups)
    clock.now += 10
    bench.poll()
    assert bench.value("pvewatch_threshold", id="qemu/100", figure="guest_cpu_ratio") == 0.5
    assert bench.value("pvewatch_alerting_mode", id="qemu/100", mode="log") == 1
    assert len(bench.lines("pvewatch_threshold")) == before
