"""The shipped dashboards as the running stack sees them: every query is asked of Prometheus, every link is filled in.

Grafana itself is in no package that can be fetched, so its part, filling in variables, is done here for the few forms
that the dashboards use.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from pvewatch.config import Settings
from pvewatch.stack.observe import Prometheus, Unanswered

_VARIABLE = re.compile(r"\$\{(\w+)(?::\w+)?\}|\$(\w+)")
# ${__data.fields.vmid} and ${__data.fields["VMID"]} of a table row, ${__field.labels.vmid} of a series.
_OF_THE_ROW = re.compile(r"\$\{__(?:data\.fields|field\.labels)(?:\.(\w+)|\[\"?(\w+)\"?\])(?::\w+)?\}")
_BUILT_IN = {
    "__rate_interval": "1m",
    "__interval": "15s",
    "__range": "1h",
    "__range_s": "3600",
    "__interval_ms": "15000",
}


class DashboardQueries:
    """Which queries of the dashboards have returned data so far.

    A table of alerts is empty while all is well, so the queries may be asked at several moments: each has to return
    something at one of them.
    """

    def __init__(self, settings: Settings, cluster: str) -> None:
        self._settings = settings
        self._cluster = cluster
        self._prometheus = Prometheus(settings.prometheus_url)
        self._answered: set[str] = set()

    def ask(self) -> tuple[int, list[str]]:
        """Ask what has not returned data yet, with `cluster` chosen and all other variables open.

        Returns how many queries there are and which still gave nothing. Raises Unanswered.
        """
        asked = 0
        silent = []
        for name, dashboard in _dashboards(self._settings):
            for owner, expression in _queries(dashboard):
                asked += 1
                place = f"{name}, {owner!r}: {expression}"
                if place not in self._answered:
                    if self._gives_data(place, expression):
                        self._answered.add(place)
                    else:
                        silent.append(place)
        return asked, silent

    def _gives_data(self, place: str, expression: str) -> bool:
        try:
            return bool(self._prometheus.query(_filled(expression, self._cluster)))
        except Unanswered as error:
            raise Unanswered(f"{place}: {error}") from error


def action_link(settings: Settings, guest: Mapping[str, str]) -> str:
    """The link of a dashboard to the page that resets a guest, filled in as Grafana does with the guest's labels.

    Raises Unanswered when no dashboard has one.
    """
    for _, dashboard in _dashboards(settings):
        constants = {
            variable["name"]: variable["query"]
            for variable in dashboard.get("templating", {}).get("list", [])
            if variable["type"] in {"constant", "textbox"}
        }
        for url in _texts(dashboard, "url"):
            if url.endswith("/act/reset"):
                return _link(url, constants, guest)
    raise Unanswered("no dashboard has a link to the action page of a guest")


def _link(url: str, constants: Mapping[str, str], guest: Mapping[str, str]) -> str:
    """A link's address as Grafana makes it: values of the row first, then the dashboard's constants."""

    def of_the_row(found: re.Match[str]) -> str:
        # Columns are headed Cluster, Kind, VMID; the labels behind them are lower case.
        return quote(guest[(found[1] or found[2]).lower()], safe="")

    return _VARIABLE.sub(lambda found: constants.get(found[1] or found[2], found[0]), _OF_THE_ROW.sub(of_the_row, url))


def _dashboards(settings: Settings) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted((settings.data_dir / "rendered" / "grafana" / "dashboards").glob("*.json")):
        yield path.name, json.loads(path.read_text(encoding="utf-8"))


def _queries(node: object, owner: str = "?") -> Iterator[tuple[str, str]]:
    """Title and expression of each query of panels, rows and annotations, at any depth."""
    if isinstance(node, dict):
        owner = str(node.get("title") or node.get("name") or owner)
        if isinstance(node.get("expr"), str):
            yield owner, node["expr"]
        for inner in node.values():
            yield from _queries(inner, owner)
    elif isinstance(node, list):
        for inner in node:
            yield from _queries(inner, owner)


def _filled(expression: str, cluster: str) -> str:
    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        return _BUILT_IN.get(name) or (cluster if name == "cluster" else ".*")

    return _VARIABLE.sub(value, expression)


def _texts(node: object, key: str) -> Iterator[str]:
    """Every string that stands under `key`, at any depth."""
    if isinstance(node, dict):
        for name, inner in node.items():
            if name == key and isinstance(inner, str):
                yield inner
            yield from _texts(inner, key)
    elif isinstance(node, list):
        for inner in node:
            yield from _texts(inner, key)
