"""The lists for Prometheus' http_sd, and where guests' addresses come from."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from exporter.http import create_app
from pvewatch.config import Secret
from tests.exporter.conftest import Bench, Clock, RecordedCluster
from tests.pve.conftest import Answer

TOKEN = "discovery-secret"
CARDS = [
    {"name": "lo", "hwaddr": "00:00:00:00:00:00", "inet": "127.0.0.1/8", "inet6": "::1/128"},
    {"name": "eth0", "hwaddr": "bc:24:11:00:00:01", "inet": "192.0.2.7/24", "inet6": "fe80::be24:11ff:fe00:1/64"},
]


def answered(data: object) -> Answer:
    return Answer(body=json.dumps({"data": data}).encode())


@pytest.fixture
def web(pve: RecordedCluster, bench: Bench) -> FlaskClient:
    # In the form of PVE/API2/LXC.pm, lxc/{vmid}/interfaces.
    pve.answers["/nodes/pve1/lxc/200/interfaces"] = answered(CARDS)
    return create_app(bench.exporter, Secret("inventory-secret"), Secret(TOKEN)).test_client()


def listed(web: FlaskClient, kind: str) -> list[dict[str, Any]]:
    answer = web.get(f"/sd/{kind}", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200, answer.data
    assert answer.content_type == "application/json"
    found: list[dict[str, Any]] = answer.get_json()
    return found


def group(groups: list[dict[str, Any]], guest: str) -> dict[str, Any]:
    (found,) = [one for one in groups if one["labels"]["__meta_pve_id"] == guest]
    return found


@pytest.mark.parametrize("token", ["", "inventory-secret", "wrong"])
def test_the_lists_have_a_secret_of_their_own(bench: Bench, web: FlaskClient, token: str) -> None:
    bench.poll()
    answer = web.get("/sd/guests", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401
    assert "secrets/discovery" in answer.get_json()["error"]["message"]


def test_a_guest_is_listed_with_what_is_known_of_it(pve: RecordedCluster, bench: Bench, web: FlaskClient) -> None:
    pve.row("lxc/200", status="running", tags="prod;web", pool="shop")
    bench.poll()
    bench.poll()
    found = group(listed(web, "guests"), "lxc/200")
    assert found["targets"] == ["192.0.2.7"]
    labels = {name.removeprefix("__meta_pve_"): value for name, value in found["labels"].items()}
    assert labels["cluster"] == "lab"
    assert (labels["vmid"], labels["kind"], labels["node"], labels["status"]) == ("200", "lxc", "pve1", "running")
    assert (labels["tags"], labels["pool"]) == (",prod,web,", "shop")
    assert labels["addresses"] == ",192.0.2.7,fe80::be24:11ff:fe00:1,10.77.0.50,", (
        "the recorded configuration fixes one"
    )


def test_a_guest_without_a_known_address_is_listed_under_its_name(bench: Bench, web: FlaskClient) -> None:
    bench.poll()
    found = group(listed(web, "guests"), "qemu/100")
    assert found["targets"] == [found["labels"]["__meta_pve_name"]]
    assert found["labels"]["__meta_pve_addresses"] == ""


def test_a_cluster_is_listed_with_its_hosts(pve: RecordedCluster, bench: Bench, web: FlaskClient) -> None:
    bench.poll()
    assert listed(web, "clusters") == [
        {
            "targets": [str(pve.host.address)],
            "labels": {"__meta_pve_cluster": "lab", "__meta_pve_members": ",lab,", "__meta_pve_version": "8.4.21"},
        }
    ]


def test_before_the_first_look_an_error_keeps_prometheus_from_dropping_its_targets(web: FlaskClient) -> None:
    answer = web.get("/sd/guests", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 503


def test_a_cluster_that_cannot_be_read_keeps_its_targets(
    pve: RecordedCluster, bench: Bench, web: FlaskClient, clock: Clock
) -> None:
    bench.poll()
    before = listed(web, "guests")
    assert before
    pve.answers["/cluster/resources"] = Answer(596, "broken", b"")
    clock.now += 3600
    bench.poll()
    assert listed(web, "guests") == before


def test_a_probe_is_listed_while_its_guest_runs(pve: RecordedCluster, bench: Bench, web: FlaskClient) -> None:
    pve.row("lxc/200", status="running", tags="probe-icmp")
    pve.change("/nodes/pve1/lxc/200/config", lambda row: row.update(description="pvewatch-probe: http:8080/health\n"))
    bench.poll()
    bench.poll()
    found = listed(web, "probes")
    assert [(one["targets"], one["labels"]["__meta_pve_module"]) for one in found] == [
        (["192.0.2.7"], "icmp"),
        (["http://192.0.2.7:8080/health"], "http"),
    ]
    assert {one["labels"]["__meta_pve_id"] for one in found} == {"lxc/200"}
    pve.row("lxc/200", status="stopped")
    bench.poll()
    assert listed(web, "probes") == []


def test_the_inventory_says_what_is_probed_and_what_is_not_and_why(
    pve: RecordedCluster, bench: Bench, web: FlaskClient
) -> None:
    pve.row("lxc/200", status="running", tags="probe-tcp-22")
    notes = "pvewatch-probe: http://localhost:9090/\n"
    pve.change("/nodes/pve1/lxc/200/config", lambda row: row.update(description=notes))
    bench.poll()
    bench.poll()
    guest = bench.exporter.inventory().guest("lab", 200)
    assert guest is not None
    assert guest.addresses[0] == "192.0.2.7"
    made, refused = guest.probes
    assert (made.request, made.target, made.problem) == ("tcp:22", "192.0.2.7:22", None)
    assert refused.target is None
    assert "localhost is no known address of this guest" in (refused.problem or "")


def test_fixed_addresses_of_the_configuration_count_too(pve: RecordedCluster, bench: Bench, web: FlaskClient) -> None:
    pve.change("/nodes/pve1/qemu/100/config", lambda row: row.update(ipconfig0="ip=198.51.100.9/24,gw=198.51.100.1"))
    bench.poll()
    assert group(listed(web, "guests"), "qemu/100")["targets"] == ["198.51.100.9"]


def test_before_version_9_no_virtual_machine_is_asked_through_its_agent(pve: RecordedCluster, bench: Bench) -> None:
    pve.change("/nodes/pve1/qemu/100/config", lambda row: row.update(agent="1"))
    bench.poll()
    bench.poll()
    assert pve.asked("/agent/network-get-interfaces") == 0


def test_a_silent_agent_is_no_failure_and_not_asked_all_the_time(
    pve: RecordedCluster, bench: Bench, clock: Clock
) -> None:
    pve.change("/nodes/pve1/status", lambda row: row.update(pveversion="pve-manager/9.2.1/1"))
    pve.change("/nodes/pve1/qemu/100/config", lambda row: row.update(agent="1"))
    pve.row("qemu/100", status="running")
    pve.answers["/nodes/pve1/qemu/100/agent/network-get-interfaces"] = Answer(
        500, "QEMU guest agent is not running", b""
    )
    for _ in range(3):
        bench.poll()
        clock.now += 61
    assert pve.asked("/agent/network-get-interfaces") == 1
    assert bench.value("pve_collector_success", collector="addresses", node="pve1") == 1
