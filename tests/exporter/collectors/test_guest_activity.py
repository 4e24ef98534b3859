"""Disks, cards, balloon and pressure of a node's guests, out of recorded lists."""

from __future__ import annotations

import pytest

from tests.exporter.conftest import Bench, Clock, RecordedCluster, recorded
from tests.pve.conftest import Answer

FULL = "/nodes/pve1/qemu"
EMPTY = Answer(body=b'{"data":[]}')


@pytest.fixture
def lists(pve: RecordedCluster) -> RecordedCluster:
    """The cluster with the lists of its first node."""
    pve.answers[FULL] = recorded("qemu-list-full")
    pve.answers["/nodes/pve1/lxc"] = recorded("lxc-list")
    pve.answers["/nodes/pve1/netstat"] = recorded("node-netstat")
    pve.answers["/nodes/pve2/qemu"] = pve.answers["/nodes/pve3/lxc"] = EMPTY
    return pve


def test_each_disk_and_card_of_a_vm_has_its_counters(lists: RecordedCluster, bench: Bench) -> None:
    bench.poll()
    assert bench.value("pve_guest_disk_read_bytes_total", id="qemu/100", device="scsi0") == 5120
    assert bench.value("pve_guest_disk_reads_total", id="qemu/100", device="scsi0") == 10
    assert bench.value("pve_guest_disk_written_bytes_total", id="qemu/100", device="scsi0") == 0
    assert bench.value("pve_guest_network_receive_bytes_total", id="qemu/100", device="net0") == 9452
    assert bench.value("pve_guest_network_transmit_bytes_total", id="qemu/100", device="net0") == 21368


def test_a_container_has_its_cards_out_of_netstat_and_its_swap(lists: RecordedCluster, bench: Bench) -> None:
    bench.poll()
    assert bench.value("pve_guest_network_receive_bytes_total", id="lxc/200", device="net0") == 0
    assert bench.value("pve_guest_swap_usage_bytes", id="lxc/200") == 0
    assert bench.value("pve_guest_swap_size_bytes", id="lxc/201") is None, "it does not run"


def test_all_guests_of_a_node_cost_three_calls(lists: RecordedCluster, bench: Bench) -> None:
    bench.poll()
    asked = [path for _, path, _ in lists.host.asked]
    assert asked.count("/nodes/pve1/qemu?full=1") == asked.count("/nodes/pve1/lxc") == 1
    assert asked.count("/nodes/pve1/netstat") == 1
    assert not [path for path in asked if "/qemu/" in path and path.endswith("/status/current")]


def test_pressure_is_shown_since_pve_9(lists: RecordedCluster, bench: Bench) -> None:
    lists.answers[FULL] = recorded("qemu-list", "recorded-9.2")
    bench.poll()
    assert bench.value("pve_guest_pressure_ratio", id="qemu/100", resource="cpu", stall="some") == 28.43 / 100
    assert len(bench.lines("pve_guest_pressure_ratio")) == 6


def test_a_balloon_is_shown_where_there_is_one(lists: RecordedCluster, bench: Bench) -> None:
    def inflate(rows: list[dict[str, object]]) -> None:
        (web1,) = [row for row in rows if row["vmid"] == 100]
        web1 |= {"balloon": 201326592, "balloon_min": 134217728, "freemem": 99614720}

    lists.change(FULL, inflate)
    bench.poll()
    assert bench.value("pve_guest_balloon_bytes", id="qemu/100") == 201326592
    assert bench.value("pve_guest_balloon_minimum_bytes", id="qemu/100") == 134217728
    assert bench.value("pve_guest_memory_free_bytes", id="qemu/100") == 99614720
    assert bench.value("pve_guest_balloon_bytes", id="qemu/101") is None


def test_a_refused_full_list_is_told_and_the_short_one_shown(lists: RecordedCluster, bench: Bench) -> None:
    short = recorded("qemu-list", "recorded-9.2")
    answers = lists.answer

    def refuse_full(method: str, path: str) -> Answer:
        if path == f"{FULL}?full=1":
            return Answer(500, "got timeout", b'{"data":null}')
        return short if path == FULL else answers(method, path)

    lists.host.answer = refuse_full
    bench.poll()
    assert bench.value("pve_guest_pressure_ratio", id="qemu/100", resource="io", stall="full") == 0
    assert bench.value("pve_guest_disk_read_bytes_total", id="qemu/100") is None
    assert bench.value("pve_collector_success", collector="guest_activity", node="pve1") == 0
    assert bench.value("pve_collector_error", collector="guest_activity", node="pve1", **{"class": "rejected"}) == 1


