"""Recorded answers are served as they were, together one healthy cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from pvewatch.simulator.replay import NoRecordings, Recordings
from pvewatch.simulator.routes import Request
from pvewatch.simulator.server import Options, Simulator
from tests.simulator.conftest import FIXTURES, recorded


@pytest.fixture(scope="module")
def recordings() -> Recordings:
    return Recordings.load(FIXTURES / "recorded-8.4")


def data(recordings: Recordings, path: str) -> Any:
    reply = recordings.answer(Request("GET", path))
    assert reply.status == 200, reply.reason
    return json.loads(reply.body or b"null")["data"]


def test_the_picture_is_that_of_the_healthy_three_node_cluster(recordings: Recordings) -> None:
    resources = data(recordings, "/cluster/resources")
    nodes = {row["node"]: row for row in resources if row["type"] == "node"}
    status = data(recordings, "/cluster/status")
    assert {row["name"]: row["online"] for row in status if row["type"] == "node"} == dict.fromkeys(nodes, 1)
    assert next(row for row in status if row["type"] == "cluster")["quorate"] == 1
    assert {row["node"] for row in data(recordings, "/nodes") if row["status"] == "online"} == set(nodes)
    assert all(row["status"] == "online" and "cpu" in row for row in nodes.values())
    ha = data(recordings, "/cluster/ha/status/current")
    service = next(row for row in ha if row["type"] == "service")
    machine = next(row for row in resources if row.get("hastate") == "started" and row["type"] == "qemu")
    assert (service["sid"], service["node"], service["state"]) == ("vm:111", machine["node"], "started")
    assert {task["node"] for task in data(recordings, "/cluster/tasks")} == set(nodes)
    for guest in (row for row in resources if row["type"] in ("qemu", "lxc")):
        path = f"/nodes/{guest['node']}/{guest['type']}/{guest['vmid']}/status/current"
        assert data(recordings, path)["status"] == guest["status"]


def test_a_guest_is_on_one_node_only(recordings: Recordings) -> None:
    assert recordings.answer(Request("GET", "/nodes/pve2/qemu/111/status/current")).status == 501


def test_what_other_tokens_saw_is_never_mixed_in(recordings: Recordings) -> None:
    assert len(data(recordings, "/access/permissions")["/"]) > 40
    assert recordings.answer(Request("GET", "/version")).status == 200


def test_the_9_2_node_is_the_running_one() -> None:
    recordings = Recordings.load(FIXTURES / "recorded-9.2")
    assert data(recordings, "/version")["version"] == "9.2.11"
    machine = next(row for row in data(recordings, "/cluster/resources") if row["id"] == "qemu/100")
    assert machine["status"] == "running"
    assert data(recordings, "/nodes/pve9/qemu/100/status/current")["status"] == "running"


def test_refusals_are_replayed_with_status_reason_and_body(recordings: Recordings) -> None:
    theirs = recorded("8.4", "err-unknown-vmid-current")
    reply = recordings.answer(Request("GET", theirs.path))
    assert (reply.status, reply.reason, json.loads(reply.body or b"")) == (theirs.status, theirs.reason, theirs.body)


def test_an_action_and_its_task_belong_together(recordings: Recordings) -> None:
    upid = json.loads(recordings.answer(Request("POST", "/nodes/pve1/qemu/100/status/reset")).body or b"")["data"]
    assert data(recordings, f"/nodes/pve1/tasks/{upid}/status")["exitstatus"] == "OK"


def test_the_order_of_parameters_does_not_matter(recordings: Recordings) -> None:
    replies = [
        recordings.answer(Request("GET", "/nodes/pve1/tasks", dict(pairs)))
        for pairs in ([("limit", "2"), ("source", "all")], [("source", "all"), ("limit", "2")])
    ]
    assert replies[0] == replies[1]
    assert len(json.loads(replies[0].body or b"")["data"]) == 2


def test_what_nobody_recorded_is_refused_in_so_many_words(recordings: Recordings) -> None:
    reply = recordings.answer(Request("GET", "/nodes/pve1/never"))
    assert (reply.status, reply.reason) == (501, "no recorded answer to GET /nodes/pve1/never")


def test_a_directory_without_recordings_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"request": 1}')
    with pytest.raises(NoRecordings, match="no recorded answers"):
        Recordings.load(tmp_path)


@pytest.fixture
def replayed(tmp_path: Path) -> Iterator[Simulator]:
    running = Simulator(Options(data=tmp_path, replay=FIXTURES / "recorded-8.4", auth_delay_seconds=0))
    running.start()
    yield running
    running.stop()


def test_a_replay_is_served_over_tls_to_its_own_token_only(replayed: Simulator) -> None:
    url = f"{replayed.details['url']}/api2/json/cluster/status"
    token = replayed.details["tokens"]["monitor"]
    header = {"Authorization": f"PVEAPIToken={token['id']}={token['secret']}"}
    ours = requests.get(url, headers=header, verify=replayed.details["ca_file"], timeout=10)
    assert ours.json() == recorded("8.4", "c3-cluster-status").body
    assert requests.get(url, verify=replayed.details["ca_file"], timeout=10).status_code == 401
