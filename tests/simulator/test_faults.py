"""A fault costs what it should and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvewatch.simulator.faults import BadFault, Fault, parse
from pvewatch.simulator.routes import Request, Router
from pvewatch.simulator.scenarios import SCENARIOS
from pvewatch.simulator.server import ROUTES, api_responder
from tests.simulator.conftest import Bench, make_bench, recorded, running_guest


def statuses(bench: Bench) -> dict[str, str]:
    return {row["id"]: row["status"] for row in bench.get("/cluster/resources") if "status" in row}


def test_a_lost_node_is_offline_without_figures_and_its_guests_freeze_before_they_become_unknown(bench: Bench) -> None:
    before = statuses(bench)
    bench.cluster.add_fault(Fault("node-offline", node="pve3"))
    bench.wait(10)
    lost = next(row for row in bench.get("/cluster/resources") if row["id"] == "node/pve3")
    assert lost["status"] == "offline"
    assert not {"cpu", "mem", "disk", "uptime"} & set(lost)
    assert {"maxcpu", "maxmem", "maxdisk"} <= set(lost)
    frozen, other = bench.guest("qemu/111"), bench.guest("qemu/100")
    bench.wait(250)
    assert bench.guest("qemu/111") == frozen
    assert bench.guest("qemu/100")["uptime"] > other["uptime"]
    bench.wait(60)
    gone = {key: status for key, status in statuses(bench).items() if status != before[key]}
    assert gone == {
        "node/pve3": "offline",
        "qemu/111": "unknown",
        "lxc/210": "unknown",
        "storage/pve3/local": "unknown",
        "storage/pve3/nas": "unknown",
    }
    assert "name" not in bench.guest("qemu/111")
    assert "cpu" not in bench.guest("qemu/111")


def test_a_lost_node_costs_only_its_own_paths(bench: Bench) -> None:
    bench.cluster.add_fault(Fault("node-offline", node="pve2"))
    theirs = recorded("8.4", "noquorum-pve2-status")
    reply = bench.ask("GET", theirs.path)
    assert (reply.status, reply.reason, reply.body) == (theirs.status, theirs.reason, None)
    for path in ("/nodes/pve2/qemu", "/nodes/pve2/tasks", "/nodes/pve2/qemu/110/status/current"):
        assert bench.ask("GET", path).status == 595
    for path in ("/nodes/pve1/status", "/nodes/pve3/qemu", "/cluster/status", "/cluster/tasks", "/nodes"):
        assert bench.ask("GET", path).status == 200
    online = {row["name"]: row["online"] for row in bench.get("/cluster/status") if row["type"] == "node"}
    assert online == {"pve1": 1, "pve2": 0, "pve3": 1}


def test_a_dead_statistics_daemon_freezes_everything_before_it_is_unknown(bench: Bench) -> None:
    bench.cluster.add_fault(Fault("statistics-stopped", node="pve2"))
    frozen = bench.guest("qemu/110")
    bench.wait(290)
    assert bench.guest("qemu/110") == frozen
    assert statuses(bench)["node/pve2"] == "online"
    bench.wait(20)
    after = statuses(bench)
    assert (after["node/pve2"], after["qemu/110"], after["storage/pve2/nas"]) == ("unknown", "unknown", "unknown")
    assert after["qemu/100"] == "running"
    online = {row["name"]: row["online"] for row in bench.get("/cluster/status") if row["type"] == "node"}
    assert online["pve2"] == 1
    assert bench.get("/nodes/pve2/status")["uptime"] > 0
    assert bench.get("/nodes/pve2/qemu/110/status/current")["uptime"] > frozen["uptime"]


def test_everything_is_as_before_once_the_fault_is_taken_out(bench: Bench) -> None:
    before = statuses(bench)
    bench.cluster.add_fault(Fault("node-offline", node="pve2"))
    bench.cluster.add_fault(Fault("lock", guest="qemu/100", lock="backup"))
    bench.cluster.add_fault(Fault("hang", guest="qemu/101"))
    bench.cluster.add_fault(Fault("status", code=403, path="^/nodes/pve1/qemu$"))
    bench.cluster.add_fault(Fault("statistics-stopped", node="pve3"))
    bench.wait(400)
    assert bench.guest("qemu/100")["lock"] == "backup"
    assert bench.cluster.remove_faults() == 5
    bench.wait(20)
    assert statuses(bench) == before
    assert bench.ask("GET", "/nodes/pve1/qemu").status == 200
    assert "lock" not in bench.guest("qemu/100")
    assert all(bench.cluster.alive(guest) for guest in bench.cluster.world.guests.values() if guest.power.running)


def test_a_hung_guest_is_alive_again_after_a_reset(bench: Bench) -> None:
    guest = bench.cluster.world.guests[101]
    bench.cluster.add_fault(Fault("hang", guest="qemu/101"))
    bench.get("/version")
    assert not bench.cluster.alive(guest)
    bench.post("/nodes/pve1/qemu/101/status/reset")
    bench.wait(2)
    bench.get("/version")
    assert (guest.boots, bench.cluster.alive(guest)) == (2, False)  # it is booting
    bench.wait(10)
    bench.get("/version")
    assert bench.cluster.alive(guest)


def test_a_hung_guest_can_be_hung_again(bench: Bench) -> None:
    guest = bench.cluster.world.guests[101]
    for boots in (1, 2):
        bench.cluster.add_fault(Fault("hang", guest="qemu/101"))
        assert guest.power.hung_at is not None
        assert guest.boots == boots
        bench.outcome(bench.post("/nodes/pve1/qemu/101/status/reset"))
        assert guest.power.hung_at is None


@pytest.mark.parametrize("code", [401, 403, 595])
def test_a_forced_status_hits_the_paths_of_its_pattern_only(bench: Bench, code: int) -> None:
    bench.cluster.add_fault(Fault("status", code=code, path="^/nodes/pve1/"))
    assert bench.ask("GET", "/nodes/pve1/status").status == code
    assert (bench.ask("GET", "/nodes/pve1/status").body is None) == (code != 403)
    assert bench.ask("GET", "/nodes/pve2/status").status == 200


def test_the_demo_hangs_101_after_a_minute() -> None:
    guests = [running_guest("qemu", 101, "pve1", "db1"), running_guest("qemu", 100, "pve1", "web1")]
    bench = make_bench("8.4", ["pve1"], guests, scenario="demo")
    bench.wait(59)
    bench.get("/version")
    assert all(bench.cluster.alive(guest) for guest in guests)
    bench.wait(2)
    bench.get("/version")
    assert [bench.cluster.alive(guest) for guest in guests] == [False, True]


def test_scenarios_fit_the_cluster_that_is_built_by_default() -> None:
    faults = [fault for plan in SCENARIOS.values() for _, fault in plan]
    assert {fault.guest for fault in faults} <= {None, "qemu/101"}
    assert {fault.node for fault in faults} <= {None, "pve2"}


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ([], "JSON object"),
        ({"fault": "explode"}, "fault: one of"),
        ({"fault": "hang"}, "takes exactly: guest"),
        ({"fault": "hang", "guest": 101}, "guest: wrong type"),
        ({"fault": "lock", "guest": "qemu/100", "lock": "rust"}, "lock: one of"),
        ({"fault": "status", "code": 200, "path": "."}, "code: an HTTP error"),
        ({"fault": "slow", "seconds": 10_000, "path": "."}, "seconds: from 0"),
        ({"fault": "large", "megabytes": 1000, "path": "."}, "megabytes: from 1"),
        ({"fault": "status", "code": 403, "path": "("}, "path: not a regular expression"),
    ],
)
def test_a_wrong_description_says_what_would_be_right(description: object, words: str) -> None:
    with pytest.raises(BadFault, match=words):
        parse(description)


def test_a_fault_for_what_does_not_exist_is_refused(bench: Bench) -> None:
    with pytest.raises(BadFault, match="no qemu/777"):
        bench.cluster.add_fault(Fault("hang", guest="qemu/777"))
    with pytest.raises(BadFault, match="does not run"):
        bench.cluster.add_fault(Fault("hang", guest="lxc/201"))
    with pytest.raises(BadFault, match="no pve9"):
        bench.cluster.add_fault(Fault("node-offline", node="pve9"))


def test_a_slow_path_waits_without_holding_up_the_others(bench: Bench) -> None:
    bench.cluster.add_fault(Fault("slow", seconds=40, path="^/nodes/pve2/"))
    waits: list[tuple[float, int]] = []

    def sleep(seconds: float) -> None:
        waits.append((seconds, bench.ask("GET", "/nodes/pve1/status").status))

    slow = api_responder(Router(bench.cluster, ROUTES, sleep))
    token = bench.tokens["root"]
    answer = slow(Request("GET", "/nodes/pve2/status", {}, f"PVEAPIToken={token.id}={token.secret}"))
    assert (answer.status, waits) == (200, [(40, 200)])


def test_garbage_and_megabytes_come_in_the_place_of_an_answer_with_status_200(bench: Bench) -> None:
    respond = api_responder(Router(bench.cluster, ROUTES))
    token = bench.tokens["root"]
    request = Request("GET", "/nodes/pve2/status", {}, f"PVEAPIToken={token.id}={token.secret}")
    bench.cluster.add_fault(Fault("garbage", path="^/nodes/pve2/"))
    garbage = respond(request)
    assert (garbage.status, garbage.body is not None and garbage.body.startswith(b"<html>")) == (200, True)
    bench.cluster.remove_faults()
    bench.cluster.add_fault(Fault("large", megabytes=2, path="^/nodes/pve2/"))
    large = respond(request)
    assert (large.status, len(large.body or b"") > 2 * 2**20) == (200, True)


def test_a_scenario_that_does_not_fit_the_cluster_is_refused() -> None:
    with pytest.raises(BadFault, match="no pve2"):
        make_bench("8.4", ["pve1"], [], scenario="node-lost")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("fault", "guest", "node", "lock", "code", "path", "seconds", "megabytes"), JSON)
    )
    | JSON
)
def test_any_description_is_read_or_refused(description: object) -> None:
    try:
        fault = parse(description)
    except BadFault:
        return
    assert parse(fault.description()) == fault
