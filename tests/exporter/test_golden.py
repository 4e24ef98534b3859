"""The whole page, made of recorded answers: names, help, types and values reviewed together.

`make golden` writes tests/golden/*.prom again; review the difference.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.exposition import Metric, write_samples
from exporter.heartbeats.schema import parse
from exporter.service import TABLES, Exporter
from pvewatch.config import Cluster, ExporterSettings, HostPort, Secret, Settings, TokenRef
from pvewatch.pve.grouping import Group
from pvewatch.simulator.server import Options, Simulator
from tests.exporter.conftest import RECORDED_AT

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
VERSIONS = ("8.4", "9.2")
HEARTBEAT = b"""{"schema":1,"agent":{"version":"0.1.0","platform":"linux"},
"boot_id":"6f1c3e1a-0000-4000-8000-000000000001",
"sequence":7,"missed":0,"time":1795253459.5,"uptime_seconds":376,"interval_seconds":60,
"cpu":{"usage_ratio":0.25,"cores":1},"load":{"1m":0.5,"5m":0.4,"15m":0.3},
"memory":{"size_bytes":268435456,"available_bytes":134217728},"swap":{"size_bytes":0,"free_bytes":0},
"filesystems":[{"mountpoint":"/","type":"ext4","size_bytes":1073741824,"available_bytes":536870912}],
"network":[{"interface":"eth0","received_bytes":18273645,"sent_bytes":5443322}],
"services":[{"name":"nginx.service","state":"running","restarts":1}],
"last_repair":{"time":1795253300.5,"service":"nginx.service","outcome":"succeeded"},"pending_reboot":true,
"os":{"name":"Debian GNU/Linux","version":"12"}}"""

# What the linter refuses and stays, with the reason. Everything else it says fails the test.
LINT_EXCEPTIONS = {
    "pve_not_backed_up_total": "a gauge under the name that prometheus-pve-exporter gave it",
}

# Differ from run to run, and so stand in the page as 0.
_TIMED = re.compile(
    r"^((?:pve_collector_duration_seconds|pve_node_clock_offset_seconds"
    r"|pvewatch_(?:pve|http)_request_duration_seconds\w*)\S*) .*$",
    re.M,
)
_BUILD = re.compile(r"^pvewatch_build_info\{.*\} 1.0$", re.M)
_MACHINE = re.compile(r"^(?:# (?:HELP|TYPE) )?(?:process|python)_.*\n", re.M)
_COUNTED = re.compile(r"^(pvewatch_pve_requests_total\S*) .*$", re.M)
_REQUESTS = re.compile(r"^(?:pvewatch_(?:pve_request|collector_runs)\S* .*\n)+", re.M)


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def page(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The page of an exporter that has asked the recordings once; what was never recorded shows as rejected."""
    recordings = ROOT / "tests" / "fixtures" / f"recorded-{version}"
    simulator = Simulator(Options(data=tmp_path / "simulator", pve_version=version, replay=recordings))
    simulator.start()
    details = simulator.details
    monkeypatch.setenv("TEST_TOKEN_SECRET", details["tokens"]["monitor"]["secret"])
    cluster = Cluster(
        name="home",
        hosts=(HostPort(host=details["host"], port=details["port"]),),
        fingerprint=details["fingerprint"],
        monitor=TokenRef(token_id=details["tokens"]["monitor"]["id"], token_secret_env="TEST_TOKEN_SECRET"),
    )
    settings = Settings(clusters=(cluster,), data_dir=tmp_path / "data", exporter=ExporterSettings())
    exporter = Exporter(settings, (Group(cluster, ("home",)),), Secret("heartbeat"), clock=lambda: RECORDED_AT)
    try:
        exporter.heartbeats.submit("home", 100, "qemu", parse(HEARTBEAT), RECORDED_AT).result(10)
        exporter.own.http_request("/metrics", 200, 0.01)
        (poller,) = exporter.pollers
        poller.poll()
        assert poller.settle(30)
        yield steady(exporter.metrics().decode())
    finally:
        exporter.stop()
        simulator.stop()


