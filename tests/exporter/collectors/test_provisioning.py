"""Bridges, container templates and appliances in the inventory: recorded answers, refusals, and who is asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from pvewatch.inventory import ClusterEntry, NodeEntry
from tests.exporter.conftest import Bench, Clock, RecordedCluster, recorded
from tests.pve.conftest import Answer
from tests.pve.provisioning_answers import APPLIANCE

Make = Callable[..., Bench]
NETWORK, CONTENT, APLINFO = "/nodes/pve1/network", "/nodes/pve1/storage/local/content", "/nodes/pve1/aplinfo"
VOLID = "local:vztmpl/alpine-3.17-default_20260101_amd64.tar.gz"


def data(value: object) -> Answer:
    return Answer(body=json.dumps({"data": value}).encode())


@pytest.fixture
def provisioned(pve: RecordedCluster) -> RecordedCluster:
    """The recorded cluster, whose first node tells of all three."""
    pve.answers |= {
        NETWORK: recorded("node-network"),
        CONTENT: recorded("as-auditor-storage-content"),
        APLINFO: data([APPLIANCE]),
    }
    return pve


def cluster(bench: Bench) -> ClusterEntry:
    found = bench.exporter.inventory().cluster("lab")
    assert found is not None
    return found


def node(bench: Bench, name: str = "pve1") -> NodeEntry:
    return next(entry for entry in cluster(bench).nodes if entry.name == name)


def success(bench: Bench, name: str = "pve1") -> float | None:
    return bench.value("pve_collector_success", collector="provisioning", node=name)


def test_the_inventory_tells_bridges_templates_and_appliances_with_their_age(
    provisioned: RecordedCluster, bench: Bench, clock: Clock
) -> None:
    bench.poll()
    clock.now += 30
    (bridge,) = node(bench).bridges or []
    assert (bridge.name, bridge.type, bridge.active) == ("vmbr0", "bridge", True)
    (template,) = cluster(bench).templates or []
    assert (template.volid, template.storage, template.node) == (VOLID, "local", "pve1")
    assert template.size_bytes == 1032622
    (appliance,) = cluster(bench).appliances or []
    assert (appliance.template, appliance.os) == (APPLIANCE["template"], "debian-12")
    assert node(bench).provisioning_age_seconds == 30
    assert node(bench).provisioning_error is None
    assert success(bench) == 1


def test_before_a_node_has_told_nothing_is_known_rather_than_nothing_there(bench: Bench) -> None:
    bench.poll()
    found = node(bench)
    assert (found.bridges, cluster(bench).templates, cluster(bench).appliances) == (None, None, None)
    assert found.provisioning_age_seconds is not None
    assert found.provisioning_error is not None
    assert "not recorded" in found.provisioning_error


def test_empty_answers_are_empty_lists(provisioned: RecordedCluster, bench: Bench) -> None:
    provisioned.answers |= {path: data([]) for path in (NETWORK, CONTENT, APLINFO)}
    bench.poll()
    assert (node(bench).bridges, cluster(bench).templates, cluster(bench).appliances) == ([], [], [])
    assert success(bench) == 1


def test_a_storage_that_refuses_leaves_bridges_and_appliances(provisioned: RecordedCluster, bench: Bench) -> None:
    provisioned.answers[CONTENT] = recorded("as-privsep-noacl-storage-content")
    bench.poll()
    assert len(node(bench).bridges or []) == len(cluster(bench).appliances or []) == 1
    assert cluster(bench).templates is None
    assert success(bench) == 0
    assert "Datastore.Audit" in (node(bench).provisioning_error or "")
    assert bench.value("pve_collector_error", collector="provisioning", node="pve1", **{"class": "forbidden"}) == 1


@pytest.mark.parametrize("path", [NETWORK, APLINFO])
def test_bridges_or_appliances_that_fail_leave_the_templates(
    provisioned: RecordedCluster, bench: Bench, path: str
) -> None:
    provisioned.answers[path] = recorded("c3-pve3-storage-deadnfs-content")
    bench.poll()
    assert [template.volid for template in cluster(bench).templates or []] == [VOLID]
    assert (node(bench).bridges is None) == (path == NETWORK)
    assert (cluster(bench).appliances is None) == (path == APLINFO)


def test_a_node_that_cannot_be_reached_is_asked_for_its_bridges_only(
    provisioned: RecordedCluster, bench: Bench
) -> None:
    provisioned.answers[NETWORK] = Answer(595, "Connection refused", b"")
    bench.poll()
    assert provisioned.asked("pve1/aplinfo") == provisioned.asked("pve1/storage/local/content") == 0
    assert success(bench) == 0


def with_shared_storage(pve: RecordedCluster) -> None:
    def edit(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            if row.get("type") == "storage":
                row |= {"storage": "nas", "shared": 1, "content": "vztmpl,backup", "status": "available"}

    pve.change("/cluster/resources", edit)


def test_a_shared_storage_and_the_appliances_are_asked_about_on_one_node(
    provisioned: RecordedCluster, bench: Bench
) -> None:
    with_shared_storage(provisioned)
    provisioned.answers["/nodes/pve1/storage/nas/content"] = recorded("as-auditor-storage-content")
    bench.poll()
    assert provisioned.asked("/aplinfo") == 1
    assert provisioned.asked("nas/content") == 1
    assert len(cluster(bench).templates or []) == 1


def test_a_storage_that_is_not_available_or_holds_no_templates_is_not_asked(
    provisioned: RecordedCluster, bench: Bench
) -> None:
    provisioned.row("storage/pve1/local", content="images,backup")
    provisioned.row("storage/pve2/local", status="unknown")
    provisioned.row("storage/pve3/local", content="backup")
    bench.poll()
    assert provisioned.asked("local/content") == 0
    assert cluster(bench).templates == []


def test_it_is_asked_once_in_half_an_hour(provisioned: RecordedCluster, bench: Bench, clock: Clock) -> None:
    for _ in range(3):
        bench.poll()
        clock.now += 100
    assert provisioned.asked("pve1/network") == 1
