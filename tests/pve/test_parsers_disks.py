"""Disks, ZFS and thin pools and Ceph: recorded answers, those of the API reference, and odd ones."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvewatch.pve import parsers_disks
from pvewatch.pve.models_disks import Disk, ThinPool, ZfsPool
from pvewatch.pve.parsers import WrongShape
from tests.pve.disk_answers import CEPH, FAULTED_POOL, HARD_DISK, SSD, THIN_POOL, ZFS_POOL

FIXTURES = Path(__file__).parents[1] / "fixtures"


def disk(**values: Any) -> Disk:
    (found,) = parsers_disks.disks([SSD | values], "pve1").disks
    return found


@pytest.mark.parametrize("version", ["8.4", "9.2"])
def test_a_recorded_virtual_disk_is_neither_sound_nor_failed_nor_worn(version: str) -> None:
    data = json.loads((FIXTURES / f"recorded-{version}" / "node-disks-list.json").read_text())["body"]["data"]
    (found,) = parsers_disks.disks(data, "pve1").disks
    assert (found.health, found.wear_ratio) == ("unknown", None)
    assert (found.name, found.device, found.size_bytes) == ("/dev/vda", "/dev/vda", 274877906944)
    assert (found.model, found.serial, found.wwn, found.type) == (None, None, None, None)


@pytest.mark.parametrize(
    ("said", "health"),
    [
        ("PASSED", "passed"),
        ("OK", "passed"),
        ("FAILED!", "failed"),
        ("FAILURE PREDICTION THRESHOLD EXCEEDED [asc=5d, ascq=0]", "failed"),
        ("HARDWARE IMPENDING FAILURE GENERAL HARD DRIVE FAILURE [asc=5d, ascq=10]", "failed"),
        ("UNKNOWN", "unknown"),
        ("SMART Disabled", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
        (["PASSED"], "unknown"),
    ],
)
def test_only_what_smart_calls_failed_is_failed(said: object, health: str) -> None:
    assert disk(health=said).health == health


@pytest.mark.parametrize(
    ("left", "wear"),
    [(100, 0.0), (97, 0.03), ("97", 0.03), (0, 1.0), (-55, 1.0), ("N/A", None), (None, None), (200, None)],
)
def test_wear_is_what_is_used_up_where_proxmox_says_what_is_left(left: object, wear: float | None) -> None:
    assert disk(wearout=left).wear_ratio == wear


def test_a_disk_is_named_by_its_serial_number_and_else_by_its_wwn_or_device() -> None:
    assert disk().name == "BTYF0123456K960"
    assert disk(serial="unknown").name == "0x55cd2e4152a1b2c3"
    assert disk(serial="", wwn=None).name == "/dev/sda"


def test_a_disk_keeps_its_name_when_the_kernel_finds_it_elsewhere() -> None:
    assert disk(devpath="/dev/sdx").name == disk().name


def test_disks_that_share_a_serial_number_are_told_apart() -> None:
    rows = [SSD, SSD | {"devpath": "/dev/sdb", "health": "FAILED!"}, HARD_DISK | {"devpath": "/dev/sdc"}]
    found = {item.name: item.health for item in parsers_disks.disks(rows, "pve1").disks}
    assert found == {
        "BTYF0123456K960 /dev/sda": "passed",
        "BTYF0123456K960 /dev/sdb": "failed",
        "WS20ABCD": "passed",
    }


def test_a_hard_disk_has_no_wear_and_its_use_is_told() -> None:
    (found,) = parsers_disks.disks([HARD_DISK], "pve1").disks
    assert (found.wear_ratio, found.type, found.use) == (None, "hdd", "ZFS")


def test_a_node_with_very_many_disks_shows_a_bounded_number() -> None:
    rows = [SSD | {"devpath": f"/dev/sd{number}", "serial": f"S{number}"} for number in range(1000)]
    assert len(parsers_disks.disks(rows, "pve1").disks) == parsers_disks.MAX_DISKS


def test_a_pool_has_its_sizes_and_one_that_cannot_be_used_has_none() -> None:
    online, faulted = parsers_disks.zfs_pools([FAULTED_POOL, ZFS_POOL], "pve1").pools
    assert online == ZfsPool("rpool", "ONLINE", 1992864825344, 1041529569280, 951335256064, 0.12)
    assert faulted == ZfsPool("tank", "FAULTED", None, None, None, None)


def test_an_empty_pool_has_nothing_allocated() -> None:
    (pool,) = parsers_disks.zfs_pools([ZFS_POOL | {"alloc": 0, "frag": 0}], "pve1").pools
    assert (pool.allocated_bytes, pool.fragmentation_ratio) == (0, 0)


def test_a_thin_pool_is_named_with_its_volume_group() -> None:
    assert parsers_disks.thin_pools([THIN_POOL], "pve1").pools == (
        ThinPool("pve/data", 367913697280, 210446634844, 3758096384, 187904819),
    )
    two = [THIN_POOL, THIN_POOL | {"vg": "fast"}]
    assert [pool.name for pool in parsers_disks.thin_pools(two, "pve1").pools] == ["fast/data", "pve/data"]


def test_ceph_tells_its_health_and_what_nobody_has_muted() -> None:
    found = parsers_disks.ceph_status(CEPH)
    assert (found.health, found.checks) == ("HEALTH_WARN", {"OSD_DOWN": "HEALTH_WARN"})
    assert (found.osds, found.osds_up, found.osds_in) == (6, 5, 6)
    assert (found.monitors, found.monitors_in_quorum) == (3, 2)
    assert (found.size_bytes, found.used_bytes, found.available_bytes) == (12002349744128, 3000587436032, 9001762308096)
    assert found.placement_groups == {"active+clean": 100, "active+undersized+degraded": 29}


def test_ceph_before_15_nests_its_osds_and_one_that_counts_monitors_only_is_read_too() -> None:
    old = CEPH | {"osdmap": {"osdmap": CEPH["osdmap"]}, "monmap": {"num_mons": 5}, "quorum_names": None}
    found = parsers_disks.ceph_status(old)
    assert (found.osds_up, found.monitors, found.monitors_in_quorum) == (5, 5, 2)


def test_ceph_figures_that_are_missing_are_not_zero() -> None:
    found = parsers_disks.ceph_status({"health": {"status": "HEALTH_OK"}})
    assert found.health == "HEALTH_OK"
    assert {found.osds, found.osds_up, found.monitors, found.monitors_in_quorum, found.size_bytes} == {None}
    assert (found.checks, found.placement_groups) == ({}, {})


@pytest.mark.parametrize("answer", [{}, {"health": {}}, {"health": "HEALTH_OK"}, [], None, "HEALTH_OK"])
def test_an_answer_without_health_is_not_taken_for_a_sound_ceph(answer: object) -> None:
    with pytest.raises(WrongShape):
        parsers_disks.ceph_status(answer)


def test_checks_and_states_of_placement_groups_are_bounded_and_none_is_lost_in_the_sum() -> None:
    checks = {f"CHECK_{number}": {"severity": "HEALTH_WARN"} for number in range(500)}
    states = [{"state_name": f"active+{number}", "count": 2} for number in range(500)]
    found = parsers_disks.ceph_status({"health": {"checks": checks}, "pgmap": {"pgs_by_state": states}})
    assert len(found.checks) == parsers_disks.MAX_CHECKS
    assert len(found.placement_groups) == parsers_disks.MAX_PLACEMENT_STATES + 1
    assert sum(found.placement_groups.values()) == 1000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from([*SSD, *ZFS_POOL, *THIN_POOL, *CEPH, *CEPH["osdmap"], *CEPH["pgmap"], *CEPH["health"]])
ROW = st.recursive(
    st.dictionaries(KEYS, JSON | st.sampled_from(["unknown", "/dev/sda", "FAILED!", 100, "97", -5]), max_size=8),
    lambda inner: st.dictionaries(KEYS, inner | st.lists(inner, max_size=2) | JSON, max_size=6),
    max_leaves=6,
)


@given(st.lists(ROW | JSON, max_size=4) | ROW | JSON)
def test_whatever_stands_in_an_answer_it_is_read_or_named_wrong(data: Any) -> None:
    readings: list[Callable[[], object]] = [
        lambda: parsers_disks.disks(data, "pve1"),
        lambda: parsers_disks.zfs_pools(data, "pve1"),
        lambda: parsers_disks.thin_pools(data, "pve1"),
        lambda: parsers_disks.ceph_status(data),
        lambda: parsers_disks.ceph_status({"health": data, "osdmap": data, "pgmap": data, "monmap": data}),
    ]
    for reading in readings:
        with contextlib.suppress(WrongShape):
            reading()


@given(st.lists(st.fixed_dictionaries({"devpath": st.text(max_size=9), "serial": st.text(max_size=2)}), max_size=9))
def test_every_disk_has_a_name_of_its_own(data: list[dict[str, str]]) -> None:
    names = [item.name for item in parsers_disks.disks(data, "pve1").disks]
    devices = {" ".join(row["devpath"].split()) for row in data} - {"", "unknown"}
    assert len(names) == len(set(names)) == len(devices)
