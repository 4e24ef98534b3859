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
# ${__data.fields.vmid} and ${__data.fields["vmid"]} of a table row, ${__field.labels.vmid} of a series.
_OF_THE_ROW = re.compile(r"\$\{__(?:data\.fields|field\.labels)(?:\.(\w+)|\[\"?(\w+)\"?\])(?::\w+)?\}")
_BUILT_IN = {
    "__rate_interval": "1m",
    "__interval": "15s",
    "__range": "1h",
    "__range_s": "3600",
    "__interval_ms": "15000",
}


def queries_without_data(settings: Settings, cluster: str) -> tuple[int, list[str]]:
    """Ask every query of every dashboard; returns how many there are and those that give nothing.

    Variables are set to `cluster` and, all others, to everything. Raises Unanswered.
    """
    prometheus = Prometheus(settings.prometheus_url)
    asked, empty = 0, []
    for name, dashboard in _dashboards(settings):
        for panel, expression in _queries(dashboard):
            asked += 1
            try:
                answer = prometheus.query(_filled(expression, cluster))
            except Unanswered as error:
                raise Unanswered(f"{name}, panel {panel!r}: {error}") from error
            if not answer:
                empty.append(f"{name}, panel {panel!r}")
    return asked, empty


def action_link(settings: Settings, guest: Mapping[str, str]) -> str:
    """The link of a dashboard to the page that resets a guest, filled in as Grafana does with the guest's labels.

    Raises Unanswered when no dashboard has one.
    """
    for _, dashboard in _dashboards(settings):
        for url in _texts(dashboard, "url"):
            if "/act/" in url and "/act/reset" in url:
                return _OF_THE_ROW.sub(lambda found: quote(guest[found[1] or found[2]], safe=""), url)
    raise Unanswered("no dashboard has a link to an action page")


def _dashboards(settings: Settings) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted((settings.data_dir / "rendered" / "grafana" / "dashboards").glob("*.json")):
        yield path.name, json.loads(path.read_text(encoding="utf-8"))


def _queries(dashboard: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Title and expression of each query; panels in a collapsed row are inside the row."""
    for panel in dashboard.get("panels", []):
        yield from _queries(panel)
        for target in panel.get("targets", []):
            if target.get("expr"):
                yield panel.get("title", "?"), target["expr"]


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
