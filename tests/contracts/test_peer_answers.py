"""What /pve answers when something is wrong: the codes and words that Prometheus and people get."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from exporter.own_metrics import OwnMetrics
from exporter.peer.alone import create_app
from exporter.peer.endpoint import Peer
from pvewatch.config import ExporterSettings, Settings
from pvewatch.simulator.faults import Fault
from pvewatch.simulator.server import Options, Simulator
from tests.pve.conftest import Answer, FakeHost

# Those of the node that the target is.
LOCAL = ("pve_onboot_status", "pve_replication_info", "pve_subscription_info", "pve_subscription_status")


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    options = Options(data=tmp_path / "simulator", auth_delay_seconds=0, extras=("replication", "subscription"))
    running = Simulator(options)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[FakeHost]:
    fake = FakeHost(tmp_path / "host")
    yield fake
    fake.close()


def target(simulator: Simulator) -> str:
    return f"127.0.0.1:{simulator.details['port']}"


def environment(simulator: Simulator, **more: str) -> dict[str, str]:
    """The login as PVE_* variables."""
    token = simulator.details["tokens"]["monitor"]
    user, name = token["id"].split("!")
    return {
        "PVE_USER": user,
        "PVE_TOKEN_NAME": name,
        "PVE_TOKEN_VALUE": token["secret"],
        "PVE_VERIFY_SSL": "false",
        **more,
    }


@pytest.fixture
def make_client() -> Iterator[Any]:
    made: list[Peer] = []

    def make(env: dict[str, str], *targets: str) -> FlaskClient:
        own = ExporterSettings(pve_targets=targets, pve_cache_seconds=0)
        peer = Peer(Settings(exporter=own), env)
        made.append(peer)
        return create_app(peer, OwnMetrics()).test_client()

    yield make
    for peer in made:
        peer.close()


def set_fault(simulator: Simulator, fault: Fault) -> None:
    assert simulator.cluster is not None
    with simulator.cluster.lock:
        simulator.cluster.add_fault(fault)


def samples(page: str, name: str) -> list[str]:
    return [line for line in page.splitlines() if line.startswith(f"{name}{{")]


def test_the_login_of_the_environment_serves_its_module(simulator: Simulator, make_client: Any) -> None:
    client = make_client(environment(simulator), target(simulator))
    answer = client.get(f"/pve?target={target(simulator)}")
    assert (answer.status_code, len(samples(answer.text, "pve_node_info"))) == (200, 3)

    named = make_client(environment(simulator, PVE_MODULE="lab"), target(simulator))
    assert named.get(f"/pve?target={target(simulator)}&module=lab").status_code == 200
    assert named.get(f"/pve?target={target(simulator)}").status_code == 400


def test_a_host_that_is_not_allowed_is_never_spoken_to_and_the_setting_is_named(
    simulator: Simulator, host: FakeHost, make_client: Any
) -> None:
    client = make_client(environment(simulator), target(simulator))
    for other in (str(host.address), "203.0.113.1", f"{target(simulator)}@evil", "127.0.0.1:1", "", "[::1", "a b:c"):
        answer = client.get("/pve", query_string={"target": other})
        assert (answer.status_code, "exporter.pve_targets" in answer.text) == (403, True), answer.text
    assert (host.asked, host.connections) == ([], 0)


def test_one_refused_call_costs_its_families_only(simulator: Simulator, make_client: Any) -> None:
    set_fault(simulator, Fault("status", code=403, path="/cluster/backup-info"))
    page = make_client(environment(simulator), target(simulator)).get(f"/pve?target={target(simulator)}")

    assert page.status_code == 200
    assert samples(page.text, "pve_not_backed_up_total") == []
    assert 'pve_collector_success{collector="backup-info"} 0' in page.text
    assert 'pve_collector_error{collector="backup-info",class="forbidden"} 1' in page.text
    assert samples(page.text, "pve_guest_info")


def test_when_nothing_could_be_read_it_is_503_with_the_reason(simulator: Simulator, make_client: Any) -> None:
    client = make_client(environment(simulator), target(simulator))
    set_fault(simulator, Fault("status", code=401, path="."))
    answer = client.get(f"/pve?target={target(simulator)}")

    assert answer.status_code == 503
    assert "401" in answer.text
    assert 'pve_request_errors_total{module="default"} 1.0' in client.get("/metrics").text


def test_a_host_that_is_gone_is_503_and_no_other_node_stands_in(make_client: Any, simulator: Simulator) -> None:
    client = make_client(environment(simulator), target(simulator))
    asked = target(simulator)
    simulator.stop()  # which may be done twice

    answer = client.get(f"/pve?target={asked}")
    assert answer.status_code == 503


def test_a_host_that_dies_between_two_scrapes_is_503_whatever_was_read_before(
    simulator: Simulator, make_client: Any
) -> None:
    client = make_client(environment(simulator), target(simulator))
    whole = client.get(f"/pve?target={target(simulator)}")
    assert (whole.status_code, "} 0" in "".join(samples(whole.text, "pve_collector_success"))) == (200, False)

    set_fault(simulator, Fault("status", code=595, path="."))
    for part in ("", "&node=0", "&cluster=0"):
        answer = client.get(f"/pve?target={target(simulator)}{part}")
        assert (answer.status_code, "595" in answer.text) == (503, True)


def test_local_families_are_absent_when_it_is_not_known_which_node_the_target_is(
    simulator: Simulator, make_client: Any
) -> None:
    client = make_client(environment(simulator), target(simulator))
    page = client.get(f"/pve?target={target(simulator)}").text
    shown = [samples(page, name) for name in LOCAL]
    assert all(shown)
    assert {line.partition('id="')[2].partition('"')[0] for line in samples(page, "pve_subscription_info")} == {
        "node/pve1"
    }

    set_fault(simulator, Fault("status", code=595, path="/cluster/status|/nodes/"))
    fresh = make_client(environment(simulator), target(simulator))
    page = fresh.get(f"/pve?target={target(simulator)}").text
    assert [samples(page, name) for name in LOCAL] == [[], [], [], []]
    assert samples(page, "pve_guest_info")


def test_figures_of_one_node_are_never_shown_as_those_of_another_that_the_target_has_become(
    host: FakeHost, make_client: Any
) -> None:
    """A floating address, or a name of several hosts."""
    local = "a"

    def answer(_method: str, path: str) -> Answer:
        asked = path.partition("?")[0]
        of = asked.split("/")[2]
        answers = {
            "/cluster/status": [
                {"type": "node", "id": f"node/{name}", "name": name, "local": int(name == local)} for name in ("a", "b")
            ],
            f"/nodes/{of}/subscription": {"status": "active", "level": f"level-of-{of}", "nextduedate": "2030-01-01"},
            f"/nodes/{of}/qemu": [{"vmid": 100 if of == "a" else 200}],
            f"/nodes/{of}/lxc": [],
            f"/nodes/{of}/qemu/{100 if of == 'a' else 200}/config": {"onboot": 1},
            f"/nodes/{of}/replication": [{"id": f"job-of-{of}", "source": of, "target": "c", "guest": 1}],
        }
        return Answer(body=json.dumps({"data": answers[asked]}).encode()) if asked in answers else Answer(status=500)

    host.answer = answer
    env = {"PVE_USER": "u@pve", "PVE_TOKEN_NAME": "t", "PVE_TOKEN_VALUE": "s", "PVE_VERIFY_SSL": "0"}
    client = make_client(env, str(host.address))
    for local, guest in (("a", 100), ("b", 200), ("a", 100)):
        page = client.get(f"/pve?target={host.address}&cluster=0").text
        assert samples(page, "pve_subscription_info") == [
            f'pve_subscription_info{{id="node/{local}",level="level-of-{local}"}} 1'
        ]
        assert samples(page, "pve_onboot_status") == [
            f'pve_onboot_status{{id="qemu/{guest}",node="{local}",type="qemu"}} 1'
        ]
        (job,) = samples(page, "pve_replication_info")
        assert f'id="job-of-{local}"' in job
    # Going back and forth costs nothing more: what is slow to change is kept for each.
    assert [path for _, path, _ in host.asked].count("/nodes/a/subscription") == 1
