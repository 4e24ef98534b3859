"""Figures move plausibly, follow from the seed alone, and show their age."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from pvewatch.simulator.faults import Fault
from pvewatch.simulator.figures import Wave
from pvewatch.simulator.world import AUTO_RESET_TAG, build
from tests.simulator.conftest import START, Bench

MOMENTS = st.floats(min_value=1.7e9, max_value=1.8e9)


@settings(deadline=None)
@given(st.text(max_size=8), MOMENTS, st.floats(0, 1e7), st.floats(0, 1e7))
def test_a_counter_never_falls_and_grows_by_the_same_in_one_step_or_two(
    key: str, start: float, first: float, second: float
) -> None:
    wave = Wave(key, 1000.0)
    whole = wave.between(start, start + first + second)
    parts = wave.between(start, start + first) + wave.between(start + first, start + first + second)
    assert wave.between(start, start + first) >= 0
    assert abs(whole - parts) <= max(1.0, whole * 1e-6)
    assert wave.at(start) > 0


def test_counters_of_running_guests_grow_and_all_others_stay_zero(bench: Bench) -> None:
    before = bench.get("/cluster/resources", type="vm")
    bench.wait(60)
    for then, now in zip(before, bench.get("/cluster/resources", type="vm"), strict=True):
        running = now["status"] == "running"
        for counter in ("netin", "netout", "diskread", "diskwrite", "uptime"):
            assert (now[counter] > then[counter]) if running else now[counter] == 0
        assert 0 <= now["cpu"] <= 1
        assert now["mem"] <= now["maxmem"]
        assert now["disk"] == 0 or now["id"].startswith("lxc/")


def test_statistics_are_as_old_as_the_last_refresh(bench: Bench) -> None:
    first = bench.guest("qemu/100")
    seen = [first["uptime"]]
    for _ in range(30):
        bench.wait(1)
        seen.append(bench.guest("qemu/100")["uptime"])
    steps = [later - earlier for earlier, later in itertools.pairwise(seen)]
    assert set(steps) == {0, 10}
    assert sum(steps) == 30


def test_a_node_measures_what_its_guests_use(bench: Bench) -> None:
    node = next(row for row in bench.get("/cluster/resources", type="node") if row["node"] == "pve1")
    guests = [row for row in bench.get("/cluster/resources", type="vm") if row["node"] == "pve1"]
    assert node["mem"] > sum(guest["mem"] for guest in guests)
    assert 0 < node["cpu"] <= 1


def test_the_same_seed_makes_the_same_cluster_and_another_seed_another() -> None:
    def names(seed: int) -> list[tuple[str, str, int, str | None]]:
        world = build("demo1", seed, 3, 40, "8.4", START)
        return [(guest.id, guest.name, guest.memory_bytes, guest.tags) for guest in world.guests.values()]

    assert names(1) == names(1)
    assert names(1) != names(2)


@settings(deadline=None)
@given(st.integers(), st.integers(1, 8), st.integers(1, 60), st.sampled_from(["8.4", "9.2"]))
def test_every_cluster_has_a_running_machine_that_may_be_reset(
    seed: int, nodes: int, guests: int, version: str
) -> None:
    world = build("demo1", seed, nodes, guests, version, START)
    machine = world.guests[101]
    assert (machine.id, machine.power.running, machine.onboot, machine.lock, machine.ha_state) == (
        "qemu/101",
        True,
        True,
        None,
        None,
    )
    assert machine.tags is not None
    assert AUTO_RESET_TAG in machine.tags.split(";")
    assert len(world.guests) == guests
    assert not any(guest.template and guest.power.running for guest in world.guests.values())


def test_a_dozen_guests_are_a_varied_lot() -> None:
    guests = build("demo1", 1, 3, 12, "8.4", START).guests.values()
    assert {guest.kind for guest in guests} == {"qemu", "lxc"}
    assert sum(guest.template for guest in guests) == 1
    assert sum(guest.stopped_on_purpose for guest in guests) == 1
    assert len({guest.tags for guest in guests}) > 4
    assert {guest.pool for guest in guests} >= {None, "prod", "test"}
    assert any(guest.ha_state for guest in guests)


def test_a_hung_guest_is_running_and_flat_until_it_is_reset(bench: Bench) -> None:
    bench.cluster.add_fault(Fault("hang", guest="qemu/101"))
    bench.wait(20)
    first = bench.guest("qemu/101")
    bench.wait(300)
    later = bench.guest("qemu/101")
    flat = ("status", "cpu", "mem", "netin", "netout", "diskread", "diskwrite")
    assert {key: later[key] for key in flat} == {key: first[key] for key in flat}
    assert later["status"] == "running"
    assert later["uptime"] > first["uptime"]
    bench.post("/nodes/pve1/qemu/101/status/reset")
    bench.wait(20)
    after = bench.guest("qemu/101")
    others = bench.guest("qemu/100")
    assert after["netin"] > later["netin"]
    # What stood still for five minutes is not made up for in one step.
    assert after["netin"] - later["netin"] < 0.05 * after["netin"]
    assert others["netin"] > 0
