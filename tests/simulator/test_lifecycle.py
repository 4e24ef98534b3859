"""Actions end as they were recorded, change the guest as the real ones do, and show up in the task lists."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvewatch.simulator.faults import BadFault, Fault
from pvewatch.simulator.lifecycle import ACTIONS
from tests.simulator.conftest import Bench, make_bench, recorded, running_guest, stopped_guest

# recording → the state its guest was in, as the fault that leads there or "stopped"
OUTCOMES = {
    "life-qemu-start-already-running": None,
    "life-qemu-stop": None,
    "life-qemu-reset": None,
    "life-qemu-suspend": None,
    "life-qemu-unknown-start": None,
    "life-qemu-unknown-stop": None,
    "life-qemu-start-template": None,
    "life-qemu-start": "stopped",
    "life-qemu-stop-already-stopped": "stopped",
    "life-qemu-shutdown-stopped": "stopped",
    "life-qemu-shutdown-timeout": Fault("hang", guest="qemu/100"),
    "life-qemu-stop-locked-backup-running": Fault("lock", guest="qemu/100", lock="backup"),
    "life-qemu-shutdown-locked-backup-running": Fault("lock", guest="qemu/100", lock="backup"),
    "life-qemu-start-locked": Fault("lock", guest="qemu/101", lock="migrate"),
    "life-lxc-start": "stopped",
    "life-lxc-stop": None,
    "life-lxc-shutdown": None,
    "life-lxc-reboot": None,
    "life-lxc-unknown-start": None,
    "life-lxc-stop-locked-backup": Fault("lock", guest="lxc/200", lock="backup"),
    "life-lxc-shutdown-locked-backup": Fault("lock", guest="lxc/200", lock="backup"),
    "c3-wrong-node-start": None,
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_an_action_ends_as_recorded(bench: Bench, name: str) -> None:
    before = OUTCOMES[name]
    if isinstance(before, Fault):
        bench.cluster.add_fault(before)
    elif before == "stopped":
        for guest in ("qemu/100", "lxc/200"):
            bench.post(f"/nodes/pve1/{guest}/status/stop")
        bench.wait(30)
    assert_it_ends_as_recorded(bench, "8.4", name)


@pytest.mark.parametrize(
    "name", ["qemu-start-running", "qemu-start-unknown", "qemu-reset", "qemu-stop", "lxc-start-200"]
)
def test_an_action_on_9_2_ends_as_recorded(single: Bench, name: str) -> None:
    assert_it_ends_as_recorded(single, "9.2", name)


def assert_it_ends_as_recorded(bench: Bench, version: str, name: str) -> None:
    """Same keys and words in the task's status, same lines in its log; numbers of processes and times differ."""
    asked = recorded(version, name)
    upid = bench.post(asked.path, **asked.parameters)
    bench.wait(90)
    node, theirs = upid.split(":")[1], recorded(version, f"{name}.task-status").body["data"]
    ours = bench.get(f"/nodes/{node}/tasks/{upid}/status")
    differs = {"upid", "pid", "pstart", "starttime"}
    assert {key: value for key, value in ours.items() if key not in differs} == {
        key: value for key, value in theirs.items() if key not in differs
    }
    assert set(ours) == set(theirs)
    assert bench.get(f"/nodes/{node}/tasks/{upid}/log") == sorted(
        recorded(version, f"{name}.task-log").body["data"], key=lambda line: line["n"]
    )


def test_resume_ends_a_pause_that_only_the_resources_show(bench: Bench) -> None:
    assert bench.outcome(bench.post("/nodes/pve1/qemu/100/status/suspend")) == "OK"
    assert bench.guest("qemu/100")["status"] == "paused"
    listed = next(row for row in bench.get("/nodes/pve1/qemu") if row["vmid"] == 100)
    assert (listed["status"], "qmpstatus" in listed) == ("running", False)
    assert bench.get("/nodes/pve1/qemu/100/status/current")["qmpstatus"] == "paused"
    assert bench.outcome(bench.post("/nodes/pve1/qemu/100/status/resume")) == "OK"
    assert bench.guest("qemu/100")["status"] == "running"


def test_an_action_during_a_shutdown_waits_for_the_lock_in_vain(bench: Bench) -> None:
    bench.cluster.add_fault(Fault("hang", guest="qemu/100"))
    shutdown = bench.post("/nodes/pve1/qemu/100/status/shutdown", timeout=60)
    start = bench.post("/nodes/pve1/qemu/100/status/start")
    theirs = recorded("8.4", "life-qemu-start-during-shutdown.task-status").body["data"]
    assert bench.outcome(start, seconds=11) == theirs["exitstatus"]
    stop = bench.ask("POST", "/nodes/pve1/qemu/100/status/stop", **{"overrule-shutdown": 1})
    assert stop.status == 200
    assert bench.outcome(shutdown, seconds=5) == "received interrupt"
    assert bench.guest("qemu/100")["status"] == "running"  # until the next refresh of the statistics
    bench.wait(10)
    assert bench.guest("qemu/100")["status"] == "stopped"


def test_an_action_goes_on_when_the_one_before_ends_in_time(bench: Bench) -> None:
    bench.post("/nodes/pve1/qemu/100/status/shutdown")
    assert bench.outcome(bench.post("/nodes/pve1/qemu/100/status/start")) == "OK"
    assert bench.guest("qemu/100")["status"] == "running"


def test_a_task_can_be_aborted(bench: Bench) -> None:
    bench.cluster.add_fault(Fault("hang", guest="qemu/100"))
    upid = bench.post("/nodes/pve1/qemu/100/status/shutdown")
    bench.wait(1)
    assert bench.get(f"/nodes/pve1/tasks/{upid}/status")["status"] == "running"
    assert bench.ask("DELETE", f"/nodes/pve1/tasks/{upid}").status == 200
    assert bench.outcome(upid, seconds=0) == "received interrupt"


