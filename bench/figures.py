"""What is measured: each function runs one scene and returns its figures."""

from __future__ import annotations

import http.client
import re
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bench.processes import NotMeasured, Ours, Peer, Simulator, get

# The peer's families and no more: what an honest comparison of cost needs.
PEERS_COLLECTORS = frozenset(
    {"resources", "status", "version", "config", "backup", "qdevice", "replication", "subscription"}
)


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds; of few samples p99 is the slowest."""

    p50: float
    p99: float
    samples: int
    bytes: int

    @classmethod
    def of(cls, seconds: Sequence[float], size: int) -> Latency:
        """The summary of single measurements."""
        ordered = sorted(seconds)
        return cls(
            ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], len(ordered), size
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """`cpu_seconds` of one refresh of everything, calls to PVE a minute, and the most memory held (10^6 bytes)."""

    cpu_seconds: float
    calls_per_minute: float
    peak_megabytes: float
    series: int


def scrape(port: int, path: str, times: int, pause: float = 0.0) -> Latency:
    """Read a page again and again over one connection, as Prometheus does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    seconds: list[float] = []
    size = 0
    for _ in range(times):
        begun = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        size = len(answer.read())
        seconds.append(time.perf_counter() - begun)
        if answer.status != 200:
            raise NotMeasured(f"port {port}{path.partition('?')[0]} answered {answer.status}")
        time.sleep(pause)
    connection.close()
    return Latency.of(seconds, size)


def peers_collectors_only(known: Sequence[str]) -> dict[str, dict[str, bool]]:
    """The setting exporter.collectors that leaves only what the peer shows."""
    return {name: {"enabled": False} for name in known if name not in PEERS_COLLECTORS}


def measure_peer(folder: Path, simulator: Simulator, nodes: int, times: int) -> tuple[Latency, Cost]:
    """The peer's default scrape; whole coverage means one scrape of every node a minute."""
    with closing(Peer(folder, simulator)) as peer:
        get(peer.url)
        cpu, calls = peer.cpu_seconds(), simulator.requests()
        path = peer.url.partition(str(peer.port))[2]
        latency = scrape(peer.port, path, times)
        cpu, calls = peer.cpu_seconds() - cpu, simulator.requests() - calls
        page = (get(peer.url) or b"").decode()
        series = sum(1 for line in page.splitlines() if line and not line.startswith("#"))
        return latency, Cost(cpu / times, calls / times * nodes, peer.peak_megabytes(), series)


def measure_refresh(ours: Ours, simulator: Simulator, polls: int, poll_seconds: float) -> Cost:
    """CPU and calls of some polls, nobody scraping; then the memory and how many series there are."""
    cpu, calls, begun = ours.cpu_seconds(), simulator.requests(), time.monotonic()
    time.sleep(polls * poll_seconds)
    minutes = (time.monotonic() - begun) / 60
    cpu, calls = ours.cpu_seconds() - cpu, simulator.requests() - calls
    series = sum(value(ours.page(), "pvewatch_series"))
    return Cost(cpu / polls, calls / minutes, ours.peak_megabytes(), int(series))


def wait_for_sweep(ours: Ours, guests: int, seconds: float) -> None:
    """Wait until every guest's configuration has been read: from then on the calls are those of every day."""

    def swept() -> bool:
        time.sleep(1)
        return ours.page().count("\npve_guest_protection{") >= guests

    ours.wait_until(swept, seconds, "reading every guest once")


def wait_until_quiet(ours: Ours, simulator: Simulator, guests: int, seconds: float, poll_seconds: float) -> None:
    """Wait until every guest has been read by every collector: the calls of a minute are then far fewer than guests."""
    wait_for_sweep(ours, guests, seconds)

    def quiet() -> bool:
        before = simulator.requests()
        time.sleep(3 * poll_seconds)
        # Configurations go on (30 a poll in the whole cluster, one of a node at least), and what nodes are asked.
        return simulator.requests() - before < guests / 4 + 200

    ours.wait_until(quiet, seconds, "every collector reading every guest once")


def worst_gap(ours: Ours, seconds: float, wanted: Callable[[str], bool]) -> float:
    """The longest time between two successes of any of the wanted collectors, seen over a while."""
    last: dict[str, float] = {}
    worst = 0.0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for line in ours.page().splitlines():
            if not line.startswith("pve_collector_last_success_timestamp_seconds{") or not wanted(line):
                continue
            key, _, stamp = line.rpartition(" ")
            if key in last and float(stamp) > last[key]:
                worst = max(worst, float(stamp) - last[key])
            last[key] = float(stamp)
        time.sleep(0.5)
    return worst


def measure_hanging_node(folder: Path, nodes: int, guests: int, poll_seconds: float) -> tuple[float, float]:
    """The longest gap between refreshes of all that is healthy: without, and with one node that hangs."""
    healthy = re.compile(r'collector="(resources|status|tasks)",node=""|collector="node",node="(?!pve2")')

    def wanted(line: str) -> bool:
        return healthy.search(line) is not None

    intervals = {"poll_interval_seconds": poll_seconds, "node_interval_seconds": poll_seconds}
    with (
        closing(Simulator(folder, nodes=nodes, guests=guests, name="hanging")) as simulator,
        closing(Ours(folder, [simulator], "ours-hanging", settings=intervals)) as ours,
    ):
        # The first minute is no measure: everything is asked for the first time, here and by the exporter beside it.
        wait_for_sweep(ours, guests, 120)
        time.sleep(6 * poll_seconds)
        without = worst_gap(ours, 3 * poll_seconds, wanted)
        simulator.control("POST", "/faults", {"fault": "slow", "path": "^/nodes/pve2/", "seconds": 60})
        time.sleep(poll_seconds)
        return without, worst_gap(ours, 5 * poll_seconds, wanted)


def value(page: str, name: str) -> list[float]:
    """The values of all samples of one name."""
    return [float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith((f"{name}{{", f"{name} "))]
