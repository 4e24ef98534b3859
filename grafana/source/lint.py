"""Rules that every dashboard keeps, checked on the JSON alone.

Each rule is a function that yields what is wrong; EXCEPTIONS names what may be, with the reason. What only an answer of
Prometheus can tell (labels, emptiness, number of series) is proved in prove.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pvewatch.render.links import DEFAULT_PUBLIC_URL

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Problem:
    """One broken rule and where."""

    rule: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message} [{self.rule}]"


@dataclass(frozen=True, slots=True)
class Exemption:
    """A rule that one place may break, and why."""

    rule: str
    where: str
    reason: str


EXCEPTIONS: tuple[Exemption, ...] = (
    Exemption("ratios_end_at_one", "IO wait of nodes", "the interesting values are a few percent of the whole"),
)

GRID_WIDTHS = {24, 12, 8, 6, 4}
VARIABLE_ORDER = ("datasource", "cluster", "node", "guest", "storage", "action_api")
BUILT_IN = re.compile(r"__(rate_interval|interval|range|data|field|value|series|url_time_range|from|to|all)\b")
GRAFANA_UNITS = {"none", "percentunit", "bytes", "bps", "s", "dateTimeFromNow", "reqps", "short"}
MAX_OPEN_PANELS = 25
MAX_OPEN_QUERIES = 40


def panels(document: Document, *, only_open: bool = False) -> Iterator[Document]:
    """Every panel that shows something, also those inside collapsed rows unless `only_open`."""
    for panel in document["panels"]:
        if panel["type"] != "row":
            yield panel
        elif not only_open:
            yield from panel.get("panels", [])


def _titled_uid(document: Document) -> Iterator[tuple[str, str]]:
    if not re.fullmatch(r"pve-[a-z-]+", document.get("uid") or ""):
        yield "dashboard", "the uid is chosen by hand and begins with pve-"
    if not document["title"].startswith("Proxmox VE / "):
        yield "dashboard", "the title begins with 'Proxmox VE / '"
    if "pvewatch" not in document["tags"] or len(document["tags"]) != 2:
        yield "dashboard", "it has the tag pvewatch and one of its topic"


def _variables_in_order(document: Document) -> Iterator[tuple[str, str]]:
    names = [variable["name"] for variable in document["templating"]["list"]]
    if names != [name for name in VARIABLE_ORDER if name in names]:
        yield "variables", f"{names} are not in the order {VARIABLE_ORDER}"
    for variable in document["templating"]["list"]:
        if variable["type"] == "query" and (variable["refresh"] != 2 or variable["sort"] != 1):
            yield f"variable {variable['name']}", "is not read again when the time changes, or not sorted"
        if variable["type"] == "query" and not variable["query"].startswith("label_values("):
            yield f"variable {variable['name']}", "is not made by label_values()"


def _known_variables(document: Document) -> Iterator[tuple[str, str]]:
    names = {variable["name"] for variable in document["templating"]["list"]}
    for panel in panels(document):
        texts = [target["expr"] for target in panel["targets"]] + [link["url"] for link in links(panel)]
        for text in texts:
            for used in re.findall(r"\$\{?([A-Za-z_]\w*)", text):
                if used not in names and not BUILT_IN.match(used):
                    yield panel["title"], f"${used} is not a variable of this dashboard"
            for word in re.findall(r'[=~]"([a-z_]+)\|?"', text):
                if word in names:
                    yield panel["title"], f'"{word}" is a variable without its dollar sign'


def links(panel: Document) -> list[Document]:
    """The data links of a panel's fields."""
    found = list(panel["fieldConfig"]["defaults"].get("links", []))
    for override in panel["fieldConfig"]["overrides"]:
        for entry in override["properties"]:
            if entry["id"] == "links":
                found += entry["value"]
    return found


def _described(document: Document) -> Iterator[tuple[str, str]]:
    for panel in panels(document):
        if not panel.get("title") or re.search(r"[(\[%]", panel["title"]):
            yield panel.get("title") or f"panel {panel['id']}", "needs a title without a unit"
        if len(panel.get("description") or "") < 60:
            yield panel["title"], "the description says what it means, where it comes from and what is normal"


def _units(document: Document) -> Iterator[tuple[str, str]]:
    for panel in panels(document):
        units = [panel["fieldConfig"]["defaults"].get("unit")] if panel["type"] != "table" else []
        for override in panel["fieldConfig"]["overrides"]:
            units += [entry["value"] for entry in override["properties"] if entry["id"] == "unit"]
            if panel["type"] == "table" and "decimals" in {entry["id"] for entry in override["properties"]}:
                units += [] if "unit" in {entry["id"] for entry in override["properties"]} else [None]
        for unit in units:
            if unit not in GRAFANA_UNITS:
                yield panel["title"], f"{unit!r} is not a unit of the list"


