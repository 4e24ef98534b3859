"""Lists of guests, network counters, snapshots, pending changes and file systems: recorded answers, and odd ones."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvewatch.pve import parsers_guests
from pvewatch.pve.models_guests import DiskCounters, Filesystem, GuestSnapshots, NicCounters, Pressure
from pvewatch.pve.parsers import WrongShape

FIXTURES = Path(__file__).parents[1] / "fixtures"
# As `qm guest cmd ID get-fsinfo` prints it, inside `result` as the API gives it.
FSINFO: list[dict[str, Any]] = [
    {"mountpoint": "/snap/firefox/6782", "name": "loop19", "type": "squashfs", "total-bytes": 9, "used-bytes": 9},
    {"mountpoint": "/boot", "name": "sda2", "type": "ext4", "total-bytes": 1916223488, "used-bytes": 275972096},
    {"mountpoint": "/", "name": "dm-0", "type": "ext4", "total-bytes": 32000000000, "used-bytes": 9000000000},
]


def recorded(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text())["body"]["data"]


def test_the_full_list_of_a_node_has_the_counters_of_every_disk_and_card() -> None:
    found = parsers_guests.activities(recorded("recorded-8.4/qemu-list-full"), "qemu")
    assert sorted(found) == ["qemu/100", "qemu/101", "qemu/9000"]
    assert found["qemu/100"].disks == (DiskCounters("scsi0", 5120, 0, 10, 0),)
    assert found["qemu/100"].nics == (NicCounters("net0", 9452, 21368),)
    assert found["qemu/100"].pressures == ()


def test_a_guest_that_does_not_run_has_no_counters() -> None:
    stopped = parsers_guests.activities(recorded("recorded-8.4/qemu-list-full"), "qemu")["qemu/9000"]
    assert not stopped.running
    assert (stopped.disks, stopped.nics, stopped.pressures) == ((), (), ())
    container = parsers_guests.activities(recorded("recorded-8.4/lxc-list"), "lxc")["lxc/201"]
    assert container.swap_limit_bytes is None


def test_pressure_is_a_share_and_comes_as_a_number_or_as_a_text() -> None:
    found = parsers_guests.activities(recorded("recorded-9.2/qemu-list"), "qemu")["qemu/100"]
    assert found.pressures[:2] == (Pressure("cpu", "some", 28.43 / 100), Pressure("cpu", "full", 28.31 / 100))
    assert len(found.pressures) == 6
    row = {"vmid": "200", "status": "running", "pressurecpusome": "0.46"}
    assert parsers_guests.activities([row], "lxc")["lxc/200"].pressures == (Pressure("cpu", "some", 0.0046),)


def test_a_vm_with_a_balloon_tells_what_it_has_and_what_it_has_free() -> None:
    row = {"vmid": 101, "status": "running", "balloon": 2097152000, "balloon_min": 1048576000, "freemem": 887222272}
    found = parsers_guests.activities([row], "qemu")["qemu/101"]
    assert (found.balloon_bytes, found.balloon_minimum_bytes) == (2097152000, 1048576000)
    assert found.memory_free_bytes == 887222272


def test_devices_are_bounded_and_have_only_names_that_pve_gives() -> None:
    stats = {f"scsi{index}": {"rd_bytes": index} for index in range(40)} | {"pflash0": {}, 'x"y': {}}
    cards: dict[str, Any] = {f"tap100i{index}": {"netin": 1} for index in range(40)} | {"fwbr100i0": {"netin": 1}}
    row = {"vmid": 100, "status": "running", "blockstat": stats, "nics": cards}
    found = parsers_guests.activities([row], "qemu")["qemu/100"]
    assert [disk.device for disk in found.disks] == [f"scsi{index}" for index in range(parsers_guests.MAX_DISKS)]
    assert [nic.device for nic in found.nics] == [f"net{index}" for index in range(parsers_guests.MAX_NICS)]


def test_netstat_has_the_cards_of_all_guests_by_vmid() -> None:
    assert parsers_guests.netstat(recorded("recorded-8.4/node-netstat")) == {
        100: (NicCounters("net0", 7264, 19180),),
        101: (NicCounters("net0", 6052, 6564),),
        200: (NicCounters("net0", 0, 0),),
    }


@pytest.mark.parametrize(
    "name", ["recorded-8.4/qemu-100-snapshot", "recorded-8.4/lxc-200-snapshot", "recorded-9.2/qemu-100-snapshot"]
)
def test_the_present_state_is_no_snapshot(name: str) -> None:
    assert parsers_guests.snapshots(recorded(name)) == GuestSnapshots(0, None, 0)


def test_a_snapshot_is_counted_with_its_time_and_the_chain_below_the_present_state() -> None:
    assert parsers_guests.snapshots(recorded("recorded-8.4/qemu-101-snapshot-list")) == GuestSnapshots(1, 1795252874, 1)


def test_the_chain_counts_only_what_the_present_state_builds_upon() -> None:
    rows = [
        {"name": "first", "snaptime": 100},
        {"name": "second", "snaptime": 200, "parent": "first"},
        {"name": "left-behind", "snaptime": 300, "parent": "second"},
        {"name": "being-made", "parent": "second"},
        {"name": "current", "parent": "second"},
    ]
    assert parsers_guests.snapshots(rows) == GuestSnapshots(4, 100, 2)


def test_snapshots_that_name_each_other_as_parent_end_the_chain() -> None:
    rows = [{"name": "a", "parent": "b"}, {"name": "b", "parent": "a"}, {"name": "current", "parent": "a"}]
    assert parsers_guests.snapshots(rows).depth == 2


def test_options_that_wait_are_counted_and_others_are_not() -> None:
    rows = recorded("recorded-8.4/qemu-100-pending")
    assert parsers_guests.pending_changes(rows) == 0
    changed = [
        {**row, "pending": 2} if row["key"] == "cores" else {**row, "delete": 1} if row["key"] == "tags" else row
        for row in rows
    ]
    assert parsers_guests.pending_changes([*changed, {"key": "name", "value": "web1", "delete": 0}]) == 2


def test_file_systems_that_last_are_shown_and_passing_ones_are_not() -> None:
    passing = [
        {"mountpoint": f"/var/lib/kubelet/pods/{index}/volume", "name": "sdb", "type": "ext4", "total-bytes": 5}
        for index in range(3)
    ]
    found = parsers_guests.filesystems({"result": [*FSINFO, *passing]})
    assert found == (Filesystem("/", 32000000000, 9000000000), Filesystem("/boot", 1916223488, 275972096))


def test_a_device_that_is_mounted_twice_is_shown_once_under_its_shortest_mount_point() -> None:
    again = {"mountpoint": "/srv/again", "name": "dm-0", "type": "ext4", "total-bytes": 32000000000}
    found = parsers_guests.filesystems({"result": [again, *FSINFO]})
    assert [filesystem.mountpoint for filesystem in found] == ["/", "/boot"]


def test_windows_volumes_keep_their_letters() -> None:
    volume = {"mountpoint": "C:\\", "name": "\\\\?\\Volume{1}\\", "type": "NTFS", "total-bytes": 10, "used-bytes": 4}
    disc = {"mountpoint": "D:\\", "name": "\\\\?\\Volume{2}\\", "type": "CDFS", "total-bytes": 10, "used-bytes": 10}
    assert parsers_guests.filesystems({"result": [volume, disc]}) == (Filesystem("C:\\", 10, 4),)


def test_an_agent_too_old_to_tell_sizes_has_no_file_systems() -> None:
    assert parsers_guests.filesystems({"result": [{"mountpoint": "/", "name": "sda1", "type": "ext4"}]}) == ()


def test_an_agent_that_refuses_to_list_its_file_systems_shows_none() -> None:
    refused = {"result": {"error": {"class": "CommandNotFound", "desc": "Command guest-get-fsinfo has been disabled"}}}
    assert parsers_guests.filesystems(refused) == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
_ROW_KEYS = ["vmid", "status", "blockstat", "nics", "pressurecpusome", "balloon", "freemem", "scsi0", "tap1i0"]
_OTHER_KEYS = ["dev", "in", "out", "name", "parent", "snaptime", "key", "pending", "delete", "result", "current"]
KEYS = st.sampled_from([*_ROW_KEYS, *_OTHER_KEYS, "mountpoint", "total-bytes", "type"])
ROW = st.recursive(
    st.dictionaries(KEYS, JSON | st.sampled_from(["running", "current", "net0", 100, "100"]), max_size=8),
    lambda inner: st.dictionaries(KEYS, inner | JSON, max_size=6),
    max_leaves=6,
)


@given(ROW | st.lists(ROW | JSON, max_size=4) | JSON)
def test_whatever_stands_in_an_answer_it_is_read_or_named_wrong(data: Any) -> None:
    readings: list[Callable[[], object]] = [
        lambda: parsers_guests.activities(data, "qemu"),
        lambda: parsers_guests.activities(data, "lxc"),
        lambda: parsers_guests.netstat(data),
        lambda: parsers_guests.snapshots(data),
        lambda: parsers_guests.pending_changes(data),
        lambda: parsers_guests.filesystems(data),
        lambda: parsers_guests.filesystems({"result": data}),
    ]
    for reading in readings:
        with contextlib.suppress(WrongShape):
            reading()
