"""Every panel on a real Prometheus that scrapes the golden pages; and the proof itself, on broken dashboards."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from grafana.source.house import Built
from grafana.source.lint import Document, panels
from grafana.source.prove import Finding, prove, resolved
from grafana.source.registry import dashboards
from pvewatch.config import Settings
from pvewatch.render import write_all
from tests.rules.servers import prometheus, wait_until

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
OVERVIEW = next(built for built in dashboards() if built.document["uid"] == "pve-overview")

# What the action API shows once an incident was closed; its own tests hold it to these names.
ACTION_API_PAGE = """\
# TYPE pvewatch_actions_total counter
pvewatch_actions_total{action="reset",origin="automation",outcome="succeeded"} 3
# TYPE pvewatch_incidents gauge
pvewatch_incidents{state="open"} 1
"""

# What an exporter shows of a cluster that has never answered: enough for ExporterBlind to fire.
BLIND_PAGE = """\
# TYPE pve_collector_success gauge
pve_collector_success{cluster="unseen",collector="resources",node=""} 0
"""


@pytest.fixture(scope="module")
def prometheus_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus that has scraped an exporter per release of Proxmox VE, a blind one, and the action API."""
    pages = {f"/{version}/metrics": (GOLDEN / f"metrics-{version}.prom").read_bytes() for version in ("8.4", "9.2")}
    pages["/actions/metrics"] = ACTION_API_PAGE.encode()
    pages["/blind/metrics"] = BLIND_PAGE.encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(pages[self.path])

        def log_message(self, format: str, *args: object) -> None:
            pass

    folder = tmp_path_factory.mktemp("proof")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_address[1]}"
        config = rendered(folder, address)
        with prometheus(config, folder / "history") as url:
            # Enough scrapes for the rates, and ExporterBlind of the cluster that is not seen.
            wait_until(lambda: value(url, 'min(count_over_time(up{job=~"pvewatch.*"}[1m]))') >= 3, "three scrapes")
            wait_until(lambda: value(url, 'count(ALERTS{alertstate="firing"})') >= 1, "an alert")
            yield url
        server.shutdown()


def rendered(folder: Path, address: str) -> Path:
    """The shipped configuration, rules included, with the pages as targets and no waiting."""
    settings = Settings.model_validate(
        {
            "data_dir": folder / "data",
            "exporter": {"url": f"http://{address}/8.4"},
            "action_api": {"url": f"http://{address}/actions"},
            "prometheus": {"scrape_interval_seconds": 1, "evaluation_interval_seconds": 1},
            "alerting": {"time_scale": 0.001},
        }
    )
    write_all(settings, folder / "out", "native")
    path = folder / "out" / "prometheus" / "prometheus.yml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    first = next(job for job in document["scrape_configs"] if job["job_name"] == "pvewatch")
    for name in ("9.2", "blind"):
        job = {**first, "job_name": name, "metrics_path": f"/{name}/metrics"}
        document["scrape_configs"].append(
            {**job, "relabel_configs": [{"target_label": "job", "replacement": "pvewatch"}]}
        )
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def value(url: str, query: str) -> float:
    result = requests.get(f"{url}/api/v1/query", params={"query": query}, timeout=10).json()["data"]["result"]
    return float(result[0]["value"][1]) if result else 0.0


@pytest.mark.parametrize("built", dashboards(), ids=lambda built: str(built.document["uid"]))
def test_every_panel_shows_what_it_promises(prometheus_url: str, built: Built) -> None:
    assert [str(finding) for finding in prove(prometheus_url, built)] == []


def test_every_rule_can_be_evaluated_where_two_exporters_watch_one_cluster(prometheus_url: str) -> None:
    groups = requests.get(f"{prometheus_url}/api/v1/rules", timeout=10).json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    wrong = {rule["name"]: rule.get("lastError", "") for rule in rules if rule["health"] not in ("ok", "unknown")}
    # Groups with an interval of minutes have not had their turn yet: their expressions are asked for instead.
    for rule in rules:
        if rule["health"] == "unknown":
            query = {"query": rule["query"]}
            answer = requests.get(f"{prometheus_url}/api/v1/query", params=query, timeout=10).json()
            if answer["status"] != "success":
                wrong[rule["name"]] = answer["error"]
    assert wrong == {}


def with_query(old: str, new: str) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        target = next(t for p in panels(document) for t in p["targets"] if old in t["expr"])
        target["expr"] = target["expr"].replace(old, new)

    return change


def _percent_for_ratio(document: Document) -> None:
    storage = next(panel for panel in panels(document) if panel["title"] == "Storage used")
    storage["targets"][0]["expr"] = f"100 * ({storage['targets'][0]['expr']})"


def _legend(document: Document) -> None:
    panel = next(panel for panel in panels(document) if panel["title"] == "CPU of the busiest guests")
    panel["targets"][0]["legendFormat"] = "{{hostname}}"


def _same_legend(document: Document) -> None:
    panel = next(panel for panel in panels(document) if panel["title"] == "CPU of nodes")
    panel["targets"][0]["legendFormat"] = "node"


def _state_without_text(document: Document) -> None:
    for panel in panels(document):
        for override in panel["fieldConfig"]["overrides"]:
            for entry in override["properties"]:
                if entry["id"] == "mappings":
                    entry["value"][0]["options"].pop("running", None)


def _lost_column(document: Document) -> None:
    guests = next(panel for panel in panels(document) if panel["title"] == "Guests")
    organize = next(entry for entry in guests["transformations"] if entry["id"] == "organize")
    organize["options"]["renameByName"]["vmid"] = "Number"


@pytest.mark.parametrize(
    ("change", "objection"),
    [
        pytest.param(with_query("group_left (name, vmid, kind", "group_left (nam, vmid, kind"), "'name'", id="a join"),
        pytest.param(with_query("pve_uptime_seconds", "pve_uptime"), "no data", id="a metric that does not exist"),
        pytest.param(with_query('cluster=~"$cluster"', 'cluster=~"$other"'), "a variable is left", id="a variable"),
        pytest.param(with_query("max by (cluster, id)", "max by cluster, id"), "parse error", id="not PromQL"),
        pytest.param(_percent_for_ratio, "are these percent?", id="percent where a ratio is meant"),
        pytest.param(_legend, "which a series does not have", id="a legend of a label that is not there"),
        pytest.param(_same_legend, "two series are called", id="two lines of one name"),
        pytest.param(_state_without_text, "no text for the values ['running']", id="a state without a text"),
        pytest.param(_lost_column, "a link uses the column 'VMID'", id="a link to a column that was renamed"),
        pytest.param(with_query("status) (pve_guest", "state) (pve_guest"), "'status' is in no", id="a label lost"),
    ],
)
def test_a_dashboard_that_shows_something_else_is_objected_to(
    prometheus_url: str, change: Callable[[Document], None], objection: str
) -> None:
    broken = replace(OVERVIEW, document=copy.deepcopy(OVERVIEW.document))
    change(broken.document)
    findings: list[Finding] = prove(prometheus_url, broken)
    assert objection in "\n".join(map(str, findings))


def test_variables_are_put_in_as_grafana_does() -> None:
    variables: dict[str, Any] = {"cluster": ".*", "action_api": "http://a"}
    assert resolved('x{cluster=~"$cluster|"}[$__rate_interval]', variables) == 'x{cluster=~".*|"}[70s]'
    assert resolved("${action_api:raw}/guests", variables) == "http://a/guests"