def _ratios_end_at_one(document: Document) -> Iterator[tuple[str, str]]:
    for panel in panels(document):
        defaults = panel["fieldConfig"]["defaults"]
        fields = [defaults]
        for override in panel["fieldConfig"]["overrides"]:
            fields.append({entry["id"]: entry.get("value") for entry in override["properties"]})
        for field in fields:
            if field.get("unit") == "percentunit" and (field.get("min"), field.get("max")) != (0, 1):
                yield panel["title"], "a ratio is drawn from 0 to 1"


def _decimals(document: Document) -> Iterator[tuple[str, str]]:
    for panel in panels(document):
        decimals = "decimals" in panel["fieldConfig"]["defaults"]
        if panel["type"] in ("stat", "bargauge") and not decimals:
            yield panel["title"], "says how many decimals it shows"
        if panel["type"] == "timeseries" and decimals:
            yield panel["title"], "an axis chooses its own decimals"


def _mapped_states(document: Document) -> Iterator[tuple[str, str]]:
    for panel in panels(document):
        mappings = [panel["fieldConfig"]["defaults"].get("mappings")]
        for override in panel["fieldConfig"]["overrides"]:
            entries = {entry["id"]: entry.get("value") for entry in override["properties"]}
            if "State" in str(override["matcher"].get("options")) and "mappings" not in entries:
                yield panel["title"], "a state is shown as text with a colour"
            mappings.append(entries.get("mappings"))
        for mapping in filter(None, mappings):
            if not any(entry["type"] == "special" for entry in mapping):
                yield panel["title"], "a value that is missing has no text"
            for entry in mapping:
                if entry["type"] == "value" and not all(v.get("text") for v in entry["options"].values()):
                    yield panel["title"], "a colour stands without a text"


def _gaps_stay(document: Document) -> Iterator[tuple[str, str]]:
    for panel in panels(document):
        if panel["type"] == "timeseries" and panel["fieldConfig"]["defaults"]["custom"].get("spanNulls") is not False:
            yield panel["title"], "joins points over an outage"
        if not panel["fieldConfig"]["defaults"].get("noValue"):
            yield panel["title"], "does not say what it means to have no value"


def _legends(document: Document) -> Iterator[tuple[str, str]]:
    for panel in panels(document):
        if panel["type"] in ("timeseries", "bargauge"):
            for target in panel["targets"]:
                if not target.get("legendFormat") or target["legendFormat"] == "__auto":
                    yield panel["title"], "a series has no readable name"
        if panel["type"] == "timeseries" and panel["options"]["legend"].get("showLegend") is not True:
            yield panel["title"], "has no legend"


def _bounded(document: Document) -> Iterator[tuple[str, str]]:
    for panel in panels(document):
        for target in panel["targets"]:
            per_guest = re.search(r"\(qemu\|lxc\)|pve_node|node/", target["expr"])
            if panel["type"] == "timeseries" and per_guest and "topk(" not in target["expr"]:
                yield panel["title"], "draws one line per guest or node without topk()"


def _windows(document: Document) -> Iterator[tuple[str, str]]:
    for panel in panels(document):
        for target in panel["targets"]:
            for window in re.findall(r"\b(?:rate|irate|increase)\([^\[]*\[([^\]]*)\]", target["expr"]):
                if window != "$__rate_interval":
                    yield panel["title"], f"[{window}] must be [$__rate_interval]"


def _query_kind(document: Document) -> Iterator[tuple[str, str]]:
    for panel in panels(document):
        for target in panel["targets"]:
            instant = panel["type"] != "timeseries"
            if (target.get("instant"), target.get("range")) != (instant, not instant):
                yield panel["title"], f"asks for {'a range' if instant else 'an instant'} where it shows the other"


def _counted_once(document: Document) -> Iterator[tuple[str, str]]:
    for panel in panels(document):
        for target in panel["targets"]:
            if re.search(r"\b(?:sum|count|avg)(?: by \([^)]*\))? ?\(\s*(?:pve|pvewatch)_", target["expr"]):
                yield panel["title"], "counts every series twice where two exporters are scraped"


def _datasource(document: Document) -> Iterator[tuple[str, str]]:
    for panel in panels(document):
        for holder in (panel, *panel["targets"]):
            if (holder.get("datasource") or {}).get("uid") != "${datasource}":
                yield panel["title"], "names a data source instead of ${datasource}"


