from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from exporter.heartbeats.http import REASONS
from exporter.heartbeats.metrics import GuestIds, gone
from exporter.heartbeats.page import HeartbeatPage
from exporter.heartbeats.progress import SHARED_SECONDS, Progress
from exporter.heartbeats.record import Payload, Record
from exporter.heartbeats.schema import Heartbeat

NOW = 10_000.0
AGENT_INFO = {"version": "0.1.0", "platform": "linux", "os": "Debian GNU/Linux 12"}
REJECTED = dict.fromkeys(REASONS, 0) | {"unauthorized": 4}

Series = dict[str, dict[tuple[str, ...], float]]


@pytest.fixture
def record(example: dict[str, Any]) -> Record:
    progress = Progress(late=2, missed=5)
    return Record(
        "home", 101, "qemu", 100.0, NOW - 20, "boot", 42, Payload.of(Heartbeat.model_validate(example)), progress
    )


def series(record: Record, guest_ids: GuestIds, *, now: float = NOW, keep: float = math.inf) -> Series:
    """Samples by family name and label values, as Prometheus' own parser reads them off the page."""
    records = {(record.cluster, record.vmid): record}
    page = HeartbeatPage(lambda: records, lambda: guest_ids, REJECTED, lambda: now, timeout=180, keep=keep).text()
    found: Series = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter")
            values = tuple(sample.labels.values())
            assert values not in found.setdefault(sample.name, {})
            found[sample.name][values] = sample.value
    return found


def test_a_fresh_heartbeat_gives_every_family(record: Record, example: dict[str, Any]) -> None:
    found = series(record, {"home": {101: "qemu/101"}})
    guest = ("home", "qemu/101")
    assert found.pop("pvewatch_heartbeats_rejected_total")[("unauthorized",)] == 4
    assert found == {
        "pvewatch_heartbeat_last_seen_timestamp_seconds": {guest: NOW - 20},
        "pvewatch_heartbeats_received_total": {guest: 42},
        "pvewatch_heartbeats_late_total": {guest: 2},
        "pvewatch_heartbeats_missed_total": {guest: 5},
        "pvewatch_heartbeat_identity_shared": {guest: 0},
        "pvewatch_agent_info": {(*guest, *AGENT_INFO.values()): 1},
        "pvewatch_agent_outdated": {guest: 0},
        "pvewatch_agent_cpu_usage_ratio": {guest: 0.0731},
        "pvewatch_agent_load1": {guest: 0.21},
        "pvewatch_agent_memory_size_bytes": {guest: 4109791232},
        "pvewatch_agent_memory_available_bytes": {guest: 3021307904},
        "pvewatch_agent_swap_size_bytes": {guest: 1022357504},
        "pvewatch_agent_swap_free_bytes": {guest: 1022357504},
        "pvewatch_agent_uptime_seconds": {guest: 86461.37},
        "pvewatch_agent_clock_offset_seconds": {guest: example["time"] - (NOW - 20)},
        "pvewatch_agent_filesystem_size_bytes": {(*guest, "/"): 33501757440, (*guest, "/boot/efi"): 129718272},
        "pvewatch_agent_filesystem_available_bytes": {(*guest, "/"): 21980618752, (*guest, "/boot/efi"): 117559296},
        "pvewatch_agent_network_received_bytes_total": {(*guest, "eth0"): 918273645},
        "pvewatch_agent_network_sent_bytes_total": {(*guest, "eth0"): 55443322},
        "pvewatch_agent_service_state": {
            (*guest, "nginx.service", "running"): 1,
            (*guest, "postgresql.service", "stopped"): 1,
        },
        "pvewatch_agent_service_restarts_total": {(*guest, "nginx.service"): 1, (*guest, "postgresql.service"): 0},
        "pvewatch_agent_last_repair_timestamp_seconds": {(*guest, "nginx.service", "succeeded"): 1787220000.5},
        "pvewatch_agent_pending_reboot": {guest: 0},
    }


