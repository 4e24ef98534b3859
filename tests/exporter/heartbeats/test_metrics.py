from __future__ import annotations

from typing import Any

import pytest

from exporter.heartbeats.http import REASONS
from exporter.heartbeats.metrics import GuestIds, families
from exporter.heartbeats.schema import Heartbeat
from exporter.heartbeats.store import Record

NOW = 10_000.0
AGENT_INFO = {"version": "0.1.0", "platform": "linux", "os": "Debian GNU/Linux 12"}
REJECTED = dict.fromkeys(REASONS, 0) | {"unauthorized": 4}

Series = dict[str, dict[tuple[str, ...], float]]


@pytest.fixture
def record(example: dict[str, Any]) -> Record:
    return Record("home", 101, "qemu", 100.0, NOW - 20, "boot", 42, Heartbeat.model_validate(example))


def series(record: Record, guest_ids: GuestIds, *, now: float = NOW) -> Series:
    """Samples by family name and label values."""
    pages = families({(record.cluster, record.vmid): record}, guest_ids, REJECTED, now=now, timeout=180)
    for family in pages:
        assert all(len(values) == len(family.labels) for values, _ in family.samples)
        assert family.name.endswith("_total") == (family.type == "counter")
    return {family.name: dict(family.samples) for family in pages if family.samples}


def test_a_fresh_heartbeat_gives_every_family(record: Record, example: dict[str, Any]) -> None:
    found = series(record, {"home": {101: "qemu/101"}})
    guest = ("home", "qemu/101")
    assert found.pop("pvewatch_heartbeats_rejected_total")[("unauthorized",)] == 4
    assert found == {
        "pvewatch_heartbeat_last_seen_timestamp_seconds": {guest: NOW - 20},
        "pvewatch_threshold": {(*guest, "heartbeat_age_seconds"): 180},
        "pvewatch_heartbeats_received_total": {guest: 42},
        "pvewatch_agent_info": {(*guest, *AGENT_INFO.values()): 1},
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
    }


def test_figures_of_a_silent_guest_disappear_and_its_last_seen_stays(record: Record) -> None:
    fresh = series(record, {"home": {101: "qemu/101"}}, now=record.last_seen + 180)
    silent = series(record, {"home": {101: "qemu/101"}}, now=record.last_seen + 180.1)
    assert "pvewatch_agent_cpu_usage_ratio" in fresh
    assert set(silent) == {
        "pvewatch_heartbeat_last_seen_timestamp_seconds",
        "pvewatch_threshold",
        "pvewatch_heartbeats_received_total",
        "pvewatch_heartbeats_rejected_total",
        "pvewatch_agent_info",
    }


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_an_hour_off_is_a_figure_and_moves_nothing_else(
    record: Record, example: dict[str, Any], hours: int
) -> None:
    heartbeat = Heartbeat.model_validate(example | {"time": record.last_seen + hours * 3600})
    off = Record("home", 101, "qemu", 100.0, record.last_seen, "boot", 42, heartbeat)
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
    never_known = Record("home", 101, None, 100.0, NOW, "boot", 1, record.heartbeat)
    assert set(series(never_known, {"home": None})) == {"pvewatch_heartbeats_rejected_total"}


def test_a_figure_that_the_agent_left_out_has_no_series(record: Record, example: dict[str, Any]) -> None:
    for part in ("cpu", "load", "memory", "swap", "filesystems", "os"):
        del example[part]
    bare = Record("home", 101, "qemu", 100.0, NOW, "boot", 1, Heartbeat.model_validate(example))
    found = series(bare, {"home": None})
    assert {name for name in found if name.startswith("pvewatch_agent_")} == {
        "pvewatch_agent_info",
        "pvewatch_agent_uptime_seconds",
        "pvewatch_agent_clock_offset_seconds",
    }
    assert list(found["pvewatch_agent_info"]) == [("home", "qemu/101", "0.1.0", "linux", "")]


def test_a_mount_point_sent_twice_is_one_series_with_the_later_value(record: Record, example: dict[str, Any]) -> None:
    example["filesystems"] = [{**example["filesystems"][0], "size_bytes": size} for size in (1, 2)]
    twice = Record("home", 101, "qemu", 100.0, NOW, "boot", 1, Heartbeat.model_validate(example))
    pages = families({("home", 101): twice}, {"home": None}, REJECTED, now=NOW, timeout=180)
    (sizes,) = [family.samples for family in pages if family.name == "pvewatch_agent_filesystem_size_bytes"]
    assert sizes == ((("home", "qemu/101", "/"), 2.0),)