def _links_out(document: Document) -> Iterator[tuple[str, str]]:
    for panel in panels(document):
        for link in links(panel):
            if not link["url"].startswith(("${action_api:raw}/", "/d/")):
                yield panel["title"], f"{link['url']} leads to neither a dashboard nor the action API"
            if link["url"].startswith("${action_api") and link.get("targetBlank") is not True:
                yield panel["title"], "a page of the action API opens in a tab of its own"
            if re.search(r"fields\[\"[^\"]*\"\](?!:percentencode)", link["url"]):
                yield panel["title"], "a value in a path is not percent-encoded"


def _rows(document: Document) -> Iterator[tuple[str, str]]:
    for panel in document["panels"]:
        if panel["type"] == "row" and bool(panel["collapsed"]) != bool(panel["panels"]):
            yield panel["title"], "a collapsed row holds its panels and an open one holds none"


def _defaults(document: Document) -> Iterator[tuple[str, str]]:
    expected = {"timezone": "browser", "refresh": "1m", "graphTooltip": 1, "schemaVersion": 42, "editable": False}
    for name, value in expected.items():
        if document.get(name) != value:
            yield "dashboard", f"{name} is {document.get(name)!r}, not {value!r}"
    if document["time"] != {"from": "now-6h", "to": "now"}:
        yield "dashboard", "opens on another range than the last six hours"


def _grid(document: Document) -> Iterator[tuple[str, str]]:
    taken: dict[tuple[int, int], str] = {}
    for panel in (entry for entry in document["panels"] if entry["type"] != "row"):
        at = panel["gridPos"]
        if at["w"] not in GRID_WIDTHS or at["x"] + at["w"] > 24:
            yield panel["title"], f"is {at['w']} columns wide at {at['x']}"
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            if cell in taken:
                yield panel["title"], f"lies over {taken[cell]}"
                break
            taken[cell] = panel["title"]
    if len({panel["gridPos"]["h"] for panel in document["panels"] if panel["gridPos"]["y"] == 0}) != 1:
        yield "dashboard", "the panels of the first line differ in height"


def _size(document: Document) -> Iterator[tuple[str, str]]:
    shown = list(panels(document, only_open=True))
    queries = sum(len(panel["targets"]) for panel in shown)
    if len(shown) > MAX_OPEN_PANELS or queries > MAX_OPEN_QUERIES:
        yield "dashboard", f"opens with {len(shown)} panels and {queries} queries"


def _portable(document: Document) -> Iterator[tuple[str, str]]:
    for key in ("id", "__inputs", "__requires", "__elements"):
        if key in document:
            yield "dashboard", f"{key} belongs to one server"
    # The default address of the action API is the one host; rendering replaces it.
    for host in re.findall(r"https?://[^\"/$]+", json.dumps(document)):
        if host != DEFAULT_PUBLIC_URL:
            yield "dashboard", f"{host} is the address of one installation"
    if re.search(r"</?\w+[^>]*>", " ".join(panel.get("description", "") for panel in panels(document))):
        yield "dashboard", "a description holds HTML"


def _ids(document: Document) -> Iterator[tuple[str, str]]:
    ids = [panel["id"] for panel in panels(document)] + [p["id"] for p in document["panels"] if p["type"] == "row"]
    if len(set(ids)) != len(ids) or 0 in ids:
        yield "dashboard", "two panels have the same id, or one has none"
    for panel in panels(document):
        refs = [target.get("refId") for target in panel["targets"]]
        if len(set(refs)) != len(refs) or None in refs:
            yield panel["title"], "two queries have the same refId, or one has none"


RULES: dict[str, Callable[[Document], Iterator[tuple[str, str]]]] = {
    "titled_uid": _titled_uid,
    "variables_in_order": _variables_in_order,
    "known_variables": _known_variables,
    "described": _described,
    "units": _units,
    "ratios_end_at_one": _ratios_end_at_one,
    "decimals": _decimals,
    "mapped_states": _mapped_states,
    "gaps_stay": _gaps_stay,
    "legends": _legends,
    "bounded": _bounded,
    "windows": _windows,
    "query_kind": _query_kind,
    "counted_once": _counted_once,
    "datasource": _datasource,
    "links_out": _links_out,
    "rows": _rows,
    "defaults": _defaults,
    "grid": _grid,
    "size": _size,
    "portable": _portable,
    "ids": _ids,
}


def lint(document: Document, exceptions: tuple[Exemption, ...] = EXCEPTIONS) -> list[Problem]:
    """Every broken rule that no exception covers."""
    allowed = {(entry.rule, entry.where) for entry in exceptions}
    found = [Problem(name, where, message) for name, rule in RULES.items() for where, message in rule(document)]
    return [problem for problem in found if (problem.rule, problem.where) not in allowed]