def test_an_ha_guest_changes_only_after_its_task_has_ended(bench: Bench) -> None:
    upid = bench.post("/nodes/pve3/qemu/111/status/stop")
    log = recorded("8.4", "c3-ha-stop-via-api.task-log").body["data"]
    assert bench.outcome(upid, seconds=2) == "OK"
    assert bench.get(f"/nodes/pve3/tasks/{upid}/log") == sorted(log, key=lambda line: line["n"])
    assert bench.get("/nodes/pve3/qemu/111/status/current")["status"] == "running"
    bench.wait(30)
    assert bench.get("/nodes/pve3/qemu/111/status/current")["status"] == "stopped"
    second = bench.get("/nodes/pve3/tasks")[0]
    assert (second["type"], second["user"]) == ("qmshutdown", "root@pam")


def test_a_reset_of_an_ha_guest_is_a_task_of_its_own(bench: Bench) -> None:
    upid = bench.post("/nodes/pve3/qemu/111/status/reset")
    assert upid.split(":")[5] == recorded("8.4", "c3-ha-reset-via-api").body["data"].split(":")[5]


def test_task_lists_filter_and_count(bench: Bench) -> None:
    bench.outcome(bench.post("/nodes/pve1/qemu/100/status/start"))
    bench.outcome(bench.post("/nodes/pve1/qemu/100/status/stop"))
    since = int(bench.clock[0]) - 300
    mine = bench.get("/nodes/pve1/tasks", vmid=100, since=since)
    assert [task["type"] for task in mine] == ["qmstop", "qmstart"]
    assert [task["status"] for task in bench.get("/nodes/pve1/tasks", errors=1)] == ["VM 100 already running"]
    assert len(bench.get("/nodes/pve1/tasks", limit=1)) == 1
    assert {task["type"] for task in bench.get("/nodes/pve1/tasks", typefilter="vzstart")} == {"vzstart"}
    assert bench.get("/nodes/pve1/tasks", source="active") == []


def test_a_stopped_and_started_guest_counts_from_zero(bench: Bench) -> None:
    before = bench.guest("qemu/100")
    bench.outcome(bench.post("/nodes/pve1/qemu/100/status/stop"))
    stopped = bench.guest("qemu/100")
    assert (stopped["status"], stopped["uptime"], stopped["netin"], stopped["mem"]) == ("stopped", 0, 0, 0)
    bench.outcome(bench.post("/nodes/pve1/qemu/100/status/start"), seconds=20)
    after = bench.guest("qemu/100")
    assert 0 < after["uptime"] < 30
    assert 0 < after["netin"] < before["netin"]


def test_a_reset_boots_the_userland_and_leaves_the_counters_alone(bench: Bench) -> None:
    guest = bench.cluster.world.guests[100]
    boots, before = guest.boots, bench.guest("qemu/100")
    bench.outcome(bench.post("/nodes/pve1/qemu/100/status/reset"))
    after = bench.guest("qemu/100")
    assert guest.boots == boots + 1
    assert after["uptime"] > before["uptime"]
    assert after["netin"] > before["netin"]


ORDERS = st.tuples(
    st.sampled_from([("qemu", 100), ("qemu", 101), ("lxc", 200), ("qemu", 9000), ("qemu", 777), ("qemu", 111)]),
    st.sampled_from(ACTIONS["qemu"]),
    st.sampled_from([0.0, 0.5, 3.0, 15.0, 70.0]),
)
FAULTS = st.sampled_from(
    [
        Fault("hang", guest="qemu/101"),
        Fault("hang", guest="lxc/200"),
        Fault("lock", guest="qemu/100", lock="backup"),
        Fault("node-offline", node="pve2"),
        Fault("node-offline", node="pve3"),
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(ORDERS, FAULTS, st.just(None)), max_size=14))
def test_whatever_is_ordered_every_task_ends_and_every_row_stays_whole(steps: list[object]) -> None:
    guests = [
        running_guest("qemu", 100, "pve1", "web1"),
        running_guest("qemu", 101, "pve1", "db1"),
        running_guest("qemu", 111, "pve1", "ha1", ha_state="started", ha_group="g1"),
        running_guest("lxc", 200, "pve2", "ct1"),
        stopped_guest("qemu", 9000, "pve1", "tpl", template=True),
    ]
    bench = make_bench("8.4", ["pve1", "pve2", "pve3"], guests)
    for step in steps:
        if step is None:
            bench.cluster.remove_faults()
        elif isinstance(step, Fault):
            with contextlib.suppress(BadFault):  # what has been stopped cannot hang
                bench.cluster.add_fault(step)
        else:
            (kind, vmid), action, seconds = step
            node = "pve2" if vmid == 200 else "pve1"
            bench.ask("POST", f"/nodes/{node}/{kind}/{vmid}/status/{action}")
            bench.wait(seconds)
    bench.wait(600)
    assert bench.get("/cluster/tasks")
    assert bench.cluster.tasks.running() == []
    for guest in bench.cluster.world.guests.values():
        assert guest.power.running or guest.power.pid == 0
        assert not (guest.template and guest.power.running)
        assert guest.boots >= int(guest.power.running)
    bench.cluster.remove_faults()
    bench.wait(600)
    for row in bench.get("/cluster/resources", type="vm"):
        assert row["status"] in ("running", "stopped", "paused")
        assert (row["uptime"] > 0) == (row["status"] != "stopped")
