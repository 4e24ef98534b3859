"""Parsers against answers recorded from running servers, and against everything else that JSON can say."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvewatch.pve import parsers, parsers_access

FIXTURES = Path(__file__).parents[1] / "fixtures"


def recorded(name: str) -> Any:
    return json.loads((FIXTURES / name).read_text())["body"]["data"]


def test_a_guest_keeps_every_figure_that_was_recorded() -> None:
    found = parsers.resources(recorded("recorded-8.4/cluster-resources.json"))
    web1 = next(guest for guest in found.guests if guest.vmid == 100)

    assert (web1.id, web1.name, web1.node, web1.status) == ("qemu/100", "web1", "pve1", "running")
    assert (web1.memory_used_bytes, web1.memory_limit_bytes) == (11335276, 268435456)
    assert web1.tag_list == ("prod", "web")
    assert web1.net_in_bytes == 5518
    assert web1.lock is None


def test_a_node_of_a_cold_start_is_unknown_and_has_no_figures() -> None:
    found = parsers.resources(recorded("recorded-9.2/cluster-resources-coldstart.json"))

    assert [(node.status, node.cpu_ratio, node.uptime_seconds) for node in found.nodes] == [("unknown", None, None)]
    assert found.skipped == 0


def test_a_guest_without_statistics_is_unknown_and_has_no_name() -> None:
    row = {"id": "qemu/100", "vmid": 100, "node": "pve1", "type": "qemu", "status": "unknown"}

    guest = parsers.resources([row]).guests[0]

    assert (guest.status, guest.name, guest.memory_used_bytes, guest.uptime_seconds) == ("unknown", None, None, None)


@pytest.mark.parametrize(
    ("version", "major"),
    [("8.4.21", 8), ("9", 9), ("10.0~rc1", 10), ("²", None), ("9" * 5000, None), ("x.9", None), ("8a", None)],
)
def test_a_version_has_a_major_number_where_it_is_one(version: str, major: int | None) -> None:
    assert parsers.version({"version": version}).major == major


@pytest.mark.parametrize(
    ("about", "vmid"),
    [
        *(("100", 100), ("999999999", 999999999)),
        *((other, None) for other in ("99", "1000000000", "9" * 20, "0100", "²00", "local", "")),
    ],
)
def test_a_task_is_about_a_guest_where_its_id_is_a_vmid(about: str, vmid: int | None) -> None:
    found = parsers.task({"upid": f"UPID:pve1:00000900:0003D395:6B016350:qmstop:{about}:root@pam:"})
    assert found is not None
    assert found.vmid == vmid


def test_half_a_surrogate_pair_becomes_a_question_mark() -> None:
    assert parsers.text("web\ud8001") == "web?1"


def test_a_standalone_host_has_no_cluster() -> None:
    status = parsers.cluster_status(recorded("recorded-9.2/cluster-status.json"))
    assert status.name is None
    assert status.quorate is None
    assert status.local_node == "pve9"


def test_quorum_and_nodes_of_a_cluster_are_read() -> None:
    status = parsers.cluster_status(recorded("recorded-8.4/c3-cluster-status.json"))
    assert status.quorate is True
    assert [node.name for node in status.nodes] == ["pve1", "pve2", "pve3"]

    lost = parsers.cluster_status(recorded("recorded-8.4/noquorum-cluster-status.json"))
    assert lost.quorate is False


def test_load_averages_that_come_as_text_are_numbers() -> None:
    detail = parsers.node_status(recorded("recorded-8.4/node-status.json"), "pve1")
    assert detail.load == (3.42, 3.54, 2.74)
    assert detail.pve_version == "8.4.21"
    assert detail.memory_total_bytes is not None


def test_a_finished_task_has_a_verdict_and_a_running_one_none() -> None:
    done = parsers.task(recorded("recorded-8.4/life-qemu-reset.task-status.json"))
    assert done is not None
    assert (done.type, done.id, done.ok) == ("qmreset", "100", True)

    refused = parsers.task(recorded("recorded-8.4/life-qemu-start-locked.task-status.json"))
    assert refused is not None
    assert refused.ok is False
    assert "locked" in (refused.exit_status or "")

    running = parsers.task(recorded("recorded-8.4/life-qemu-shutdown-long.task-status-running.json"))
    assert running is not None
    assert running.running
    assert running.ok is None


def test_running_tasks_of_both_lists_are_running() -> None:
    in_cluster = [task for task in parsers.tasks(recorded("recorded-8.4/cluster-tasks-running.json")) if task.running]
    in_node = [task for task in parsers.tasks(recorded("recorded-8.4/node-tasks-active.json")) if task.running]
    assert in_cluster
    assert in_node


def test_the_log_of_a_lost_task_has_no_lines() -> None:
    assert parsers.task_log(recorded("recorded-8.4/err-unknown-upid-log.json")) == ()


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        ("1", True),
        ("0", False),
        ("enabled=1", True),
        ("1,fstrim_cloned_disks=1", True),
        ("fstrim_cloned_disks=1", False),
    ],
)
def test_every_spelling_of_an_enabled_agent_counts(agent: str, expected: bool) -> None:
    assert parsers.guest_config({"agent": agent}).agent is expected


def test_onboot_says_whether_it_was_set_at_all() -> None:
    assert parsers.guest_config({}).onboot is None
    assert parsers.guest_config({"onboot": 0}).onboot is False
    assert parsers.guest_config({"onboot": "1"}).onboot is True


@pytest.mark.parametrize(
    ("smbios1", "uuid"),
    [
        ("uuid=64574DAF-5cf2-450b-9466-bedf8f66e766", "64574daf-5cf2-450b-9466-bedf8f66e766"),
        ("base64=1,manufacturer=QWNtZQ==,uuid=64574daf-5cf2-450b-9466-bedf8f66e766,sku=Kg==",
         "64574daf-5cf2-450b-9466-bedf8f66e766"),
        ("uuid=00000000-0000-0000-0000-000000000000", None),
        ("uuid=64574daf", None),
        ("manufacturer=Acme", None),
        (None, None),
        (7, None),
    ],
)  # fmt: skip
def test_the_uuid_of_a_virtual_machine_is_read_where_there_is_one(smbios1: object, uuid: str | None) -> None:
    assert parsers.guest_config({"smbios1": smbios1}).smbios_uuid == uuid
    assert parsers.guest_config({}).smbios_uuid is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0.46", 0.46), ("111", 111), ("N/A", None), ("", None), (True, 1), ("nan", None), ("1_0", None)],
)
def test_numbers_come_as_text_too(value: object, expected: float | None) -> None:
    assert parsers.number(value) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
PARSERS: list[Callable[[object], object]] = [
    parsers.version,
    parsers.cluster_status,
    parsers.resources,
    lambda data: parsers.node_status(data, "n"),
    parsers.guest_config,
    parsers.guest_status,
    parsers.upid,
    parsers.tasks,
    parsers.task_log,
    parsers_access.permissions,
    parsers_access.roles,
    parsers_access.acl,
]


@pytest.mark.parametrize("parse", PARSERS)
@given(data=JSON)
def test_any_json_is_a_model_or_a_wrong_shape(parse: Callable[[object], object], data: object) -> None:
    with contextlib.suppress(parsers.WrongShape):
        parse(data)


def row_with_one_field_replaced() -> st.SearchStrategy[dict[str, Any]]:
    rows = recorded("recorded-8.4/c3-cluster-resources.json") + recorded("recorded-9.2/cluster-resources.json")
    return st.sampled_from(rows).flatmap(
        lambda row: st.tuples(st.just(row), st.sampled_from(sorted(row)), JSON).map(
            lambda parts: {**parts[0], parts[1]: parts[2]}
        )
    )


@settings(max_examples=300)
@given(row=row_with_one_field_replaced())
def test_one_strange_field_costs_at_most_its_own_row(row: dict[str, Any]) -> None:
    good = {"type": "qemu", "vmid": 999, "node": "pve1", "status": "running", "name": "other"}

    found = parsers.resources([row, good])

    assert any(guest.vmid == 999 and guest.name == "other" for guest in found.guests)
    for guest in found.guests:
        assert guest.id == f"{guest.kind}/{guest.vmid}"
