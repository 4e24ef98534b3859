"""What lists say while something is broken, moment by moment, compared with the same trouble on running servers."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pvewatch.simulator.faults import Fault
from tests.simulator.conftest import FIXTURES, START, Bench, make_bench, running_guest, stopped_guest

SETTLING_SECONDS = 20  # a change shows within one or two refreshes, here as there


def samples(name: str) -> Iterator[tuple[float, dict[str, str]]]:
    """(seconds, id → status) of every sample of a timeline."""
    for line in (FIXTURES / "recorded-8.4" / f"{name}.jsonl").read_text().splitlines():
        sample = json.loads(line)
        if "res" in sample:
            yield sample["t"], sample["res"]


def cluster(place_of_111: str, place_of_210: str) -> Bench:
    return make_bench(
        "8.4",
        ["pve1", "pve2", "pve3"],
        [
            running_guest("qemu", 100, "pve1", "web1"),
            running_guest("qemu", 110, "pve2", "app1"),
            running_guest("qemu", 111, place_of_111, "ha1"),
            running_guest("lxc", 200, "pve1", "ct1"),
            stopped_guest("lxc", 201, "pve1", "ct2"),
            running_guest("lxc", 210, place_of_210, "cache1"),
            stopped_guest("qemu", 9000, "pve1", "tpl", template=True),
        ],
    )


def compare(bench: Bench, name: str, fault: Fault, broken_at: float, steady: list[tuple[float, float]]) -> int:
    """Compare the samples within the `steady` spans; returns how many there were."""
    compared = 0
    for seconds, theirs in samples(name):
        if seconds >= broken_at and not bench.cluster.faults():
            bench.clock[0] = START + broken_at
            bench.get("/version")
            bench.cluster.add_fault(fault)
        bench.clock[0] = max(bench.clock[0], START + seconds)
        ours = {row["id"]: row["status"] for row in bench.get("/cluster/resources") if row["type"] != "sdn"}
        if any(start <= seconds < end for start, end in steady):
            # Not simulated: a dead NFS. Stopped by hand in the middle of it: machine 101.
            expected = {key: status for key, status in theirs.items() if key in ours}
            assert ours == expected, f"at {seconds} s"
            compared += 1
    return compared


def test_a_stopped_statistics_daemon_looks_as_it_did() -> None:
    spans = [(0.0, 7.0), (7.6, 295.0), (307.6 + SETTLING_SECONDS, 355.0)]
    fault = Fault("statistics-stopped", node="pve2")
    assert compare(cluster("pve2", "pve2"), "timeline-pvestatd-stopped-6min", fault, 7.6, spans) > 40


def test_a_lost_node_looks_as_it_did() -> None:
    spans = [(0.0, 8.0), (8.4 + SETTLING_SECONDS, 170.0)]
    fault = Fault("node-offline", node="pve3")
    assert compare(cluster("pve3", "pve2"), "timeline-node-loss-and-pvestatd-stop", fault, 8.4, spans) > 10