def steady(page: str) -> str:
    """The page without what differs between machines and runs."""
    page = _MACHINE.sub("", page)
    page = _TIMED.sub(r"\1 0", page)
    page = _COUNTED.sub(r"\1 0", page)
    # In the order of the first request or answer, and nodes are asked side by side.
    page = _REQUESTS.sub(lambda lines: "".join(sorted(lines[0].splitlines(keepends=True))), page)
    return _BUILD.sub('pvewatch_build_info{python="3",version="0"} 1.0', page)


def promtool() -> str:
    """Where promtool is; the test fails with the remedy when it is nowhere."""
    found = shutil.which("promtool") or next(
        (str(path) for path in sorted((ROOT / ".cache" / "tools").rglob("promtool")) if os.access(path, os.X_OK)), None
    )
    assert found, "promtool is neither on the PATH nor in .cache/tools; fetch it with: make tools"
    return found


def test_the_golden_page_is_what_is_served(page: str, version: str, request: pytest.FixtureRequest) -> None:
    file = GOLDEN / f"metrics-{version}.prom"
    if request.config.getoption("--update-golden"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(page, encoding="utf-8")
    assert page == file.read_text(encoding="utf-8"), "review the difference; `make golden` writes the page again"


def test_the_golden_page_passes_the_linter_of_prometheus(version: str) -> None:
    file = GOLDEN / f"metrics-{version}.prom"
    with file.open("rb") as text:
        done = subprocess.run(
            [promtool(), "check", "metrics"], stdin=text, capture_output=True, text=True, timeout=60, check=False
        )
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    unexpected = [line for line in said if line.split(" ")[0] not in LINT_EXCEPTIONS]
    assert unexpected == []
    assert LINT_EXCEPTIONS or done.returncode == 0


def test_the_golden_page_is_read_by_the_python_parser_without_a_series_twice(version: str) -> None:
    text = (GOLDEN / f"metrics-{version}.prom").read_text(encoding="utf-8")
    series = [
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]
    assert series
    assert len(series) == len(set(series))


def test_every_series_about_a_cluster_on_the_golden_page_says_which_one(version: str) -> None:
    lines = (GOLDEN / f"metrics-{version}.prom").read_text(encoding="utf-8").splitlines()
    about_itself = (
        *("pvewatch_build_info", "pvewatch_http_", "pvewatch_heartbeats_rejected_total"),
        "pvewatch_config_reloads_total",
    )
    nameless = [line for line in lines if not line.startswith(("#", *about_itself)) and 'cluster="home"' not in line]
    assert nameless == []


@pytest.mark.parametrize(("source", "metric"), [(source, metric) for source, table in TABLES for metric in table])
def test_every_family_about_a_cluster_names_it_whatever_its_table_says(source: str, metric: Metric) -> None:
    assert "cluster" not in metric.labels, "the writer puts it first; a second one would be refused"
    assert len(set(metric.labels)) == len(metric.labels)
    written = write_samples(metric.name, metric.labels, [(("x",) * len(metric.labels), 1)], "home").decode()
    (family,) = text_string_to_metric_families(written)
    assert family.samples[0].labels["cluster"] == "home"


# A label value that is new each time makes a new series each time: task ids, times, counters.
_CHURNS = re.compile(r'="(?:UPID:[^"]*|1[5-9][0-9]{8}(?:\.[0-9]+)?)"')


def test_no_label_on_the_golden_page_holds_a_task_or_a_time(version: str) -> None:
    text = (GOLDEN / f"metrics-{version}.prom").read_text(encoding="utf-8")
    assert _CHURNS.findall(text) == []


def test_requests_are_counted_by_template_never_by_guest_or_node(version: str) -> None:
    text = (GOLDEN / f"metrics-{version}.prom").read_text(encoding="utf-8")
    endpoints = set(re.findall(r'endpoint="([^"]*)"', text))
    assert endpoints
    assert not [endpoint for endpoint in endpoints if re.search(r"/(?:pve)?[0-9]+(?:/|$)", endpoint)]
