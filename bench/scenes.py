"""The scenes of the benchmark: what runs in each, and which rows of the table come of it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from bench import figures, heartbeats
from bench.figures import Cost, Latency
from bench.processes import Ours, Simulator
from bench.report import Row
from exporter.collectors import COLLECTORS


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured: clusters as (nodes, guests), scrapes of ours and the peer's, `polls` for the CPU time.

    `agents` send heartbeats, `rate` a second altogether for `seconds`; `poll_seconds` is the exporter's interval.
    """

    small: tuple[int, int]
    big: tuple[int, int]
    scrapes: int
    peer_scrapes: int
    polls: int
    agents: int
    rate: float
    seconds: float
    poll_seconds: float


FULL = Scale((10, 1000), (32, 5000), 400, 10, 6, 10_000, 1000, 20, 10)
QUICK = Scale((2, 20), (3, 40), 20, 2, 2, 50, 50, 2, 1)


def small(folder: Path, scale: Scale) -> list[Row]:
    """How long a scrape takes, ours with all default collectors."""
    nodes, guests = scale.small
    with closing(Simulator(folder, nodes=nodes, guests=guests, name="small")) as simulator:
        peer, _ = figures.measure_peer(folder, simulator, nodes, scale.peer_scrapes)
        with closing(
            Ours(folder, [simulator], "ours-small", settings={"poll_interval_seconds": scale.poll_seconds})
        ) as ours:
            # Over two polls at least: a scrape during a refresh is part of the truth.
            latency = figures.scrape(ours.port, "/metrics", scale.scrapes, 2 * scale.poll_seconds / scale.scrapes)
    return [_latency_row("small", f"{guests:,} guests on {nodes} nodes, all default collectors", latency, peer, 30)]


def big(folder: Path, scale: Scale) -> list[Row]:
    """Time, CPU, calls and memory with the peer's families; one hanging node while the guests are read once."""
    nodes, guests = scale.big
    what = f"{guests:,} guests on {nodes} nodes, the peer's families"
    only = figures.peers_collectors_only([collector.name for collector in COLLECTORS])
    with closing(Simulator(folder, nodes=nodes, guests=guests, name="big")) as simulator:
        peer, peers = figures.measure_peer(folder, simulator, nodes, scale.peer_scrapes)
        settings = {
            "collectors": only,
            "poll_interval_seconds": scale.poll_seconds,
            "config_interval_seconds": 12 * scale.poll_seconds,
        }
        with (
            closing(Ours(folder, [simulator], "ours-as-peer", program="bench.hurried", settings=settings)) as ours,
            ThreadPoolExecutor(1) as beside,
        ):
            hanging = beside.submit(figures.measure_hanging_node, folder, nodes, 4 * nodes, scale.poll_seconds)
            figures.wait_for_sweep(ours, guests, 600)
            ours.end_hurry()
            without, with_one = hanging.result()
            cost = figures.measure_refresh(ours, simulator, scale.polls, scale.poll_seconds)
            latency = figures.scrape(ours.port, "/metrics", scale.scrapes, 2 * scale.poll_seconds / scale.scrapes)
            cost = replace(cost, peak_megabytes=ours.peak_megabytes())
    return [
        _latency_row("big", what, latency, peer, 100),
        _cost_row("cpu", f"CPU of one refresh, {what}", cost, peers, lambda found: found.cpu_seconds, 0.3, "s"),
        _cost_row("calls", f"PVE calls a minute, {what}", cost, peers, lambda found: found.calls_per_minute, 0.05, ""),
        _cost_row("memory", f"peak memory, {what}", cost, peers, lambda found: found.peak_megabytes, 1.0, "MB"),
        Row(
            "hanging",
            f"longest time between two refreshes of all others while one of {nodes} nodes hangs",
            "s",
            with_one,
            f"≤ 1.10 times the interval of {scale.poll_seconds:g} s",
            with_one <= scale.poll_seconds * 1.1,
            detail=f"{without:.2f} s when none hangs",
            peer_detail="every scrape of that node fails",
        ),
    ]


