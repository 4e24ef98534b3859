"""Disks, pools and Ceph of the simulated cluster, sound and broken, read as the exporter reads them."""

from __future__ import annotations

from typing import Any

import pytest

from pvewatch.pve import parsers_disks
from pvewatch.simulator.faults import Fault, parse
from tests.simulator.conftest import Bench, recorded


def disks(bench: Bench, node: str) -> list[Any]:
    return list(parsers_disks.disks(bench.get(f"/nodes/{node}/disks/list"), node).disks)


def test_every_disk_is_sound_and_has_a_name_of_its_own(bench: Bench) -> None:
    found = [disk for node in ("pve1", "pve2", "pve3") for disk in disks(bench, node)]
    assert {disk.health for disk in found} == {"passed"}
    assert len({disk.serial for disk in found}) == len(found) == 15
    assert all(disk.wear_ratio < 0.5 for disk in found if disk.wear_ratio is not None)


@pytest.mark.parametrize(("kind", "failed", "worn"), [("disk-failed", 1, 0), ("disk-worn", 0, 1)])
def test_a_disk_that_fails_or_wears_out_is_of_one_node(bench: Bench, kind: str, failed: int, worn: int) -> None:
    bench.cluster.add_fault(parse({"fault": kind, "node": "pve2"}))
    assert sum(disk.health == "failed" for disk in disks(bench, "pve2")) == failed
    assert sum((disk.wear_ratio or 0) > 0.9 for disk in disks(bench, "pve2")) == worn
    assert {disk.health for disk in disks(bench, "pve1")} == {"passed"}
    bench.cluster.remove_faults()
    assert {disk.health for disk in disks(bench, "pve2")} == {"passed"}


@pytest.mark.parametrize(("kind", "health"), [("pool-degraded", "DEGRADED"), ("pool-faulted", "FAULTED")])
def test_a_pool_breaks_and_is_whole_again(bench: Bench, kind: str, health: str) -> None:
    def pool() -> Any:
        return parsers_disks.zfs_pools(bench.get("/nodes/pve1/disks/zfs"), "pve1").pools[0]

    assert pool().health == "ONLINE"
    bench.cluster.add_fault(Fault(kind, node="pve1"))
    assert pool().health == health
    assert (pool().size_bytes is None) == (health == "FAULTED")


def test_metadata_of_a_thin_pool_fill(bench: Bench) -> None:
    def share() -> float:
        (pool,) = parsers_disks.thin_pools(bench.get("/nodes/pve1/disks/lvmthin"), "pve1").pools
        assert pool.metadata_used_bytes is not None
        assert pool.metadata_size_bytes is not None
        return pool.metadata_used_bytes / pool.metadata_size_bytes

    assert share() < 0.5
    bench.cluster.add_fault(Fault("thin-metadata", node="pve1"))
    assert share() > 0.9


@pytest.mark.parametrize(
    ("fault", "health", "check"),
    [
        (Fault("ceph-warning"), "HEALTH_WARN", "OSD_NEARFULL"),
        (Fault("ceph-error"), "HEALTH_ERR", "PG_DAMAGED"),
        (Fault("osd-down", node="pve3"), "HEALTH_WARN", "OSD_DOWN"),
        (Fault("node-offline", node="pve3"), "HEALTH_WARN", "MON_DOWN"),
    ],
)
def test_ceph_is_sound_until_something_is_wrong(bench: Bench, fault: Fault, health: str, check: str) -> None:
    before = parsers_disks.ceph_status(bench.get("/cluster/ceph/status"))
    assert (before.health, before.checks, before.osds_up, before.monitors_in_quorum) == ("HEALTH_OK", {}, 3, 3)
    bench.cluster.add_fault(fault)
    found = parsers_disks.ceph_status(bench.get("/cluster/ceph/status"))
    assert found.health == health
    assert check in found.checks
    assert sum(found.placement_groups.values()) == sum(before.placement_groups.values())


def test_monitors_that_do_not_answer_are_a_refusal_and_not_the_words_of_a_host_without_ceph(bench: Bench) -> None:
    bench.cluster.add_fault(Fault("ceph-silent"))
    assert bench.ask("GET", "/cluster/ceph/status").reason == "got timeout"


def test_a_single_host_has_neither_zfs_nor_ceph_in_the_recorded_words(single: Bench) -> None:
    for path, name in (
        ("/nodes/pve9/disks/zfs", "node-disks-zfs"),
        ("/cluster/ceph/status", "cluster-ceph-status"),
        ("/nodes/pve9/ceph/status", "node-ceph-status"),
    ):
        reply, real = single.ask("GET", path), recorded("8.4", name)
        assert (reply.status, reply.reason) == (real.status, real.reason)
    (pool,) = parsers_disks.thin_pools(single.get("/nodes/pve9/disks/lvmthin"), "pve9").pools
    assert pool.name == "pve/data"