def test_figures_of_a_silent_guest_disappear_and_its_last_seen_stays(record: Record) -> None:
    fresh = series(record, {"home": {101: "qemu/101"}}, now=record.last_seen + 180)
    silent = series(record, {"home": {101: "qemu/101"}}, now=record.last_seen + 180.1)
    assert "pvewatch_agent_cpu_usage_ratio" in fresh
    assert set(silent) == {
        "pvewatch_heartbeat_last_seen_timestamp_seconds",
        "pvewatch_heartbeats_received_total",
        "pvewatch_heartbeats_rejected_total",
        "pvewatch_heartbeats_late_total",
        "pvewatch_heartbeats_missed_total",
        "pvewatch_heartbeat_identity_shared",
        "pvewatch_agent_info",
        "pvewatch_agent_outdated",
    }


@pytest.mark.parametrize(("version", "outdated"), [("0.0.9", 1), ("0.1.0", 0), ("99.0.0", 0), ("built-by-hand", 0)])
def test_an_agent_older_than_pvewatch_is_told_apart(
    record: Record, example: dict[str, Any], version: str, outdated: int
) -> None:
    heartbeat = Heartbeat.model_validate(example | {"agent": {"version": version, "platform": "linux"}})
    found = series(replace(record, payload=Payload.of(heartbeat)), {"home": {101: "qemu/101"}})
    assert found["pvewatch_agent_outdated"] == {("home", "qemu/101"): outdated}


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_an_hour_off_is_a_figure_and_moves_nothing_else(
    record: Record, example: dict[str, Any], hours: int
) -> None:
    heartbeat = Heartbeat.model_validate(example | {"time": record.last_seen + hours * 3600})
    off = Record("home", 101, "qemu", 100.0, record.last_seen, "boot", 42, Payload.of(heartbeat))
    guest = ("home", "qemu/101")
    found = series(off, {"home": None})
    assert found["pvewatch_agent_clock_offset_seconds"] == {guest: hours * 3600}
    assert found["pvewatch_heartbeat_last_seen_timestamp_seconds"] == {guest: record.last_seen}
    assert "pvewatch_agent_cpu_usage_ratio" not in series(off, {"home": None}, now=record.last_seen + 200)


@pytest.mark.parametrize("guest_ids", [{}, {"home": {}}, {"home": {102: "qemu/102"}}, {"office": {101: "qemu/101"}}])
def test_a_guest_that_proxmox_ve_does_not_have_has_no_series(record: Record, guest_ids: GuestIds) -> None:
    assert set(series(record, guest_ids)) == {"pvewatch_heartbeats_rejected_total"}


def test_a_container_that_took_a_removed_vms_number_has_not_sent_its_heartbeats(record: Record) -> None:
    assert record.kind == "qemu"
    assert set(series(record, {"home": {101: "lxc/101"}})) == {"pvewatch_heartbeats_rejected_total"}


def test_while_proxmox_ve_cannot_be_asked_the_kind_last_known_counts(record: Record) -> None:
    found = series(record, {"home": None})
    assert list(found["pvewatch_heartbeats_received_total"]) == [("home", "qemu/101")]
    never_known = Record("home", 101, None, 100.0, NOW, "boot", 1, record.payload)
    assert set(series(never_known, {"home": None})) == {"pvewatch_heartbeats_rejected_total"}


def test_a_guest_that_nobody_can_vouch_for_has_series_for_a_set_time_only(record: Record) -> None:
    assert "pvewatch_agent_info" in series(record, {"home": None}, now=record.last_seen + 600, keep=600)
    gone_silent = series(record, {"home": None}, now=record.last_seen + 601, keep=600)
    assert set(gone_silent) == {"pvewatch_heartbeats_rejected_total"}


