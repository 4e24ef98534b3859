"""What a token does not see of a cluster's rows is told with the reason, by the privileges that Proxmox VE names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.exporter.conftest import Bench, RecordedCluster
from tests.pve.conftest import Answer

NODE = {"id": "node/pve1", "type": "node", "node": "pve1", "status": "online"}
GUEST = {"id": "qemu/100", "type": "qemu", "vmid": 100, "node": "pve1", "status": "running"}
STORAGE = {"id": "storage/pve1/local", "type": "storage", "storage": "local", "node": "pve1", "status": "available"}
NO_GUEST = "the token lacks VM.Audit on /vms, so no guest is visible"
EVERYTHING = {"/vms": {"VM.Audit": 1}, "/storage": {"Datastore.Audit": 1}}


def data(value: object) -> Answer:
    return Answer(body=json.dumps({"data": value}).encode())


@pytest.mark.parametrize(
    ("rows", "granted", "told"),
    [
        ([STORAGE], {"/storage": {"Datastore.Audit": 1}}, NO_GUEST),
        ([], {"/": {"Sys.Audit": 1}}, NO_GUEST),
        ([], {"/": {"VM.Audit": 0, "Datastore.Audit": 0}}, NO_GUEST),
        ([], {}, "the token may nothing at all"),
    ],
    ids=["no guest", "neither", "on / alone, not below", "nothing at all"],
)
def test_rows_that_may_not_be_seen_are_told_of_and_the_others_shown(
    pve: RecordedCluster, bench: Bench, rows: list[Any], granted: dict[str, Any], told: str
) -> None:
    pve.answers["/cluster/resources"] = data([NODE, *rows])
    pve.answers["/access/permissions"] = data(granted)
    bench.poll()
    assert bench.value("pve_collector_error", collector="resources", **{"class": "forbidden"}) == 1
    assert f"{told}; `pvewatch check`" in (bench.exporter.inventory().clusters[0].error or "")
    assert bench.value("pve_node_status", id="node/pve1", status="online") == 1
    assert len(bench.lines("pve_guest_info")) == (GUEST in rows)
    assert len(bench.lines("pve_storage_info")) == (STORAGE in rows)


@pytest.mark.parametrize(
    "granted",
    [EVERYTHING, {"/vms/7": {"VM.Audit": 1}, "/storage/x": {"Datastore.Audit": 1}}, {"/pool/web": EVERYTHING["/vms"]}],
    ids=["everywhere", "somewhere", "in a pool"],
)
def test_rows_that_may_be_seen_and_are_not_there_are_no_error(
    pve: RecordedCluster, bench: Bench, granted: dict[str, Any]
) -> None:
    pve.answers["/cluster/resources"] = data([NODE, STORAGE])
    pve.answers["/access/permissions"] = data(granted)
    bench.poll()
    assert bench.value("pve_collector_success", collector="resources") == 1


def test_a_token_that_may_see_no_storage_does_not_end_the_alerts_about_guests(
    pve: RecordedCluster, bench: Bench
) -> None:
    pve.answers["/cluster/resources"] = data([NODE, GUEST])
    pve.answers["/access/permissions"] = data({"/vms": {"VM.Audit": 1}})
    bench.poll()
    assert bench.value("pve_collector_success", collector="resources") == 1


def test_permissions_are_not_asked_for_while_there_are_guests(pve: RecordedCluster, bench: Bench) -> None:
    pve.answers["/cluster/resources"] = data([NODE, GUEST, STORAGE])
    pve.answers["/cluster/backup"] = data(None)
    bench.poll()
    assert pve.asked("/cluster/resources") == 1
    assert pve.asked("/access/permissions") == 0
