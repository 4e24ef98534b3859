"""What capacity planning shows after 40 days, which no scenario can wait for: the history is written, not scraped.

The recorded series are written as the rules in prometheus/rules/planning.yml would have; tests/rules holds them to
that. Cluster `lab` has two nodes of 64 GiB and two storages; `new` and the guest 103 are two days old.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest
import requests

from grafana.source.capacity import capacity
from grafana.source.contract import Series
from grafana.source.panels import Document, panels
from grafana.source.prove import Asked, prove, resolved
from grafana.source.scenarios import FLEET
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


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("history")
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


def asked(url: str, target: Document) -> list[Series]:
    """The answer to a query of a panel, for all clusters."""
    expr = resolved(target["expr"], {"cluster": ".*"})
    with requests.Session() as session:
        return Asked(url, NOW, session).run(expr, instant=bool(target.get("instant")))


def shown(url: str, title: str, query: str = "A") -> dict[str, float]:
    """What a panel's query returns: the VMID, or storage and node, or cluster → the value."""
    panel = next(panel for panel in panels(capacity().document) if panel["title"] == title)
    target = next(target for target in panel["targets"] if target["refId"] == query)
    series = asked(url, target)
    found = {}
    for entry in series:
        labels = entry["metric"]
        place = " ".join(labels[name] for name in ("storage", "node") if name in labels)
        found[labels.get("vmid") or place or labels.get("cluster", "")] = float(entry["value"][1])
    return found


def test_every_panel_has_the_labels_columns_and_values_that_it_needs(url: str) -> None:
    assert [str(finding) for finding in prove(url, capacity(), FLEET, at=NOW)] == []


def test_every_query_returns_something(url: str) -> None:
    empty = []
    for panel in panels(capacity().document):
        for target in panel["targets"]:
            if not asked(url, target):
                empty.append((panel["title"], target["refId"]))
    assert empty == []


def test_a_storage_that_grows_says_when_it_is_full_and_others_do_not(url: str) -> None:
    # 500 GiB free at 10 GiB a day, 40 GiB free at 0.4 GiB a day; one shrinks, one is two days old.
    left = shown(url, "Storages by time left")
    assert left == {"nas": pytest.approx(50 * DAY, rel=1e-3), "local pve2": pytest.approx(100 * DAY, rel=1e-3)}
    assert shown(url, "First storage full") == {"": pytest.approx(50 * DAY, rel=1e-3)}
    assert shown(url, "Storages by time left", "D")["nas"] == pytest.approx(10 * GIB, rel=1e-3)


def test_use_in_90_days_goes_on_as_in_the_last_30(url: str) -> None:
    assert shown(url, "Clusters", "J") == {"lab": pytest.approx((80 + 45) / 128, rel=1e-3)}
    assert shown(url, "Clusters", "K") == {"lab": pytest.approx((1000 + 180) / 2000, rel=1e-3)}


def test_two_equal_nodes_that_are_more_than_half_full_do_not_survive_the_loss_of_one(url: str) -> None:
    assert shown(url, "Memory with one node less") == {"": pytest.approx(80 / 64)}
    assert shown(url, "Clusters", "H") == {"lab": pytest.approx(96 / 64)}
    assert shown(url, "CPUs promised") == {"": pytest.approx(24 / 16)}
    assert shown(url, "Memory promised") == {"": pytest.approx(96 / 128)}


def test_guests_that_use_little_for_a_week_are_listed_and_new_ones_are_not(url: str) -> None:
    assert shown(url, "Memory that guests never use") == {"101": 6 * GIB}
    assert shown(url, "CPUs that guests never use") == {"101": pytest.approx(7.2)}
    assert shown(url, "Memory never used") == {"": 6 * GIB}
    assert shown(url, "Guests that did not run for a week") == {"104": 32 * GIB}
