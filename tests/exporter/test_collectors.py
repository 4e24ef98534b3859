"""What each collector shows of recorded answers: with figures, with nothing to report, and when it is refused."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable

import pytest

from exporter.collectors.resources import GUEST_STATES
from exporter.stops import SCHEMA_VERSION
from tests.exporter.conftest import Bench, Clock, RecordedCluster, recorded
from tests.pve.conftest import Answer

Make = Callable[..., Bench]
EMPTY = Answer(body=b'{"data":[]}')


def test_a_running_guest_is_up_and_has_its_figures(bench: Bench) -> None:
    bench.poll()
    assert bench.value("pve_up", id="qemu/100") == 1
    assert bench.value("pve_guest_status", id="qemu/100", status="running") == 1
    assert bench.value("pve_guest_status", id="qemu/100", status="stopped") == 0
    assert bench.value("pve_cpu_usage_ratio", id="qemu/100") == pytest.approx(0.263501614930587)
    assert bench.value("pve_network_receive_bytes_total", id="qemu/100") == 51460
    assert bench.value("pve_network_receive_bytes", id="qemu/100") == 51460
    assert (
        'pve_guest_info{cluster="lab",id="qemu/100",node="pve1",name="web1",type="qemu",template="0",tags="prod;web"} 1'
        in bench.lines("pve_guest_info")
    )
    assert (
        'pvewatch_guest_info{cluster="lab",id="qemu/100",kind="qemu",vmid="100",name="web1",node="pve1",'
        'tags="prod;web"} 1' in bench.lines("pvewatch_guest_info")
    )


def test_a_paused_guest_is_neither_running_nor_stopped(pve: RecordedCluster, bench: Bench) -> None:
    pve.answers["/cluster/resources"] = recorded("c3-cluster-resources-with-paused-vm")
    bench.poll()
    paused = [line for line in bench.lines("pve_guest_status") if 'status="paused"} 1' in line]
    assert len(paused) == 1
    assert bench.value("pve_up", id=paused[0].split('id="')[1].split('"')[0]) == 0


@pytest.mark.parametrize("state", GUEST_STATES[:-1])
def test_each_state_that_pve_knows_is_shown_as_itself_and_no_other(
    pve: RecordedCluster, bench: Bench, state: str
) -> None:
    pve.row("qemu/100", status=state)
    bench.poll()
    shown = [line for line in bench.lines("pve_guest_status") if 'id="qemu/100"' in line]
    assert len(shown) == len(GUEST_STATES)
    assert [line for line in shown if line.endswith(" 1")] == [
        f'pve_guest_status{{cluster="lab",id="qemu/100",status="{state}"}} 1'
    ]


def test_a_state_that_pve_invents_later_is_shown_as_other(pve: RecordedCluster, bench: Bench) -> None:
    pve.row("qemu/100", status="teleporting")
    bench.poll()
    assert bench.value("pve_guest_status", id="qemu/100", status="other") == 1


def test_only_the_present_ha_state_and_lock_are_shown(pve: RecordedCluster, bench: Bench) -> None:
    pve.row("qemu/100", lock="backup")
    bench.poll()
    assert bench.lines("pve_lock_state") == ['pve_lock_state{cluster="lab",id="qemu/100",state="backup"} 1']
    assert [line for line in bench.lines("pve_ha_state") if "qemu/" in line] == [
        'pve_ha_state{cluster="lab",id="qemu/111",state="started"} 1'
    ]


def test_a_figure_that_pve_does_not_give_has_no_sample(pve: RecordedCluster, bench: Bench) -> None:
    pve.row("qemu/100", cpu=None, netin="N/A")
    bench.poll()
    assert bench.value("pve_cpu_usage_ratio", id="qemu/100") is None
    assert bench.value("pve_network_receive_bytes_total", id="qemu/100") is None
    assert bench.value("pve_uptime_seconds", id="qemu/100") == 376


def test_guests_of_an_offline_node_are_unknown_and_their_frozen_figures_are_withheld(
    pve: RecordedCluster, bench: Bench
) -> None:
    pve.answers["/cluster/resources"] = recorded("pve2cut-cluster-resources")
    bench.poll()
    data = json.loads(recorded("pve2cut-cluster-resources").body)["data"]
    repeated = [row["id"] for row in data if row.get("node") == "pve2" and row["status"] == "running"]
    assert repeated, "the recording shows what this is about: PVE still says running"
    for guest in repeated:
        assert bench.value("pve_guest_status", id=guest, status="unknown") == 1
        assert bench.value("pve_cpu_usage_ratio", id=guest) is None
        assert bench.value("pve_uptime_seconds", id=guest) is None
    assert bench.value("pve_node_status", id="node/pve2", status="offline") == 1
    assert bench.value("pve_guest_status", id="qemu/100", status="running") == 1


def test_figures_of_a_node_whose_uptime_stands_still_are_withheld(
    pve: RecordedCluster, bench: Bench, clock: Clock
) -> None:
    bench.poll()
    clock.now += 121
    pve.row("node/pve2", uptime=99999)
    bench.poll()
    assert bench.value("pve_guest_status", id="qemu/100", status="unknown") == 1
    assert bench.value("pve_cpu_usage_ratio", id="qemu/100") is None
    assert bench.value("pve_cpu_usage_ratio", id="node/pve1") is None
    assert bench.value("pve_guest_status", id="qemu/110", status="running") == 1


def test_after_a_cold_start_everything_is_unknown_and_nothing_is_down(pve: RecordedCluster, bench: Bench) -> None:
    pve.answers["/cluster/resources"] = recorded("cluster-resources-coldstart", "recorded-9.2")

    def with_a_guest(rows: list[dict[str, object]]) -> None:
        # All that such a row has before the first statistics.
        rows.append({"id": "qemu/100", "vmid": 100, "node": "pve9", "type": "qemu", "status": "unknown"})

    pve.change("/cluster/resources", with_a_guest)
    bench.poll()
    assert bench.value("pve_collector_success", collector="resources") == 1
    assert bench.value("pve_node_status", id="node/pve9", status="unknown") == 1
    assert bench.value("pve_node_status", id="node/pve9", status="offline") == 0
    assert bench.value("pve_guest_status", id="qemu/100", status="unknown") == 1
    assert bench.value("pve_guest_status", id="qemu/100", status="stopped") == 0
    assert bench.lines("pve_cpu_usage_ratio") == []


def test_a_guest_keeps_its_name_while_it_is_unknown(pve: RecordedCluster, bench: Bench) -> None:
    bench.poll()
    pve.row("qemu/100", status="unknown", name=None, template=None, cpu=None)
    bench.poll()
    assert any('name="web1"' in line for line in bench.lines("pvewatch_guest_info"))


def test_a_token_without_rights_is_told_as_forbidden_and_nothing_is_told_as_down(
    pve: RecordedCluster, bench: Bench
) -> None:
    bench.poll()
    pve.answers["/cluster/resources"] = recorded("as-privsep-noacl-cluster-resources")
    pve.answers["/access/permissions"] = recorded("as-privsep-noacl-permissions")
    bench.poll()
    assert bench.value("pve_collector_success", collector="resources") == 0
    assert bench.value("pve_collector_error", collector="resources", **{"class": "forbidden"}) == 1
    assert not [line for line in bench.lines("pve_up") if "qemu/" in line or "lxc/" in line]
    assert bench.value("pve_node_status", id="node/pve1", status="online") == 1
    assert "the token may nothing at all" in (bench.exporter.inventory().clusters[0].error or "")


def test_a_cluster_without_guests_is_no_error(pve: RecordedCluster, bench: Bench) -> None:
    pve.answers["/cluster/resources"] = EMPTY
    bench.poll()
    assert bench.value("pve_collector_success", collector="resources") == 1
    assert bench.lines("pve_guest_status") == []


def test_quorum_and_membership_are_shown(bench: Bench) -> None:
    bench.poll()
    assert bench.value("pve_up", id="cluster/testcl") == 1
    assert bench.value("pve_up", id="node/pve3") == 1
    assert bench.lines("pve_cluster_info") == [
        'pve_cluster_info{cluster="lab",id="cluster/testcl",nodes="3",quorate="1",version="3"} 1'
    ]
    assert 'pve_node_info{cluster="lab",id="node/pve1",level="",name="pve1",nodeid="1"} 1' in bench.lines(
        "pve_node_info"
    )


def test_a_standalone_host_has_no_cluster_info(pve: RecordedCluster, bench: Bench) -> None:
    pve.answers["/cluster/status"] = recorded("cluster-status", "recorded-9.2")
    bench.poll()
    assert bench.lines("pve_cluster_info") == []
    assert bench.value("pve_up", id="node/pve9") == 1
    assert bench.exporter.inventory().clusters[0].quorate is True


def test_lost_quorum_is_zero_and_not_absent(pve: RecordedCluster, bench: Bench) -> None:
    pve.answers["/cluster/status"] = recorded("noquorum-cluster-status")
    bench.poll()
    (line,) = [line for line in bench.lines("pve_up") if "cluster/" in line]
    assert line.endswith(" 0")
    assert bench.exporter.inventory().clusters[0].quorate is False


@pytest.mark.parametrize("collector", ["status", "tasks", "version"])
def test_a_refused_collector_says_so_and_the_others_go_on(pve: RecordedCluster, bench: Bench, collector: str) -> None:
    path = {"status": "/cluster/status", "tasks": "/cluster/tasks", "version": "/version"}[collector]
    pve.answers[path] = recorded("as-privsep-noacl-cluster-status")
    bench.poll()
    assert bench.value("pve_collector_success", collector=collector) == 0
    assert bench.value("pve_collector_error", collector=collector, **{"class": "forbidden"}) == 1
    assert bench.value("pve_collector_success", collector="resources") == 1
    assert bench.value("pve_up", id="qemu/100") == 1


def test_an_empty_status_or_task_list_is_no_error(pve: RecordedCluster, bench: Bench) -> None:
    pve.answers["/cluster/status"] = pve.answers["/cluster/tasks"] = EMPTY
    bench.poll()
    assert bench.value("pve_collector_success", collector="status") == 1
    assert bench.value("pve_collector_success", collector="tasks") == 1
    assert bench.lines("pve_node_info") == []


def test_the_version_of_the_answering_host_is_shown(bench: Bench) -> None:
    bench.poll()
    assert bench.lines("pve_version_info") == [
        'pve_version_info{cluster="lab",release="8.4",repoid="2606ac850d46da29",version="8.4.21"} 1'
    ]


def test_a_version_that_is_no_version_is_a_bad_answer(pve: RecordedCluster, bench: Bench) -> None:
    pve.answers["/version"] = Answer(body=b'{"data":{}}')
    bench.poll()
    assert bench.value("pve_collector_error", collector="version", **{"class": "bad_answer"}) == 1


def test_each_node_shows_load_kernel_and_space(bench: Bench) -> None:
    bench.poll()
    assert bench.value("pve_node_load1", id="node/pve1") == 4.92
    assert bench.value("pve_node_io_wait_ratio", id="node/pve1") == pytest.approx(0.00119262739428984)
    assert bench.value("pve_node_swap_size_bytes", id="node/pve1") == 0
    assert bench.value("pve_node_rootfs_usage_bytes", id="node/pve1") == 39851651072
    assert (
        'pve_node_kernel_info{cluster="lab",id="node/pve1",kernel="6.18.44-fc-v669",pve_version="8.4.21"} 1'
        in bench.lines("pve_node_kernel_info")
    )


def test_one_refused_node_leaves_the_others_their_figures(pve: RecordedCluster, bench: Bench) -> None:
    pve.answers["/nodes/pve2/status"] = recorded("as-privsep-noacl-node-status")
    bench.poll()
    assert bench.value("pve_collector_error", collector="node", node="pve2", **{"class": "forbidden"}) == 1
    assert bench.value("pve_collector_success", collector="node", node="pve1") == 1
    assert bench.value("pve_node_load1", id="node/pve1") == 4.92
    assert bench.value("pve_node_load1", id="node/pve2") is None


def test_a_node_without_figures_is_a_success_without_samples(pve: RecordedCluster, bench: Bench) -> None:
    pve.answers["/nodes/pve2/status"] = Answer(body=b'{"data":{}}')
    bench.poll()
    assert bench.value("pve_collector_success", collector="node", node="pve2") == 1
    assert bench.value("pve_node_load1", id="node/pve2") is None


def test_a_node_known_to_be_offline_is_not_asked(pve: RecordedCluster, bench: Bench) -> None:
    pve.row("node/pve2", status="offline")
    bench.poll()
    assert pve.asked("/nodes/pve2/status") == 0
    assert bench.value("pve_collector_error", collector="node", node="pve2", **{"class": "unreachable"}) == 1


def test_onboot_is_shown_only_where_the_configuration_says_it(pve: RecordedCluster, bench: Bench) -> None:
    pve.answers["/nodes/pve1/qemu/100/config"] = Answer(body=b'{"data":{"onboot":1,"name":"web1"}}')
    pve.answers["/nodes/pve1/qemu/101/config"] = Answer(body=b'{"data":{"name":"db1"}}')
    bench.poll()
    assert bench.value("pve_onboot_status", id="qemu/100", node="pve1", type="qemu") == 1
    assert bench.value("pve_onboot_status", id="qemu/101") is None


def test_guests_whose_configuration_is_forbidden_do_not_hide_the_others(pve: RecordedCluster, bench: Bench) -> None:
    pve.answers["/nodes/pve1/qemu/100/config"] = Answer(403, "Permission check failed (/vms/100, VM.Audit)", b"")
    pve.answers["/nodes/pve1/qemu/101/config"] = Answer(body=b'{"data":{"onboot":1}}')
    bench.poll()
    assert bench.value("pve_collector_success", collector="config", node="pve1") == 0
    assert bench.value("pve_onboot_status", id="qemu/101") == 1


def test_a_node_without_guests_has_nothing_to_configure_and_is_no_error(pve: RecordedCluster, bench: Bench) -> None:
    pve.change(
        "/cluster/resources", lambda rows: [row for row in rows if row.get("node") != "pve2" or row["type"] == "node"]
    )
    bench.poll()
    assert bench.value("pve_collector_success", collector="config", node="pve2") == 1


def test_a_configuration_is_not_asked_again_before_it_is_due(
    pve: RecordedCluster, make_bench: Make, clock: Clock
) -> None:
    bench = make_bench(pve)
    pve.answers["/nodes/pve1/qemu/100/config"] = Answer(body=b'{"data":{"onboot":1}}')
    bench.poll()
    clock.now += 30
    bench.poll()
    assert pve.asked("/qemu/100/config") == 1
    clock.now += 600
    bench.poll()
    assert pve.asked("/qemu/100/config") == 2


def test_a_guest_that_was_started_meanwhile_is_asked_at_once_as_changes_may_have_waited_for_that(
    pve: RecordedCluster, make_bench: Make, clock: Clock
) -> None:
    bench = make_bench(pve)
    pve.row("qemu/100", uptime=5000)
    bench.poll()
    for status, uptime, asked in (
        ("running", 5010, 1),
        ("running", 7, 2),
        ("running", 7, 2),  # figures that stand still
        ("unknown", None, 2),
        ("running", 27, 2),
        ("stopped", 0, 3),
        ("stopped", 0, 3),
        ("running", 30, 4),
        ("running", 40, 4),
    ):
        pve.row("qemu/100", uptime=uptime, status=status)
        clock.now += 10
        bench.poll()
        assert pve.asked("/qemu/100/config") == asked, (status, uptime)


def test_of_a_vm_what_it_runs_with_counts_and_not_what_waits_for_its_next_start(
    pve: RecordedCluster, bench: Bench
) -> None:
    bench.poll()
    asked = [path for _, path, _ in pve.host.asked if path.partition("?")[0].endswith("/config")]
    assert "/nodes/pve1/qemu/100/config?current=1" in asked
    assert "/nodes/pve1/lxc/200/config" in asked


def test_a_guest_that_starts_at_boot_should_run(pve: RecordedCluster, bench: Bench) -> None:
    pve.answers["/nodes/pve1/qemu/101/config"] = Answer(body=b'{"data":{"onboot":1}}')
    bench.poll()
    assert bench.value("pvewatch_guest_expected_running", id="qemu/101") == 1
    guest = bench.exporter.inventory().guest("lab", 101)
    assert guest is not None
    assert guest.expected_running
    assert guest.onboot


def test_whether_a_guest_should_run_is_not_claimed_before_its_configuration_is_known(
    pve: RecordedCluster, bench: Bench
) -> None:
    pve.answers["/nodes/pve1/qemu/100/config"] = recorded("outage-pvedaemon-stopped-qemu-current")
    bench.poll()
    assert bench.value("pvewatch_guest_expected_running", id="qemu/100") is None


def test_a_guest_that_ha_or_its_tag_wants_should_run(pve: RecordedCluster, bench: Bench) -> None:
    pve.row("lxc/210", tags="web;pvewatch-expect-running")
    bench.poll()
    assert bench.value("pvewatch_guest_expected_running", id="qemu/111") == 1
    assert bench.value("pvewatch_guest_expected_running", id="lxc/210") == 1


def test_a_template_should_never_run(pve: RecordedCluster, bench: Bench) -> None:
    pve.row("lxc/210", tags="pvewatch-expect-running", template=1)
    bench.poll()
    assert bench.value("pvewatch_guest_expected_running", id="lxc/210") == 0


def stop_task(vmid: int, kind: str = "qmstop", user: str = "root@pam", ended: int = 1795253440) -> dict[str, object]:
    """A row as /cluster/tasks gives it (recorded: life-qemu-stop)."""
    upid = f"UPID:pve1:00000626:00038B73:{ended - 2:08X}:{kind}:{vmid}:{user}:"
    return {"upid": upid, "starttime": ended - 2, "endtime": ended, "status": "OK", "node": "pve1", "type": kind}


def test_a_guest_that_a_person_stopped_need_not_run_even_after_a_restart(
    pve: RecordedCluster, make_bench: Make
) -> None:
    bench = make_bench(pve)
    pve.row("qemu/100", status="stopped", uptime=0, tags="pvewatch-expect-running")
    bench.poll()
    assert bench.value("pvewatch_guest_expected_running", id="qemu/100") == 1
    pve.change("/cluster/tasks", lambda rows: [*rows, stop_task(100)])
    bench = make_bench(pve, data="fresh")
    bench.poll()
    assert bench.value("pvewatch_guest_expected_running", id="qemu/100") == 0
    bench.exporter.stop()
    pve.answers["/cluster/tasks"] = EMPTY
    later = make_bench(pve, data="fresh")
    later.poll()
    assert later.value("pvewatch_guest_expected_running", id="qemu/100") == 0


def test_a_guest_that_was_started_again_should_run_again(pve: RecordedCluster, make_bench: Make) -> None:
    bench = make_bench(pve)
    pve.row("qemu/100", status="stopped", uptime=0, tags="pvewatch-expect-running")
    pve.change("/cluster/tasks", lambda rows: [*rows, stop_task(100)])
    bench.poll()
    assert bench.value("pvewatch_guest_expected_running", id="qemu/100") == 0
    pve.change("/cluster/tasks", lambda rows: [*rows, stop_task(100, "qmstart", ended=1795253450)])
    bench.poll()
    assert bench.value("pvewatch_guest_expected_running", id="qemu/100") == 1


def test_a_stop_is_forgotten_when_the_guest_runs_though_its_start_was_never_listed(
    pve: RecordedCluster, make_bench: Make, clock: Clock
) -> None:
    bench = make_bench(pve)
    pve.row("qemu/100", status="stopped", uptime=0, tags="pvewatch-expect-running")
    pve.change("/cluster/tasks", lambda rows: [*rows, stop_task(100)])
    bench.poll()
    pve.answers["/cluster/tasks"] = EMPTY
    clock.now += 100
    pve.row("qemu/100", status="running", uptime=60)
    bench.poll()
    assert bench.value("pvewatch_guest_expected_running", id="qemu/100") == 1


@pytest.mark.parametrize(
    "task",
    [
        {**stop_task(100), "status": "VM is locked (backup)"},
        {**stop_task(100), "status": "received interrupt"},
        stop_task(100, "vzstop", "pvewatch@pve!power"),
        stop_task(100, "qmsnapshot"),
    ],
    ids=["refused", "interrupted", "first half of pvewatch's own container reset", "no stop at all"],
)
def test_what_is_no_persons_stop_changes_nothing(pve: RecordedCluster, bench: Bench, task: dict[str, object]) -> None:
    pve.row("qemu/100", status="stopped", uptime=0, tags="pvewatch-expect-running")
    pve.change("/cluster/tasks", lambda rows: [*rows, task])
    bench.poll()
    assert bench.value("pvewatch_guest_expected_running", id="qemu/100") == 1


def test_what_ha_stops_itself_is_no_persons_stop(pve: RecordedCluster, bench: Bench) -> None:
    pve.row("qemu/111", status="stopped", uptime=0)
    pve.change("/cluster/tasks", lambda rows: [*rows, stop_task(111)])
    bench.poll()
    assert bench.value("pvewatch_guest_expected_running", id="qemu/111") == 1


def test_the_stops_are_kept_where_only_the_exporter_may_read(bench: Bench) -> None:
    path = bench.exporter.settings.data_dir / "exporter.db"
    assert path.stat().st_mode & 0o077 == 0
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