def everything(folder: Path, scale: Scale) -> list[Row]:
    """All default collectors and heartbeats at once, then the plug is pulled."""
    nodes, guests = scale.big
    what = f"{guests:,} guests on {nodes} nodes, all default collectors, {scale.agents:,} agents"
    rate = scale.rate
    settings = {"poll_interval_seconds": scale.poll_seconds, "node_interval_seconds": 6 * scale.poll_seconds}
    # Of the two generations Proxmox VE 9 has more to tell.
    with closing(Simulator(folder, nodes=nodes, guests=guests, version="9.2", name="all")) as simulator:
        with closing(Ours(folder, [simulator], "ours-all", program="bench.hurried", settings=settings)) as ours:
            figures.wait_until_quiet(ours, simulator, guests, 400, scale.poll_seconds)
            ours.end_hurry()
            # Once around, so that all agents are known; then the measurement; then what is possible; then the plug.
            heartbeats.send(ours, scale.agents, scale.agents / rate + 2, rate, 0)
            steady = heartbeats.send(ours, scale.agents, scale.seconds, rate, 100)
            most = heartbeats.send(ours, scale.agents, scale.seconds / 2, 5 * rate, 200)
            latency = figures.scrape(ours.port, "/metrics", scale.scrapes, 2 * scale.poll_seconds / scale.scrapes)
            series = sum(figures.value(ours.page(), "pvewatch_series")) / guests
            memory = ours.peak_megabytes()
            last = heartbeats.send(ours, scale.agents, min(6.0, scale.seconds), rate, 300, kill=True)
        lost = heartbeats.lost(ours, last.acknowledged)
    p99 = steady.latency.p99 * 1000
    return [
        _latency_row("everything", what, latency, None, 100),
        Row("memory-all", f"peak memory, {what}", "MB", memory, "≤ 400 MB", memory <= 400),
        Row("series", "series for each guest, agents' not counted", "series", series, "≤ 60", series <= 60),
        Row(
            "heartbeats",
            f"heartbeats durable each second, {rate:,.0f} sent, while polling",
            "",
            steady.per_second,
            "all, ≥ 1,000" if rate >= 1000 else "all",
            steady.per_second >= 0.99 * rate and not steady.refused,
        ),
        Row("durable", "sent to durable at that rate, p99", "ms", p99, "≤ 50 ms", p99 <= 50),
        Row(
            "heartbeats-most",
            f"heartbeats durable each second, {5 * rate:,.0f} sent",
            "",
            most.per_second,
            "",
            None,
            detail=f"p99 {most.latency.p99 * 1000:,.0f} ms",
        ),
        Row(
            "lost",
            "acknowledged heartbeats lost by kill -9",
            "",
            lost,
            "0",
            lost == 0 and bool(last.acknowledged),
            detail=f"of {len(last.acknowledged):,} guests",
        ),
    ]


SCENES: tuple[Callable[[Path, Scale], list[Row]], ...] = (small, big, everything)


def _latency_row(key: str, what: str, ours: Latency, peer: Latency | None, bar: float) -> Row:
    def words(found: Latency) -> str:
        return f"p50 {found.p50 * 1000:.1f} ms, {found.bytes / 1e6:.1f} MB"

    return Row(
        f"scrape-{key}",
        f"answer of /metrics, p99, {what}",
        "ms",
        ours.p99 * 1000,
        f"≤ {bar:.0f} ms",
        ours.p99 * 1000 <= bar,
        peer=peer.p99 * 1000 if peer else None,
        detail=words(ours),
        peer_detail=words(peer) if peer else "",
    )


def _cost_row(key: str, what: str, ours: Cost, peer: Cost, part: Callable[[Cost], float], bar: float, unit: str) -> Row:
    mine, theirs = part(ours), part(peer)
    return Row(key, what, unit, mine, f"≤ {bar:g} times the peer's", mine <= bar * theirs, peer=theirs)
