"""Prove on a real Prometheus that every panel of a dashboard shows what it promises.

Variables are resolved as Grafana does, for several choices of cluster; each query is run as it is declared. What the
JSON alone can tell is checked in lint.py.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import requests

from grafana.source.house import Built
from grafana.source.lint import Document, links, panels

SERIES_CAP = 50
RANGE_SECONDS = 6 * 3600
STEP_SECONDS = 60
TIMEOUT_SECONDS = 30
# A ratio may overshoot a little: Proxmox VE reports 1.02 of a guest's CPUs now and then.
RATIO_LIMIT = 1.5

Series = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise that a panel does not keep; `choice` is the chosen cluster (`$__all` for all)."""

    panel: str
    query: str
    choice: str
    message: str

    def __str__(self) -> str:
        return f"{self.panel}, query {self.query}, cluster {self.choice}: {self.message}"


class PrometheusRefused(Exception):
    """Prometheus did not run a query; the message is its own."""


@dataclass(frozen=True, slots=True)
class _Asked:
    url: str
    at: float

    def get(self, path: str, **params: Any) -> Any:
        """The data of one API call. Raises PrometheusRefused with Prometheus' own words."""
        answer = requests.post(f"{self.url}{path}", data=params, timeout=TIMEOUT_SECONDS)
        if answer.status_code != requests.codes.ok:
            raise PrometheusRefused(f"{answer.json().get('error', answer.reason)} (in {params.get('query')})")
        return answer.json()["data"]

    def run(self, expr: str, *, instant: bool) -> list[Series]:
        """The series of a query, at one time or over the range."""
        if instant:
            return list(self.get("/api/v1/query", query=expr, time=self.at)["result"])
        start = self.at - RANGE_SECONDS
        data = self.get("/api/v1/query_range", query=expr, start=start, end=self.at, step=STEP_SECONDS)
        return list(data["result"])

    def label_values(self, metric: str, label: str) -> list[str]:
        """What `label_values(metric, label)` gives in Grafana."""
        params: dict[str, str | float] = {"match[]": metric, "start": self.at - RANGE_SECONDS, "end": self.at}
        answer = requests.get(f"{self.url}/api/v1/label/{label}/values", params=params, timeout=TIMEOUT_SECONDS)
        answer.raise_for_status()
        return sorted(answer.json()["data"])


def prove(prometheus_url: str, dashboard: Built, at: float | None = None) -> list[Finding]:
    """Run every query of `dashboard` for all clusters, for one, and for two; returns what does not hold.

    `at` is the unix time the dashboard is looked at, now by default. Raises requests.RequestException when Prometheus
    cannot be asked. A query that may not be empty must answer for all clusters together.
    """
    asked = _Asked(prometheus_url.rstrip("/"), time.time() if at is None else at)
    findings: list[Finding] = []
    for choice, variables in _choices(asked, dashboard.document):
        for panel in panels(dashboard.document):
            findings += _prove_panel(asked, dashboard, panel, choice, variables)
    return findings


def _choices(asked: _Asked, document: Document) -> Iterator[tuple[str, dict[str, str]]]:
    """Name and values of every choice that is tried: all, the first, the first two."""
    constants = {v["name"]: v["query"] for v in document["templating"]["list"] if v["type"] != "query"}
    chosen: dict[str, list[tuple[str, str]]] = {}
    for variable in (v for v in document["templating"]["list"] if v["type"] == "query"):
        match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"])
        if match is None:
            raise ValueError(f"the variable {variable['name']} is not made by label_values(metric, label)")
        values = asked.label_values(match[1], match[2])
        choices = [("$__all", variable.get("allValue") or _alternation(values))]
        choices += [(values[0], values[0])] if values else []
        choices += [(" and ".join(values[:2]), _alternation(values[:2]))] if len(values) > 1 else []
        chosen[variable["name"]] = choices
    for index in range(max((len(choices) for choices in chosen.values()), default=1)):
        names = {name: choices[min(index, len(choices) - 1)] for name, choices in chosen.items()}
        label = ", ".join(text for text, _ in names.values()) or "none"
        yield label, constants | {name: value for name, (_, value) in names.items()}


def _alternation(values: list[str]) -> str:
    # As Grafana escapes for a PromQL string: two backslashes, one of which the string takes.
    return "(" + "|".join(re.sub(r"[$^*{}\[\]'+?.()|]", r"\\\\\g<0>", value) for value in values) + ")"


