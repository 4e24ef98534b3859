"""Votes, quorum device, HA, replication, backup jobs and tasks, out of recorded answers of 8.4 and 9.2."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.exporter.conftest import Bench, Clock, RecordedCluster, recorded
from tests.pve.conftest import Answer

Make = Callable[..., Bench]
FORBIDDEN = recorded("as-privsep-noacl-ha-status")
HA = "/cluster/ha/status/current"


SEEING = {
    "/": {"Sys.Audit": 1, "VM.Audit": 1},
    "/access": {"Sys.Audit": 1, "VM.Audit": 1},
    "/vms": {"VM.Audit": 1},
    # The recorded ACL has an entry of somebody else's for it.
    "/vms/100": {"VM.Audit": 1},
}


def data(value: object) -> Answer:
    return Answer(body=json.dumps({"data": value}).encode())


@pytest.fixture
def areas(pve: RecordedCluster) -> RecordedCluster:
    """The recorded cluster with everything that is asked about the whole of it."""
    pve.answers |= {
        "/cluster/config/nodes": recorded("c3-cluster-config-nodes"),
        HA: recorded("c3-ha-status-current"),
        "/cluster/ha/groups": recorded("c3-ha-groups"),
        "/cluster/backup": recorded("cluster-backup"),
        "/cluster/backup-info/not-backed-up": recorded("as-auditor-not-backed-up"),
        "/nodes/pve1/replication": recorded("node-replication"),
    }
    return pve


def test_votes_are_counted_of_all_and_of_those_that_are_there(areas: RecordedCluster, bench: Bench) -> None:
    bench.poll()
    assert bench.value("pve_node_votes", id="node/pve2") == 1
    assert bench.value("pve_cluster_votes_expected") == bench.value("pve_cluster_votes_present") == 3
    areas.answers["/cluster/status"] = recorded("noquorum-cluster-status")
    bench.poll()
    assert bench.value("pve_cluster_votes_expected") == 3
    assert bench.value("pve_cluster_votes_present") == 1


def test_a_standalone_host_has_no_votes_and_no_error(areas: RecordedCluster, bench: Bench) -> None:
    areas.answers["/cluster/config/nodes"] = recorded("cluster-config-nodes")
    bench.poll()
    assert bench.lines("pve_cluster_votes_expected") == []
    assert bench.value("pve_collector_success", collector="quorum") == 1


@pytest.mark.parametrize(("state", "up"), [("Connected", 1), ("Connecting", 0)])
def test_a_quorum_device_is_up_while_it_is_connected(areas: RecordedCluster, bench: Bench, state: str, up: int) -> None:
    areas.answers["/cluster/config/qdevice"] = data({"State": state, "Model": "Net", "QNetd host": "192.0.2.5:5403"})
    bench.poll()
    assert bench.value("pve_qdevice_up") == up
    assert 'qnetd_host="192.0.2.5:5403"' in bench.lines("pve_qdevice_info")[0]


def test_the_ha_manager_its_nodes_and_its_guests_are_shown_with_groups_on_8(
    areas: RecordedCluster, bench: Bench
) -> None:
    bench.poll()
    assert bench.value("pve_ha_quorate") == 1
    assert bench.value("pve_ha_manager_info", id="node/pve3") == 1
    assert bench.value("pve_ha_lrm_status", id="node/pve3", status="active") == 1
    assert bench.value("pve_ha_resource_state", id="qemu/111", state="started") == 1
    assert bench.lines("pve_ha_placement_enabled") == [
        'pve_ha_placement_enabled{cluster="lab",name="g1",type="group"} 1'
    ]
    assert areas.asked("/cluster/ha/rules") == 0


def test_rules_are_asked_on_9_and_where_the_answering_host_is_newer_than_its_version_said(
    areas: RecordedCluster, bench: Bench
) -> None:
    rule = {"rule": "keep", "type": "node-affinity", "resources": "vm:111", "nodes": "pve1", "order": 1}
    areas.answers["/cluster/ha/rules"] = data([rule, {**rule, "rule": "off", "disable": 1}])
    areas.answers["/cluster/ha/groups"] = recorded("ha-groups", "recorded-9.2")
    bench.poll()  # the version is still 8.4
    assert len(bench.lines("pve_ha_placement_enabled")) == 2
    assert 'type="node-affinity"} 0' in "".join(
        line for line in bench.lines("pve_ha_placement_enabled") if "off" in line
    )
    areas.answers["/version"] = recorded("version", "recorded-9.2")
    asked = areas.asked("/cluster/ha/groups")
    bench.exporter.pollers[0]._due.clear()
    bench.poll()
    bench.exporter.pollers[0]._due.clear()
    bench.poll()
    assert areas.asked("/cluster/ha/groups") <= asked + 1
    assert len(bench.lines("pve_ha_placement_enabled")) == 2


def test_ha_that_nobody_uses_has_no_series_on_9(areas: RecordedCluster, bench: Bench) -> None:
    areas.answers[HA] = recorded("ha-status-current", "recorded-9.2")
    bench.poll()
    assert bench.lines("pve_ha_quorate") == bench.lines("pve_ha_lrm_status") == []
    assert bench.value("pve_collector_success", collector="ha") == 1


def test_without_quorum_the_last_good_states_of_ha_are_withheld(areas: RecordedCluster, bench: Bench) -> None:
    areas.answers[HA] = recorded("noquorum-ha-status-current")
    bench.poll()
    assert bench.value("pve_ha_quorate") == 0
    for name in ("pve_ha_resource_state", "pve_ha_lrm_status", "pve_ha_manager_status", "pve_ha_manager_info"):
        assert bench.lines(name) == [], name
    assert bench.value("pve_ha_manager_last_seen_timestamp_seconds") == 1795254198


def test_replication_jobs_of_every_node_are_shown(areas: RecordedCluster, bench: Bench) -> None:
    job = {"guest": 100, "vmtype": "qemu", "type": "local", "target": "pve3", "fail_count": 0, "duration": 3.5}
    times = {"last_sync": 1795253400, "last_try": 1795253400, "next_sync": 1795254300}
    areas.answers["/nodes/pve1/replication"] = data([{**job, **times, "id": "100-0", "source": "pve1"}])
    failing = {**job, **times, "id": "110-0", "guest": 110, "source": "pve2", "fail_count": 2}
    areas.answers["/nodes/pve2/replication"] = data([failing])
    bench.poll()
    assert bench.value("pve_replication_last_sync_timestamp_seconds", id="100-0") == 1795253400
    assert bench.value("pve_replication_failed_syncs", id="110-0") == 2
    assert 'source="node/pve2",target="node/pve3",guest="qemu/110"' in "".join(bench.lines("pve_replication_info"))


def test_a_node_whose_replication_is_forbidden_costs_only_its_own(areas: RecordedCluster, bench: Bench) -> None:
    areas.answers["/nodes/pve2/replication"] = FORBIDDEN
    bench.poll()
    assert bench.value("pve_collector_success", collector="replication", node="pve1") == 1
    assert bench.value("pve_collector_error", collector="replication", node="pve2", **{"class": "forbidden"}) == 1


def test_backup_jobs_and_guests_in_none_are_shown(areas: RecordedCluster, bench: Bench) -> None:
    bench.poll()
    (job,) = bench.lines("pve_backup_job_info")
    assert 'schedule="02:30",storage="local",mode="snapshot"' in job
    assert bench.value("pve_backup_job_next_run_timestamp_seconds") == 1795314600
    assert bench.value("pve_not_backed_up_total") == 4
    assert bench.value("pve_not_backed_up_info", id="lxc/200") == 1


def test_guests_in_no_job_are_shown_on_9(areas: RecordedCluster, bench: Bench) -> None:
    areas.answers["/cluster/backup-info/not-backed-up"] = recorded("not-backed-up", "recorded-9.2")
    bench.poll()
    assert bench.value("pve_not_backed_up_total") == 2


@pytest.mark.parametrize(
    "granted",
    [
        {"/": {"Sys.Audit": 1}, "/nodes": {"Sys.Audit": 1}},
        SEEING | {"/vms/101": {"VM.PowerMgmt": 1}},
        {place: names for place, names in SEEING.items() if place != "/vms/100"},
        {place: names for place, names in SEEING.items() if place != "/access"},
    ],
    ids=["no VM.Audit at all", "taken away on one guest", "NoAccess on one guest", "NoAccess may not be seen"],
)
def test_an_empty_list_that_may_be_a_short_one_is_no_proof_that_everything_is_backed_up(
    areas: RecordedCluster, bench: Bench, granted: dict[str, Any]
) -> None:
    areas.answers["/cluster/backup-info/not-backed-up"] = data([])
    areas.answers["/access/permissions"] = data(granted)
    bench.poll()
    assert bench.lines("pve_not_backed_up_total") == []
    assert bench.value("pve_collector_error", collector="backup", **{"class": "forbidden"}) == 1
    assert len(bench.lines("pve_backup_job_info")) == 1, "the jobs themselves need no VM.Audit"


def test_a_list_that_is_empty_though_all_guests_are_seen_says_that_everything_is_backed_up(
    areas: RecordedCluster, bench: Bench
) -> None:
    areas.answers["/cluster/backup-info/not-backed-up"] = data([])
    areas.answers["/access/permissions"] = data(SEEING)
    bench.poll()
    assert bench.value("pve_not_backed_up_total") == 0


def test_no_access_to_a_pool_hides_its_guests(areas: RecordedCluster, bench: Bench) -> None:
    row = {"path": "/pool/web", "roleid": "NoAccess", "type": "group", "ugid": "staff", "propagate": 1}
    areas.change("/access/acl", lambda rows: [*rows, row])
    bench.poll()
    assert bench.lines("pve_not_backed_up_total") == []
    areas.change("/access/permissions", lambda granted: {**granted, "/pool/web": {"Pool.Audit": 1}})
    bench.exporter.pollers[0]._due.clear()
    bench.poll()
    assert bench.value("pve_not_backed_up_total") == 4, "it is for others than this token"


def test_the_time_that_a_job_was_planned_for_is_its_last_run_once_it_has_passed(
    areas: RecordedCluster, make_bench: Make, clock: Clock
) -> None:
    bench = make_bench(areas, collectors={"backup": {"interval_seconds": 1}})
    bench.poll()
    assert bench.lines("pve_backup_job_last_run_timestamp_seconds") == []
    clock.now = 1795314700.0
    areas.change("/cluster/backup", lambda rows: [{**rows[0], "next-run": 1795401000}])
    bench.exporter.pollers[0]._due.clear()
    bench.poll()
    assert bench.value("pve_backup_job_last_run_timestamp_seconds") == 1795314600
    assert bench.value("pve_backup_job_next_run_timestamp_seconds") == 1795401000


@pytest.fixture
def running(areas: RecordedCluster) -> RecordedCluster:
    """A list with a task that runs."""
    areas.answers["/cluster/tasks"] = recorded("cluster-tasks-running")
    return areas


def test_tasks_are_counted_by_type_and_result_from_when_they_are_first_seen(
    running: RecordedCluster, bench: Bench, clock: Clock
) -> None:
    bench.poll()
    assert bench.value("pve_tasks_running", type="qmshutdown") == 1
    assert bench.value("pve_tasks_finished_total", type="qmsnapshot", result="ok") == 0

    def end(rows: list[dict[str, Any]]) -> None:
        (task,) = [row for row in rows if "endtime" not in row]
        task |= {"endtime": int(clock.now), "status": "VM quit/powerdown failed - got timeout"}
        rows.append(
            {
                "id": "200",
                "node": "pve1",
                "pid": 1,
                "user": "root@pam",
                "type": "vzdump",
                "starttime": int(clock.now) - 5,
                "endtime": int(clock.now),
                "status": "WARNINGS: 1",
                "upid": "UPID:pve1:00000900:0003D395:6B016350:vzdump:200:root@pam:",
            }
        )

    clock.now += 10
    running.change("/cluster/tasks", end)
    bench.poll()
    assert bench.value("pve_tasks_running", type="qmshutdown") == 0
    assert bench.value("pve_tasks_finished_total", type="qmshutdown", result="error") == 1
    assert bench.value("pve_tasks_finished_total", type="vzdump", result="warning") == 1
    assert bench.value("pve_task_last_failure_timestamp_seconds", type="qmshutdown") == clock.now
    bench.poll()
    assert bench.value("pve_tasks_finished_total", type="qmshutdown", result="error") == 1, "once, however often seen"


def test_what_was_counted_is_still_counted_after_a_restart(
    running: RecordedCluster, make_bench: Make, clock: Clock
) -> None:
    first = make_bench(running, data="kept")
    first.poll()

    def end(rows: list[dict[str, Any]]) -> None:
        (task,) = [row for row in rows if "endtime" not in row]
        task |= {"endtime": int(clock.now), "status": "OK"}

    clock.now += 10
    running.change("/cluster/tasks", end)
    first.poll()
    first.exporter.stop()
    second = make_bench(running, data="kept")
    second.poll()
    assert second.value("pve_tasks_finished_total", type="qmshutdown", result="ok") == 1


def test_a_type_that_proxmox_ve_does_not_start_is_counted_as_other(running: RecordedCluster, bench: Bench) -> None:
    def rename(rows: list[dict[str, Any]]) -> None:
        for index, row in enumerate(rows):
            row["upid"] = row["upid"].replace(f":{row['type']}:", f":plugin{index}:")
            row["type"] = f"plugin{index}"

    running.change("/cluster/tasks", rename)
    bench.poll()
    counted = bench.lines("pve_tasks_finished_total")
    assert len(counted) == 3
    assert all('type="other"' in line for line in counted)


@pytest.mark.parametrize("path", ["/cluster/config/nodes", "/cluster/config/qdevice", HA, "/cluster/backup"])
def test_what_is_refused_says_so_and_costs_only_itself(areas: RecordedCluster, bench: Bench, path: str) -> None:
    areas.answers["/cluster/config/qdevice"] = data({"State": "Connected"})
    areas.answers[path] = FORBIDDEN
    bench.poll()
    failed = [line for line in bench.lines("pve_collector_error") if 'class="forbidden"' in line]
    assert len(failed) == 1
    assert bench.value("pve_guest_status", id="qemu/100", status="running") == 1
