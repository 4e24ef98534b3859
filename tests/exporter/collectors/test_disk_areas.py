"""Disks, ZFS and thin pools of nodes, and Ceph: recorded refusals, and answers in the shapes of the API reference."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.exporter.conftest import Bench, Clock, RecordedCluster, recorded
from tests.pve.conftest import Answer
from tests.pve.disk_answers import CEPH, FAULTED_POOL, HARD_DISK, SSD, THIN_POOL, ZFS_POOL

Make = Callable[..., Bench]
NODE = "node/pve1"
DISKS, ZFS, THIN = (f"/nodes/pve1/disks/{name}" for name in ("list", "zfs", "lvmthin"))
CEPH_STATUS = "/cluster/ceph/status"
NO_CEPH = recorded("cluster-ceph-status")


def data(value: object) -> Answer:
    return Answer(body=json.dumps({"data": value}).encode())


def refused(words: str) -> Answer:
    return Answer(500, words, json.dumps({"data": None, "message": f"{words}\n"}).encode())


@pytest.fixture
def again(pve: RecordedCluster, make_bench: Make) -> Bench:
    """An exporter that asks for disks and Ceph at every poll."""
    often = {"interval_seconds": 0.001}
    return make_bench(pve, collectors={"disks": often, "ceph": often})


@pytest.fixture
def disks(pve: RecordedCluster) -> RecordedCluster:
    """The recorded cluster, whose first node has disks and pools, with a Ceph."""
    pve.answers |= {
        DISKS: data([SSD, HARD_DISK | {"health": "FAILED!"}]),
        ZFS: data([ZFS_POOL, FAULTED_POOL]),
        THIN: data([THIN_POOL]),
        CEPH_STATUS: data(CEPH),
    }
    return pve


def test_a_disk_has_a_health_and_an_ssd_its_wear(disks: RecordedCluster, bench: Bench) -> None:
    bench.poll()
    assert bench.value("pve_node_disk_health", id=NODE, disk="BTYF0123456K960", state="passed") == 1
    assert bench.value("pve_node_disk_health", id=NODE, disk="WS20ABCD", state="failed") == 1
    assert bench.value("pve_node_disk_health", id=NODE, disk="WS20ABCD", state="passed") == 0
    assert bench.value("pve_node_disk_wear_ratio", disk="BTYF0123456K960") == 0.03
    assert bench.value("pve_node_disk_wear_ratio", disk="WS20ABCD") is None
    assert bench.value("pve_node_disk_size_bytes", disk="WS20ABCD") == 4000787030016
    assert bench.value("pve_node_disk_info", device="/dev/sdb", model="ST4000NM000A-2HZ100", type="hdd", use="ZFS") == 1


def test_only_the_info_changes_when_a_disk_is_found_elsewhere(disks: RecordedCluster, again: Bench) -> None:
    again.poll()
    before = again.lines("pve_node_disk_health")
    disks.answers[DISKS] = data(
        [SSD | {"devpath": "/dev/sdb"}, HARD_DISK | {"devpath": "/dev/sda", "health": "FAILED!"}]
    )
    again.poll()
    assert again.lines("pve_node_disk_health") == before
    assert again.value("pve_node_disk_info", disk="WS20ABCD", device="/dev/sda") == 1


@pytest.mark.parametrize("folder", ["recorded-8.4", "recorded-9.2"])
def test_a_virtual_disk_is_unknown_and_has_no_wear(pve: RecordedCluster, bench: Bench, folder: str) -> None:
    pve.answers[DISKS] = recorded("node-disks-list", folder)
    bench.poll()
    assert bench.value("pve_node_disk_health", id=NODE, disk="/dev/vda", state="unknown") == 1
    assert bench.value("pve_node_disk_health", id=NODE, disk="/dev/vda", state="failed") == 0
    assert bench.lines("pve_node_disk_wear_ratio") == []


def test_disks_are_asked_for_once_an_hour_because_each_is_asked_in_turn(disks: RecordedCluster, bench: Bench) -> None:
    for _ in range(3):
        bench.poll()
    assert disks.asked("pve1/disks/list") == 1


def test_a_pool_shows_its_health_and_one_that_cannot_be_used_no_size(disks: RecordedCluster, bench: Bench) -> None:
    bench.poll()
    assert bench.value("pve_node_zfs_pool_health", id=NODE, pool="rpool", state="ONLINE") == 1
    assert bench.value("pve_node_zfs_pool_health", id=NODE, pool="tank", state="FAULTED") == 1
    assert bench.value("pve_node_zfs_pool_size_bytes", pool="rpool") == 1992864825344
    assert bench.value("pve_node_zfs_pool_fragmentation_ratio", pool="rpool") == 0.12
    assert bench.value("pve_node_zfs_pool_size_bytes", pool="tank") is None


def test_a_health_that_zfs_has_not_had_before_is_other(disks: RecordedCluster, bench: Bench) -> None:
    disks.answers[ZFS] = data([ZFS_POOL | {"health": "PENSIVE"}])
    bench.poll()
    assert bench.value("pve_node_zfs_pool_health", pool="rpool", state="other") == 1


def test_a_thin_pool_shows_data_and_metadata(disks: RecordedCluster, bench: Bench) -> None:
    bench.poll()
    assert bench.value("pve_node_thin_pool_size_bytes", id=NODE, pool="pve/data") == 367913697280
    assert bench.value("pve_node_thin_pool_usage_bytes", id=NODE, pool="pve/data") == 210446634844
    assert bench.value("pve_node_thin_pool_metadata_size_bytes", id=NODE, pool="pve/data") == 3758096384
    assert bench.value("pve_node_thin_pool_metadata_usage_bytes", id=NODE, pool="pve/data") == 187904819


def test_ceph_shows_health_checks_osds_monitors_and_placement_groups(disks: RecordedCluster, bench: Bench) -> None:
    bench.poll()
    assert bench.value("pve_ceph_health", state="HEALTH_WARN") == 1
    assert bench.value("pve_ceph_health", state="HEALTH_OK") == 0
    assert bench.value("pve_ceph_health_check", check="OSD_DOWN", severity="HEALTH_WARN") == 1
    assert len(bench.lines("pve_ceph_health_check")) == 1, "a muted check is not shown"
    assert [bench.value(f"pve_ceph_osds{name}") for name in ("", "_up", "_in")] == [6, 5, 6]
    assert bench.value("pve_ceph_monitors_in_quorum") == 2
    assert bench.value("pve_ceph_placement_groups", state="active+clean") == 100
    assert bench.value("pve_ceph_usage_bytes") == 3000587436032


def test_a_host_without_zfs_thin_pools_and_ceph_has_no_series_and_no_error(pve: RecordedCluster, bench: Bench) -> None:
    pve.answers |= {ZFS: recorded("node-disks-zfs"), THIN: data([]), CEPH_STATUS: NO_CEPH}
    bench.poll()
    for family in ("pve_node_zfs_pool_health", "pve_node_thin_pool_size_bytes", "pve_ceph_health", "pve_ceph_osds"):
        assert bench.lines(family) == []
    assert bench.value("pve_collector_success", collector="ceph") == 1
    for collector in ("zfs", "thin_pools"):
        assert bench.value("pve_collector_success", collector=collector, node="pve1") == 1
    # The other node of the recording was never asked for its disks.
    assert not [line for line in bench.lines("pve_collector_error") if "ceph" in line]


def test_a_ceph_that_is_installed_and_not_set_up_is_not_in_use(pve: RecordedCluster, bench: Bench) -> None:
    pve.answers[CEPH_STATUS] = refused("pveceph configuration not initialized - missing '/etc/pve/ceph.conf'")
    bench.poll()
    assert bench.value("pve_collector_success", collector="ceph") == 1
    assert bench.lines("pve_ceph_health") == []


@pytest.mark.parametrize("words", ["got timeout", "rados_connect failed - No such file or directory"])
def test_a_ceph_whose_monitors_do_not_answer_is_an_error(pve: RecordedCluster, bench: Bench, words: str) -> None:
    pve.answers[CEPH_STATUS] = refused(words)
    bench.poll()
    assert bench.value("pve_collector_success", collector="ceph") == 0
    assert bench.value("pve_collector_error", collector="ceph", **{"class": "rejected"}) == 1


def test_figures_of_a_ceph_that_does_not_answer_any_more_end_and_the_error_stays(
    disks: RecordedCluster, again: Bench, clock: Clock
) -> None:
    again.poll()
    disks.answers[CEPH_STATUS] = refused("got timeout")
    clock.now += 200
    again.poll()
    assert again.lines("pve_ceph_health") == []
    assert again.value("pve_collector_success", collector="ceph") == 0


def with_ceph_storage(pve: RecordedCluster) -> None:
    def edit(rows: list[dict[str, object]]) -> None:
        (row,) = [row for row in rows if row["id"] == "storage/pve1/local"]
        row["plugintype"] = "rbd"

    pve.change("/cluster/resources", edit)


def test_the_ceph_of_other_nodes_is_found_where_the_host_that_answers_has_none(
    pve: RecordedCluster, bench: Bench
) -> None:
    with_ceph_storage(pve)
    pve.answers |= {CEPH_STATUS: NO_CEPH, "/nodes/pve1/ceph/status": NO_CEPH, "/nodes/pve2/ceph/status": data(CEPH)}
    bench.poll()
    assert bench.value("pve_ceph_health", state="HEALTH_WARN") == 1


def test_a_ceph_elsewhere_that_does_not_answer_is_an_error_and_one_that_is_nowhere_is_none(
    pve: RecordedCluster, again: Bench
) -> None:
    with_ceph_storage(pve)
    pve.answers |= {CEPH_STATUS: NO_CEPH} | {f"/nodes/pve{number}/ceph/status": NO_CEPH for number in (1, 2, 3)}
    again.poll()
    assert again.value("pve_collector_success", collector="ceph") == 1
    pve.answers["/nodes/pve2/ceph/status"] = refused("got timeout")
    again.poll()
    assert again.value("pve_collector_success", collector="ceph") == 0


def test_nodes_are_not_asked_for_ceph_where_no_storage_is_on_one(pve: RecordedCluster, bench: Bench) -> None:
    pve.answers[CEPH_STATUS] = NO_CEPH
    bench.poll()
    assert pve.asked("ceph/status") == 1


@pytest.mark.parametrize(("path", "collector"), [(DISKS, "disks"), (ZFS, "zfs"), (THIN, "thin_pools")])
def test_a_refused_call_costs_only_its_own_figures(
    disks: RecordedCluster, bench: Bench, path: str, collector: str
) -> None:
    disks.answers[path] = recorded("as-privsep-noacl-node-disks")
    bench.poll()
    failed = [line for line in bench.lines("pve_collector_error") if 'node="pve1",class="forbidden"' in line]
    assert len(failed) == 1
    assert f'collector="{collector}"' in failed[0]


@pytest.mark.parametrize("path", [DISKS, ZFS, THIN, CEPH_STATUS])
def test_an_answer_that_is_none_is_an_error_and_no_mistake_of_ours(
    disks: RecordedCluster, bench: Bench, path: str
) -> None:
    disks.answers[path] = Answer(body=b'{"data":null}')
    bench.poll()
    errors = bench.lines("pve_collector_error")
    assert [line for line in errors if 'class="bad_answer"' in line]
    assert not [line for line in errors if 'class="internal"' in line]


@pytest.mark.parametrize("path", [DISKS, ZFS, THIN])
def test_a_disk_that_hangs_is_not_taken_for_a_node_that_is_gone(
    disks: RecordedCluster, make_bench: Make, path: str
) -> None:
    bench = make_bench(disks, node_interval_seconds=0.001)
    disks.answers[path] = Answer(596, "Connection timed out", b"")
    bench.poll()
    asked = disks.asked("pve1/status")
    bench.poll()
    assert disks.asked("pve1/status") == asked + 1
    assert bench.value("pve_collector_success", collector="node", node="pve1") == 1
    assert bench.value("pve_node_load1", id=NODE) is not None
