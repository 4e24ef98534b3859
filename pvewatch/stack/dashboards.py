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


# What a panel says that always has data while the exporter is there; others say why they may be empty.
NEVER_EMPTY = "no data: is the exporter down?"


class DashboardQueries:
    """Which panels of the dashboards have shown data so far.

    A table of alerts is empty while all is well, so the panels may be asked at several moments.
    """

    def __init__(self, settings: Settings, cluster: str, guest: str) -> None:
        self._settings = settings
        self._chosen = {"cluster": cluster, "guest": guest.partition("/")[2]}
        self._prometheus = Prometheus(settings.prometheus_url)
        self._shown: set[str] = set()

    def ask(self) -> tuple[int, list[str]]:
        """Ask every query, with cluster, guest and the guest's node chosen and all other variables open.

        Returns how many panels there are, and which of those that are never empty have shown nothing yet. Raises
        Unanswered, also for a query that Prometheus does not accept.
        """
        guest = f'pvewatch_guest_info{{cluster="{self._chosen["cluster"]}",vmid="{self._chosen["guest"]}"}}'
        chosen = self._chosen | {"node": next((row.labels["node"] for row in self._prometheus.query(guest)), ".*")}
        panels, silent = 0, []
        for name, dashboard in _dashboards(self._settings):
            for panel in _panels(dashboard):
                panels += 1
                place = f"{name}, {panel.get('title') or panel.get('name')!r}"
                given = [self._gives_data(place, _filled(target["expr"], chosen)) for target in _targets(panel)]
                if any(given):
                    self._shown.add(place)
                elif place not in self._shown and _no_value(panel) == NEVER_EMPTY:
                    silent.append(place)
        return panels, silent

    def _gives_data(self, place: str, expression: str) -> bool:
        try:
            return bool(self._prometheus.query(expression))
        except Unanswered as error:
            raise Unanswered(f"{place}: {expression}: {error}") from error


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


def _panels(node: object) -> Iterator[dict[str, Any]]:
    """Everything with queries, panels and annotations, at any depth."""
    if isinstance(node, dict):
        if _targets(node):
            yield node
        for inner in node.values():
            yield from _panels(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _panels(inner)


def _targets(panel: dict[str, Any]) -> list[dict[str, Any]]:
    own = panel.get("targets") or ([panel] if "name" in panel else [])
    return [target for target in own if isinstance(target.get("expr"), str)]


def _no_value(panel: dict[str, Any]) -> str | None:
    return panel.get("fieldConfig", {}).get("defaults", {}).get("noValue")  # type: ignore[no-any-return]  # a text


def _filled(expression: str, chosen: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        return _BUILT_IN.get(name) or chosen.get(name, ".*")

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