def resolved(expr: str, variables: dict[str, str], interval_seconds: int = 10) -> str:
    """`expr` as Grafana sends it: variables, and the intervals for a scrape every `interval_seconds`."""
    values = variables | {
        "__rate_interval": f"{max(STEP_SECONDS + interval_seconds, 4 * interval_seconds)}s",
        "__interval": f"{STEP_SECONDS}s",
        "__range": f"{RANGE_SECONDS}s",
    }
    return re.sub(r"\$\{?(\w+)(?::\w+)?\}?", lambda match: values.get(match[1], match[0]), expr)


def _prove_panel(
    asked: _Asked, dashboard: Built, panel: Document, choice: str, variables: dict[str, str]
) -> list[Finding]:
    findings: list[Finding] = []
    names: list[str] = []
    columns: dict[str, set[str]] = {}
    may_lack = set(dashboard.may_lack.get(panel["id"], ()))
    for target in panel["targets"]:

        def found(message: str, ref: str = target["refId"]) -> None:
            findings.append(Finding(panel["title"], ref, choice, message))

        expr = resolved(target["expr"], variables)
        if "$" in expr:
            found(f"a variable is left in {expr}")
            continue
        try:
            series = asked.run(expr, instant=bool(target.get("instant")))
        except PrometheusRefused as error:
            found(str(error))
            continue
        may_be_empty = dashboard.expectations[(panel["id"], target["refId"])]
        if not series:
            may_lack.add(f"Value #{target['refId']}")
            if may_be_empty is None and choice == "$__all":
                found("no data, and none of the reasons for which it may be empty is declared")
            continue
        columns |= {"Value": set(), f"Value #{target['refId']}": set()}
        for label, value in ((label, value) for entry in series for label, value in entry["metric"].items()):
            columns.setdefault(label, set()).add(value)
        if not target.get("instant") and len(series) > SERIES_CAP:
            found(f"{len(series)} series, more than {SERIES_CAP}")
        for message in _wrong_values(panel, series):
            found(message)
        if target.get("legendFormat"):
            for missing in _missing_labels(target["legendFormat"], series):
                found(f"the legend names {{{{{missing}}}}}, which a series does not have")
            names += [_name(target["legendFormat"], entry["metric"]) for entry in series]
    for name in sorted({name for name in names if names.count(name) > 1}):
        findings.append(Finding(panel["title"], "*", choice, f"two series are called {name!r}"))
    if columns and panel["type"] == "table":
        messages = _wrong_columns(panel, columns, may_lack)
        findings += [Finding(panel["title"], "*", choice, message) for message in messages]
    return findings


def _wrong_values(panel: Document, series: list[Series]) -> Iterator[str]:
    defaults = panel["fieldConfig"]["defaults"]
    values = [float(v) for entry in series for _, v in entry.get("values", [entry.get("value")])]
    if defaults.get("unit") == "percentunit":
        worst = max((value for value in values if not math.isnan(value)), default=0.0)
        if worst > RATIO_LIMIT:
            yield f"a ratio of {worst:g}: are these percent?"
    for mapping in defaults.get("mappings", []):
        if mapping["type"] == "value":
            unknown = sorted({f"{value:g}" for value in values} - set(mapping["options"]))
            if unknown:
                yield f"no text for the values {unknown}"


def _missing_labels(legend: str, series: list[Series]) -> set[str]:
    return {label for label in re.findall(r"{{(\w+)}}", legend) for entry in series if label not in entry["metric"]}


def _name(legend: str, labels: dict[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda match: labels.get(match[1], ""), legend)


def _wrong_columns(panel: Document, columns: dict[str, set[str]], may_lack: set[str]) -> Iterator[str]:
    """What does not fit between a table's columns (source → the values of a label) and their headings."""
    organize = next(t["options"] for t in panel["transformations"] if t["id"] == "organize")
    headings: dict[str, str] = organize["renameByName"]
    for source in headings:
        if source not in columns and source not in may_lack:
            yield f"the column {source!r} is in no answer"
    for unnamed in sorted(set(columns) - set(headings) - set(organize["excludeByName"])):
        if not unnamed.startswith("Value"):
            yield f"the label {unnamed!r} is neither named nor hidden"
    sources = {heading: source for source, heading in headings.items()}
    for link in links(panel):
        for field in re.findall(r'__data\.fields\["([^"]+)"\]', link["url"]):
            if field not in sources:
                yield f"a link uses the column {field!r}, which the table does not have"
    for override in panel["fieldConfig"]["overrides"]:
        heading = override["matcher"]["options"]
        if heading not in sources:
            yield f"an override is for the column {heading!r}, which the table does not have"
            continue
        for entry in override["properties"]:
            texts = entry["value"][0]["options"] if entry["id"] == "mappings" else {}
            if texts and (unknown := sorted(columns.get(sources[heading], set()) - set(texts))):
                yield f"no text for the values {unknown} of {heading}"