def test_a_guest_that_is_gone_is_forgotten_after_a_set_time_and_one_that_may_be_there_is_not(record: Record) -> None:
    records = {("home", 101): record}
    assert gone(records, {"home": {102: "qemu/102"}}, record.last_seen + 1) == {("home", 101)}
    assert gone(records, {"home": {102: "qemu/102"}}, record.last_seen) == frozenset()
    assert gone(records, {"home": {101: "qemu/101"}}, record.last_seen + 1) == frozenset()
    assert gone(records, {"home": None}, record.last_seen + 1) == frozenset()


def test_an_identity_that_two_machines_use_is_one_for_an_hour(record: Record) -> None:
    shared = replace(record, progress=Progress(shared_at=NOW))
    for now, value in ((NOW + SHARED_SECONDS, 1.0), (NOW + SHARED_SECONDS + 1, 0.0)):
        found = series(shared, {"home": {101: "qemu/101"}}, now=now)
        assert found["pvewatch_heartbeat_identity_shared"] == {("home", "qemu/101"): value}


def test_a_figure_that_the_agent_left_out_has_no_series(record: Record, example: dict[str, Any]) -> None:
    optional = ("cpu", "load", "memory", "swap", "filesystems", "os", "network", "services", "last_repair")
    for part in (*optional, "pending_reboot", "smbios_uuid"):
        del example[part]
    bare = Record("home", 101, "qemu", 100.0, NOW, "boot", 1, Payload.of(Heartbeat.model_validate(example)))
    found = series(bare, {"home": None})
    assert {name for name in found if name.startswith("pvewatch_agent_")} == {
        "pvewatch_agent_info",
        "pvewatch_agent_outdated",
        "pvewatch_agent_uptime_seconds",
        "pvewatch_agent_clock_offset_seconds",
    }
    assert list(found["pvewatch_agent_info"]) == [("home", "qemu/101", "0.1.0", "linux", "")]


def test_a_mount_point_sent_twice_is_one_series_with_the_later_value(record: Record, example: dict[str, Any]) -> None:
    example["filesystems"] = [{**example["filesystems"][0], "size_bytes": size} for size in (1, 2)]
    twice = Record("home", 101, "qemu", 100.0, NOW, "boot", 1, Payload.of(Heartbeat.model_validate(example)))
    sizes = series(twice, {"home": None})["pvewatch_agent_filesystem_size_bytes"]
    assert sizes == {("home", "qemu/101", "/"): 2}


@pytest.mark.parametrize("part", ["network", "services"])
def test_what_is_sent_twice_is_one_series(record: Record, example: dict[str, Any], part: str) -> None:
    example[part] *= 2
    twice = replace(record, payload=Payload.of(Heartbeat.model_validate(example)))
    # The helper has seen that no series stands there twice.
    assert series(twice, {"home": None}) == series(record, {"home": None})


@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64), seconds=st.floats(0, 1e11))
def test_whatever_a_guest_calls_its_things_is_read_back_the_same(text: str, seconds: float) -> None:
    told = {
        "schema": 1,
        "agent": {"version": text, "platform": "linux"},
        "boot_id": "a",
        "sequence": 1,
        "time": 1.0,
        "uptime_seconds": seconds,
        "interval_seconds": 60.0,
        "filesystems": [{"mountpoint": text, "type": "ext4", "size_bytes": 2**53 - 1, "available_bytes": 0}],
        "network": [{"interface": text, "received_bytes": 1, "sent_bytes": 2}],
        "services": [{"name": text, "state": "running"}],
    }
    payload = Payload.of(Heartbeat.model_validate(told))
    found = series(Record("home", 101, "qemu", 1.0, NOW, "a", 1, payload), {"home": None})
    guest = ("home", "qemu/101")
    assert found["pvewatch_agent_info"] == {(*guest, text, "linux", ""): 1}
    assert found["pvewatch_agent_uptime_seconds"] == {guest: seconds}
    assert found["pvewatch_agent_filesystem_size_bytes"] == {(*guest, text): 2**53 - 1}
    assert found["pvewatch_agent_network_sent_bytes_total"] == {(*guest, text): 2}
    assert found["pvewatch_agent_service_state"] == {(*guest, text, "running"): 1}
