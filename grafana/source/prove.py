"""Prove on a real Prometheus that every panel of a dashboard shows what it promises, in each scenario.

Variables are resolved as Grafana does; each query is run as it is declared. What the JSON alone can tell is checked in
lint.py, what an answer has to look like in contract.py.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import requests

from grafana.source.board import Built, Query
from grafana.source.contract import Series, wrong_columns, wrong_names, wrong_series
from grafana.source.panels import Document, panels
from grafana.source.scenarios import FLEET, NOTHING_YET, SCENARIOS, Feature

# Shorter than what Grafana shows: the scenarios have happened within a minute or two.
RANGE_SECONDS = 1800
STEP_SECONDS = 60
TIMEOUT_SECONDS = 30
# Two clusters of the fleet at once: what a variable with several values becomes. It makes no promise.
TWO = "two clusters"
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::\w+)?\})")


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise that a panel does not keep, and in which scenario."""

    panel: str
    query: str
    scenario: str
    message: str

    def __str__(self) -> str:
        return f"{self.panel}, query {self.query}, {self.scenario}: {self.message}"


class PrometheusRefused(Exception):
    """Prometheus did not run a query; the message is its own."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A Prometheus, asked about the half hour before `at` (unix seconds)."""

    url: str
    at: float
    session: requests.Session

    def get(self, path: str, **params: Any) -> Any:
        """The data of one API call. Raises PrometheusRefused with Prometheus' own words."""
        answer = self.session.post(f"{self.url}{path}", data=params, timeout=TIMEOUT_SECONDS)
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
        answer = self.session.get(f"{self.url}/api/v1/label/{label}/values", params=params, timeout=TIMEOUT_SECONDS)
        answer.raise_for_status()
        return sorted(answer.json()["data"])


def prove(prometheus_url: str, dashboard: Built, scenario: str, at: float | None = None) -> list[Finding]:
    """Run every query of `dashboard` in a scenario (or TWO); returns what does not hold.

    `at` is the unix time the dashboard is looked at, now by default. Raises requests.RequestException when Prometheus
    cannot be asked.
    """
    with requests.Session() as session:
        asked = Asked(prometheus_url.rstrip("/"), time.time() if at is None else at, session)
        variables = chosen(asked, dashboard.document, scenario)
        if variables is None:
            return []
        return [
            Finding(panel["title"], query, scenario, message)
            for panel in panels(dashboard.document)
            for query, message in _prove_panel(asked, dashboard, panel, scenario, variables)
        ]


def chosen(asked: Asked, document: Document, scenario: str) -> dict[str, str] | None:
    """The values of all variables in a scenario; None where the dashboard has no such choice.

    The cluster is the scenario's own; of a node, guest or storage it is the first, or all where that can be chosen.
    """
    values: dict[str, str] = {}
    for variable in document["templating"]["list"]:
        name, several = variable["name"], variable.get("multi", False)
        if variable["type"] != "query":
            values[name] = variable["query"]
            continue
        found = _options(asked, variable, values)
        if name != "cluster":
            values[name] = _all(variable, found) if several else (found[0] if found else "")
        elif not several:
            if scenario in (FLEET, TWO):
                return None
            values[name] = "" if scenario == NOTHING_YET else scenario
        elif scenario == TWO:
            values[name] = _alternation(found[:2])
        else:
            values[name] = _all(variable, found) if scenario in (FLEET, NOTHING_YET) else _alternation([scenario])
    return values


def _options(asked: Asked, variable: Document, values: dict[str, str]) -> list[str]:
    query = resolved(variable["query"], values)
    if match := re.fullmatch(r"label_values\((.+), (\w+)\)", query):
        return asked.label_values(match[1], match[2])
    if match := re.fullmatch(r"query_result\((.+)\)", query):
        # Grafana writes every series as one line and takes its value and its text out of it.
        pattern = re.compile(variable["regex"].removeprefix("/").removesuffix("/g").replace("(?<", "(?P<"))
        lines = [",".join(f'{k}="{v}"' for k, v in row["metric"].items()) for row in asked.run(match[1], instant=True)]
        found = [part["value"] for line in lines for part in pattern.finditer(line) if part["value"]]
        return sorted(found)
    raise ValueError(f"the variable {variable['name']} is made by neither label_values nor query_result")


def _all(variable: Document, values: list[str]) -> str:
    return variable.get("allValue") or _alternation(values)


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
    # Only braces hold a format: what follows a bare variable, as in [$__range:1m], is the query's own.
    return _VARIABLE.sub(lambda match: values.get(match[1] or match[2], match[0]), expr)


def _prove_panel(
    asked: Asked, dashboard: Built, panel: Document, scenario: str, variables: dict[str, str]
) -> Iterator[tuple[str, str]]:
    """Query (or *, the panel) → what does not hold."""
    answers: dict[str, list[Series]] = {}
    for target in panel.get("targets", []):
        ref = target["refId"]
        expr = resolved(target["expr"], variables)
        if re.search(r"\$[A-Za-z_{]", expr):
            yield ref, f"a variable is left in {expr}"
            continue
        try:
            series = asked.run(expr, instant=bool(target.get("instant")))
        except PrometheusRefused as error:
            yield ref, str(error)
            continue
        answers[ref] = series
        if scenario in SCENARIOS:
            yield from ((ref, message) for message in _broken(dashboard.promises[(panel["id"], ref)], series, scenario))
        yield from ((ref, message) for message in wrong_series(panel, target, series))
    yield from (("*", message) for message in wrong_names(panel, answers))
    yield from (("*", message) for message in wrong_columns(panel, answers, dashboard.may_lack.get(panel["id"])))


def _broken(query: Query, series: list[Series], scenario: str) -> Iterator[str]:
    missing: list[Feature] = [feature for feature in query.needs if feature not in SCENARIOS[scenario]]
    if not series and not missing and query.may_be_empty is None:
        yield "no data, though everything that it needs is there"
    if series and missing:
        yield f"{len(series)} series, though {missing[0].absent}"
    if scenario in query.values:
        found = [float(entry["value"][1] if "value" in entry else entry["values"][-1][1]) for entry in series]
        if found != [query.values[scenario]]:
            yield f"{found} instead of [{query.values[scenario]}]"
