"""Other tokens see what they saw on the real servers: rows and keys vanish silently, or a 403 names the privilege."""

from __future__ import annotations

import json

import pytest

from pvewatch.simulator.permissions import AclEntry, Token, auditor
from tests.simulator.conftest import Bench, make_bench, recorded, running_guest, stopped_guest

TOKENS = {"auditor": "as-auditor", "none": "as-privsep-noacl", "power": "as-vmpower-only-100"}
ENDPOINTS = (
    *("cluster-resources", "cluster-status", "cluster-tasks", "ha-status", "lxc-list", "node-status", "node-storage"),
    *("node-services", "node-subscription", "node-tasks", "nodes", "not-backed-up", "permissions", "qemu-100-config"),
    *("qemu-100-current", "qemu-101-current", "qemu-list", "unknown-vmid", "version", "node-certs"),
)


@pytest.fixture
def single_8_4() -> Bench:
    """The single 8.4 node on which the other tokens were tried."""
    guests = [
        running_guest("qemu", 100, "pve1", "web1", tags="prod;web", pool="prod"),
        running_guest("qemu", 101, "pve1", "db1"),
        running_guest("lxc", 200, "pve1", "ct1", pool="prod", lock="backup"),
        stopped_guest("lxc", 201, "pve1", "ct2", tags="test"),
        stopped_guest("qemu", 9000, "pve1", "tpl", template=True),
    ]
    return make_bench("8.4", ["pve1"], guests)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("token", TOKENS)
def test_a_token_sees_what_it_saw_on_the_real_server(single_8_4: Bench, token: str, endpoint: str) -> None:
    theirs = recorded("8.4", f"{TOKENS[token]}-{endpoint}")
    reply = single_8_4.ask(theirs.method, theirs.path, token, **theirs.parameters)
    assert (reply.status, reply.reason) == (theirs.status, theirs.reason)
    ours = json.loads(reply.body or b"null")
    if theirs.status != 200:
        assert ours == theirs.body
    else:
        assert rights_show(ours["data"]) == rights_show(theirs.body["data"])


def rights_show(data: object) -> object:
    """What rights decide: which rows there are and which of the keys that a missing right removes."""
    if isinstance(data, list):
        rows = [row for row in data if row.get("type") != "storage" and row.get("storage") is None]
        kinds = {row.get("id") if row.get("type") in ("node", "qemu", "lxc", "pool") else None for row in rows}
        node_keys = [
            sorted(set(row) - {"hastate"}) for row in rows if row.get("type") == "node" and "nodeid" not in row
        ]
        return bool(rows), kinds, node_keys, len(data) > 0, any("pool" in row for row in rows)
    if isinstance(data, dict) and "/" in "".join(data):
        return data
    if isinstance(data, dict):
        return "serverid" in data
    return data


def test_the_whole_answer_is_empty_not_refused_without_rights(bench: Bench) -> None:
    assert bench.get("/access/permissions", "none") == {}
    assert {row["type"] for row in bench.get("/cluster/resources", "none")} == {"node"}
    assert bench.get("/nodes/pve1/qemu", "none") == []


def test_who_may_only_read_may_not_start(bench: Bench) -> None:
    theirs = recorded("8.4", "err-forbidden-start-auditor")
    reply = bench.ask(theirs.method, theirs.path, "auditor")
    assert (reply.status, reply.reason) == (theirs.status, theirs.reason)
    assert json.loads(reply.body or b"") == theirs.body


def test_power_over_one_guest_is_no_power_over_another(bench: Bench) -> None:
    assert bench.ask("POST", "/nodes/pve1/qemu/100/status/reset", "power").status == 200
    refused = bench.ask("POST", "/nodes/pve1/qemu/101/status/reset", "power")
    assert refused.reason == "Permission check failed (/vms/101, VM.PowerMgmt)"


def test_own_tasks_are_readable_and_those_of_another_token_are_not(bench: Bench) -> None:
    mine = bench.post("/nodes/pve1/qemu/100/status/reset", "power")
    theirs = bench.post("/nodes/pve1/qemu/101/status/reset", "root")
    bench.wait(20)
    assert bench.get(f"/nodes/pve1/tasks/{mine}/status", "power")["exitstatus"] == "OK"
    assert [task["upid"] for task in bench.get("/nodes/pve1/tasks", "power")] == [mine]
    assert [task["upid"] for task in bench.get("/cluster/tasks", "power")] == [mine]
    refused = bench.ask("GET", f"/nodes/pve1/tasks/{theirs}/status", "power")
    assert refused.reason == "Permission check failed (/nodes/pve1, Sys.Audit)"


def test_a_pool_gives_rights_on_its_members(bench: Bench) -> None:
    token = Token("p@pve!pool", "s", (AclEntry("/pool/prod", frozenset({"VM.Audit"})),))
    assert token.may("/vms/100", "VM.Audit", pool="prod")
    assert not token.may("/vms/101", "VM.Audit")


def test_the_entry_of_the_longer_path_replaces_the_inherited_one() -> None:
    none: frozenset[str] = frozenset()
    token = Token("a@pve!b", "s", (AclEntry("/", auditor(8)), AclEntry("/vms/100", none)))
    assert not token.may("/vms/100", "VM.Audit")
    assert token.may("/vms/101", "VM.Audit")
    assert not Token("a@pve!b", "s", (AclEntry("/vms", auditor(8), propagate=False),)).may("/vms/1", "VM.Audit")


def test_a_secret_is_not_in_the_representation_of_its_token() -> None:
    assert "hidden-word" not in repr(Token("a@pve!b", "hidden-word"))


def test_no_access_leaves_no_trace_in_the_permissions_and_stands_in_the_acl(bench: Bench) -> None:
    entries = (AclEntry("/", auditor(9)), AclEntry("/vms/100", frozenset()))
    bench.cluster.tokens += (Token("pvewatch@pve!kept-out", "x", entries),)
    reply = bench.get("/access/acl", "auditor")
    rows = [row for row in reply if row["ugid"] == "pvewatch@pve!kept-out"]

    assert [(row["path"], row["type"]) for row in rows] == [("/", "token"), ("/vms/100", "token")]
    assert rows[1]["roleid"] == "NoAccess"
    assert "/vms/100" not in bench.cluster.tokens[-1].permissions()
    assert bench.get("/access/acl", "none") == []
