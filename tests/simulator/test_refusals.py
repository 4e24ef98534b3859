"""What is refused is refused with the recorded status, reason phrase and body."""

from __future__ import annotations

import json

import pytest

from pvewatch.simulator.faults import Fault
from pvewatch.simulator.routes import Request
from tests.simulator.conftest import Bench, recorded

REFUSED_8_4 = (
    *("err-unknown-path", "err-unknown-node-subpath", "err-method-not-implemented", "err-unknown-node"),
    *("err-unknown-node-qemu", "err-unknown-vmid-config", "err-unknown-vmid-current", "err-lxc-unknown-vmid-current"),
    *("err-lxc-vmid-under-qemu", "err-qemu-vmid-under-lxc", "err-vmid-not-int", "err-vmid-too-small"),
    *("err-extra-param", "err-bad-upid-status", "err-unknown-upid-status", "err-unknown-upid-delete"),
    *("err-unknown-upid-log", "cluster-resources-type-bad", "c3-wrong-node-qemu-110", "c3-wrong-node-qemu-110-config"),
    *(
        "c3-wrong-node-task-status",
        "c3-wrong-node-task-log",
        "life-qemu-start-skiplock",
        "life-lxc-start-already-running",
    ),
)
REFUSED_STOPPED = (
    *("life-qemu-reset-stopped", "life-qemu-reboot-stopped", "life-qemu-suspend-stopped", "life-qemu-resume-stopped"),
    *("life-lxc-stop-already-stopped", "life-lxc-shutdown-stopped", "life-lxc-reboot-stopped", "life-lxc-suspend"),
)


def assert_as_recorded(bench: Bench, version: str, name: str, by: str | None = "root") -> None:
    """Status, reason and body are the recorded ones."""
    asked = recorded(version, name)
    # The path's own parameters (a=1 of a POST to /version) are sent as they were.
    reply = bench.ask(asked.method, asked.path, by, **asked.parameters)
    assert (reply.status, reply.reason) == (asked.status, asked.reason)
    assert json.loads(reply.body or b"null") == asked.body


@pytest.mark.parametrize("name", REFUSED_8_4)
def test_a_refusal_of_8_4_is_word_for_word(bench: Bench, name: str) -> None:
    assert_as_recorded(bench, "8.4", name)


@pytest.mark.parametrize("name", REFUSED_STOPPED)
def test_what_a_stopped_guest_cannot_do_is_refused_at_once(bench: Bench, name: str) -> None:
    for guest in ("qemu/100", "lxc/200"):
        bench.post(f"/nodes/pve1/{guest}/status/stop")
    bench.wait(30)
    assert_as_recorded(bench, "8.4", name)


@pytest.mark.parametrize(
    "name",
    ["err-unknown-node", "err-unknown-path", "err-unknown-upid-log", "err-unknown-vmid", "cluster-resources-bad-type"],
)
def test_a_refusal_of_9_2_is_word_for_word(single: Bench, name: str) -> None:
    assert_as_recorded(single, "9.2", name)


def test_a_container_has_no_reset(bench: Bench) -> None:
    reply = bench.ask("POST", "/nodes/pve1/lxc/200/status/reset")
    assert (reply.status, reply.reason) == (501, "Method 'POST /nodes/pve1/lxc/200/status/reset' not implemented")


def test_actions_that_exist_nowhere_are_refused(bench: Bench) -> None:
    assert bench.ask("POST", "/nodes/pve1/qemu/100/status/hibernate").status == 501


@pytest.mark.parametrize(
    ("name", "authorization"),
    [
        ("err-no-auth", None),
        ("err-bearer", "Bearer abc"),
        ("err-bad-secret", "PVEAPIToken=root@pam!mon=wrong"),
        ("err-unknown-token", "PVEAPIToken=root@pam!nosuch=root-secret"),
        ("err-malformed-token", "PVEAPIToken=rubbish"),
    ],
)
def test_a_refused_login_says_why_in_the_reason_phrase_only(bench: Bench, name: str, authorization: str | None) -> None:
    asked = recorded("8.4", name)
    reply = bench.respond(Request("GET", "/version", {}, authorization))
    assert (reply.status, reply.reason, reply.body) == (asked.status, asked.reason, None)


def test_without_quorum_nothing_starts_but_stopping_goes_on(bench: Bench) -> None:
    bench.post("/nodes/pve1/lxc/200/status/stop")
    bench.wait(30)
    for node in ("pve2", "pve3"):
        bench.cluster.add_fault(Fault("node-offline", node=node))
    assert_as_recorded(bench, "8.4", "noquorum-lxc-start-200")
    assert bench.outcome(bench.post("/nodes/pve1/qemu/101/status/stop")) == "OK"
    assert_as_recorded(bench, "8.4", "noquorum-qemu-start-101-stopped")
    statuses = {row["type"]: row.get("quorate") for row in bench.get("/cluster/status")}
    assert statuses["cluster"] == 0
    quorum = next(row for row in bench.get("/cluster/ha/status/current") if row["id"] == "quorum")
    assert quorum == recorded("8.4", "noquorum-ha-status-current").body["data"][0]