def test_a_forbidden_netstat_costs_only_containers_their_cards(lists: RecordedCluster, bench: Bench) -> None:
    lists.answers["/nodes/pve1/netstat"] = recorded("as-privsep-noacl-node-rrd")
    bench.poll()
    assert bench.value("pve_guest_network_receive_bytes_total", id="lxc/200") is None
    assert bench.value("pve_guest_swap_usage_bytes", id="lxc/200") == 0
    assert bench.value("pve_guest_network_receive_bytes_total", id="qemu/100") == 9452
    assert bench.value("pve_collector_error", collector="guest_activity", node="pve1", **{"class": "forbidden"}) == 1


def test_a_token_that_sees_no_guest_of_the_lists_shows_none(lists: RecordedCluster, bench: Bench) -> None:
    lists.answers[FULL] = recorded("as-privsep-noacl-qemu-list")
    lists.answers["/nodes/pve1/lxc"] = recorded("as-privsep-noacl-lxc-list")
    bench.poll()
    assert bench.lines("pve_guest_disk_read_bytes_total") == []
    assert bench.value("pve_collector_success", collector="guest_activity", node="pve1") == 1


def test_guests_of_a_node_that_is_gone_lose_these_figures_at_once(
    lists: RecordedCluster, bench: Bench, clock: Clock
) -> None:
    bench.poll()
    clock.now += 10
    lists.row("node/pve1", status="offline")
    bench.poll()
    assert bench.value("pve_guest_status", id="qemu/100", status="unknown") == 1
    assert bench.lines("pve_guest_disk_read_bytes_total") == []
    assert bench.lines("pve_guest_network_receive_bytes_total") == []


def test_figures_of_a_node_that_only_repeats_itself_are_withheld(
    lists: RecordedCluster, bench: Bench, clock: Clock
) -> None:
    bench.poll()
    for _ in range(13):
        clock.now += 10
        bench.poll()
    assert bench.value("pve_guest_status", id="qemu/100", status="unknown") == 1
    assert bench.value("pve_guest_disk_read_bytes_total", id="qemu/100") is None


def test_a_guest_that_has_just_moved_is_shown_once(lists: RecordedCluster, bench: Bench) -> None:
    lists.answers["/nodes/pve2/qemu"] = recorded("qemu-list-full")
    bench.poll()
    assert len(bench.lines("pve_guest_disk_read_bytes_total")) == 2


def test_memory_that_a_vm_takes_from_its_host_is_shown_since_pve_9(lists: RecordedCluster, bench: Bench) -> None:
    lists.row("qemu/100", memhost=279654400)
    bench.poll()
    assert bench.lines("pve_guest_memory_host_bytes") == [
        'pve_guest_memory_host_bytes{cluster="lab",id="qemu/100"} 279654400'
    ]


def test_each_tag_has_a_series_and_the_pool_one(lists: RecordedCluster, bench: Bench) -> None:
    lists.row("qemu/100", pool="production", tags=";web;prod,")
    lists.row("qemu/101", tags=";".join(f"tag{index:02}" for index in range(40)))
    bench.poll()
    assert [line for line in bench.lines("pve_guest_tag_info") if "qemu/100" in line] == [
        'pve_guest_tag_info{cluster="lab",id="qemu/100",tag="prod"} 1',
        'pve_guest_tag_info{cluster="lab",id="qemu/100",tag="web"} 1',
    ]
    assert len([line for line in bench.lines("pve_guest_tag_info") if "qemu/101" in line]) == 16
    assert bench.value("pve_guest_pool_info", id="qemu/100", pool="production") == 1
    assert 'tags=";web;prod,"' in next(line for line in bench.lines("pve_guest_info") if "qemu/100" in line)


def test_whether_the_agent_is_on_and_the_guest_protected_comes_from_its_configuration(
    lists: RecordedCluster, bench: Bench
) -> None:
    lists.change("/nodes/pve1/qemu/100/config", lambda row: {**row, "agent": "enabled=1,type=virtio", "protection": 1})
    bench.poll()
    assert bench.value("pve_guest_agent_enabled", id="qemu/100") == 1
    assert bench.value("pve_guest_protection", id="qemu/100") == 1
    assert bench.value("pve_guest_protection", id="lxc/200") == 0
    assert bench.value("pve_guest_agent_enabled", id="lxc/200") is None


def test_a_guest_whose_configuration_is_forbidden_does_not_take_the_turn_of_others(
    lists: RecordedCluster, bench: Bench, clock: Clock
) -> None:
    lists.answers["/nodes/pve1/qemu/100/config"] = recorded("as-vmpower-only-100-qemu-101-current")
    bench.poll()
    clock.now += 30
    bench.poll()
    asked = [path for _, path, _ in lists.host.asked]
    assert asked.count("/nodes/pve1/qemu/100/config?current=1") == 1
    assert bench.value("pve_guest_protection", id="lxc/200") == 0
