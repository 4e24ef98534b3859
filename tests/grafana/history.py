"""Forty days of figures for capacity planning, which no scenario can wait for: the history is written, not scraped.

The recorded series are written as the rules in prometheus/rules/planning.yml would have; tests/rules holds them to
that. Cluster `lab` has two nodes of 64 GiB and two storages; `new` and the guest 103 are two days old.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pvewatch.stack import tools
from tests.rules.servers import prometheus

NOW = 1_795_000_000.0
DAYS = 40
STEP_SECONDS = 1800
GIB = 2.0**30
DAY = 86400.0

# Series → its value so many days before now, None where it was not there yet.
Value = Callable[[float], float | None]


def _always(value: float) -> Value:
    return lambda _ago: value


def _rising(end: float, a_day: float, *, since_days: float = DAYS) -> Value:
    return lambda ago: end - a_day * ago if ago <= since_days else None


def _now(value: float) -> Value:
    return lambda ago: value if ago < 1 else None


def _guest(vmid: int, *, memory: float, peak: float, cpus: int, cpu: float, days: float = DAYS) -> dict[str, Value]:
    key = f'cluster="lab",id="qemu/{vmid}"'
    status = "running" if peak else "stopped"
    return {
        f"guest:pve_memory_usage_bytes:avg5m{{{key}}}": _rising(peak, 0, since_days=days),
        f"guest:pve_memory_usage_bytes:max7d{{{key}}}": _rising(peak, 0, since_days=days),
        f"guest:pve_cpu_usage_ratio:max7d{{{key}}}": _rising(cpu, 0, since_days=days),
        f"pve_memory_size_bytes{{{key}}}": _now(memory),
        f"pve_cpu_usage_limit{{{key}}}": _now(cpus),
        f"pve_disk_size_bytes{{{key}}}": _now(32 * GIB),
        f'pve_guest_status{{{key},status="{status}"}}': _now(1),
        f'pvewatch_guest_info{{{key},kind="qemu",vmid="{vmid}",name="guest{vmid}",node="pve1"}}': _now(1),
    }


SERIES: dict[str, Value] = {
    'pve_collector_success{cluster="lab",collector="resources"}': _now(1),
    'cluster:pve_node_cpus:sum{cluster="lab"}': _always(16),
    'cluster:pve_node_cpus:max{cluster="lab"}': _always(8),
    'cluster:pve_node_cpus_used:sum{cluster="lab"}': _always(4),
    'cluster:pve_running_guest_cpus:sum{cluster="lab"}': _always(24),
    'cluster:pve_node_memory_size_bytes:sum{cluster="lab"}': _always(128 * GIB),
    'cluster:pve_node_memory_size_bytes:max{cluster="lab"}': _always(64 * GIB),
    'cluster:pve_node_memory_usage_bytes:sum{cluster="lab"}': _rising(80 * GIB, 0.5 * GIB),
    'cluster:pve_running_guest_memory_size_bytes:sum{cluster="lab"}': _always(96 * GIB),
    'cluster:pve_storage_size_bytes:sum{cluster="lab"}': _always(2000 * GIB),
    'cluster:pve_storage_usage_bytes:sum{cluster="lab"}': _rising(1000 * GIB, 2 * GIB),
    'storage:pve_disk_size_bytes:max{cluster="lab",storage="nas"}': _always(1000 * GIB),
    'storage:pve_disk_usage_bytes:max{cluster="lab",storage="nas"}': _rising(500 * GIB, 10 * GIB),
    'storage:pve_disk_size_bytes:max{cluster="lab",node="pve1",storage="local"}': _always(100 * GIB),
    'storage:pve_disk_usage_bytes:max{cluster="lab",node="pve1",storage="local"}': _rising(10 * GIB, -1 * GIB),
    'storage:pve_disk_size_bytes:max{cluster="lab",node="pve2",storage="local"}': _always(100 * GIB),
    'storage:pve_disk_usage_bytes:max{cluster="lab",node="pve2",storage="local"}': _rising(60 * GIB, 0.4 * GIB),
    'storage:pve_disk_size_bytes:max{cluster="lab",storage="new"}': _rising(100 * GIB, 0, since_days=2),
    'storage:pve_disk_usage_bytes:max{cluster="lab",storage="new"}': _rising(90 * GIB, 30 * GIB, since_days=2),
    **_guest(101, memory=8 * GIB, peak=2 * GIB, cpus=8, cpu=0.1),
    **_guest(102, memory=8 * GIB, peak=7 * GIB, cpus=4, cpu=0.9),
    **_guest(103, memory=8 * GIB, peak=1 * GIB, cpus=8, cpu=0.05, days=2),
    **_guest(104, memory=4 * GIB, peak=0, cpus=4, cpu=0),
}


@contextmanager
def history(folder: Path) -> Iterator[str]:
    """The address of a Prometheus that has this history in `folder`."""
    (folder / "history.txt").write_text("\n".join([*_lines(), "# EOF", ""]), encoding="utf-8")
    command = [str(tools.find("promtool")), "tsdb", "create-blocks-from", "--max-block-duration=744h", "openmetrics"]
    command += [str(folder / "history.txt"), str(folder / "data")]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    (folder / "prometheus.yml").write_text("global: {}\n", encoding="utf-8")
    with prometheus(folder / "prometheus.yml", folder / "data", "--storage.tsdb.retention.time=90d") as address:
        yield address


def _lines() -> Iterator[str]:
    families = sorted({name.partition("{")[0] for name in SERIES})
    for family in families:
        yield f"# TYPE {family} gauge"
        for name, value in SERIES.items():
            if name.partition("{")[0] == family:
                for step in range(int(DAYS * DAY / STEP_SECONDS), -1, -1):
                    ago = step * STEP_SECONDS
                    number = value(ago / DAY)
                    if number is not None:
                        yield f"{name} {number} {NOW - ago}"
