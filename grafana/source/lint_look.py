"""Rules about what is seen: words, units, axes, colours, thresholds, gaps, legends."""

from __future__ import annotations

import re
from collections.abc import Iterator

from grafana.source import limits
from grafana.source.house import GAP_MILLISECONDS, UNITS
from grafana.source.panels import Document, fields, panels, queries, shown

# Right units of Grafana that are wrong here: prefixes of 1000 for what is counted in 1024s, percent for what is a
# ratio, milliseconds for what Prometheus has in seconds.
WRONG_UNITS = {"decbytes", "decbits", "deckbytes", "percent", "ms", "kbytes", "mbytes"}
COLOURS = {limits.WELL, limits.LOOK, limits.ACT, "text", "purple", "green"}
# Words that are written with a capital also inside a title.
NAMES = {"Proxmox", "Ceph", "QDevice", "Prometheus", "Alertmanager", "Linux", "Windows", "VMs", "VMIDs", "NICs", "IOs"}
_METRIC = re.compile(r"\b((?:pve|pvewatch|probe|process|prometheus|alertmanager)_\w+|ALERTS|up)\b")
_SHORTEST_DESCRIPTION = 60
_LONGEST_HELP = 800


def described(document: Document) -> Iterator[tuple[str, str]]:
    """Title without unit, in sentence case; a description that names the metric."""
    for panel in panels(document):
        title, description = panel.get("title") or f"panel {panel['id']}", panel.get("description") or ""
        if not panel.get("title") or re.search(r"[\[%]|\((?!1 min)", title):
            yield title, "needs a title without a unit"
        for word in re.findall(r"[A-Za-z]+", title)[1:]:
            if word[0].isupper() and not word.isupper() and word not in NAMES:
                yield title, f"{word!r} has a capital: titles are written as sentences"
        if len(description) < _SHORTEST_DESCRIPTION:
            yield title, "the description says what it means, where it comes from and what is normal"
        metrics = {metric for target in panel.get("targets", []) for metric in _METRIC.findall(target["expr"])}
        if metrics and not any(metric in description for metric in metrics):
            yield title, f"the description does not name its metric ({', '.join(sorted(metrics)[:3])})"
        if re.search(r"</?\w+[^>]*>", description):
            yield title, "the description holds HTML"


def help_is_short(document: Document) -> Iterator[tuple[str, str]]:
    """Text panels are short help in Markdown."""
    for panel in panels(document):
        if panel["type"] == "text":
            content = panel["options"].get("content", "")
            if panel["options"].get("mode") != "markdown" or re.search(r"</?\w+[^>]*>", content):
                yield panel["title"], "is not plain Markdown"
            if len(content) > _LONGEST_HELP:
                yield panel["title"], f"is longer than {_LONGEST_HELP} characters"


def units(document: Document) -> Iterator[tuple[str, str]]:
    """Every number has a unit of Grafana's own list, and one that fits how the metric counts."""
    for panel in shown(document):
        defaults, *overrides = fields(panel)
        found = [] if panel["type"] == "table" else [defaults.get("unit")]
        found += [field["unit"] for field in overrides if "unit" in field]
        found += [None for field in overrides if "decimals" in field and "unit" not in field]
        for unit in found:
            if unit not in UNITS:
                yield panel["title"], f"{unit!r} is not a unit of Grafana's list"
            elif unit in WRONG_UNITS:
                yield panel["title"], f"{unit} is not how these metrics count"


def axes(document: Document) -> Iterator[tuple[str, str]]:
    """Figures begin at 0, and rates find their own upper end."""
    for panel, target in queries(document):
        defaults = panel["fieldConfig"]["defaults"]
        if panel["type"] in ("timeseries", "bargauge") and defaults.get("min") != 0:
            yield panel["title"], "does not begin at 0"
        if "max" in defaults and re.search(r"\b(?:i?rate|increase)\(", target["expr"]):
            yield panel["title"], "a rate has no upper end that is known"


def ratios_end_at_one(document: Document) -> Iterator[tuple[str, str]]:
    """A ratio is drawn from 0 to 1."""
    for panel in shown(document):
        for field in fields(panel):
            if field.get("unit") == "percentunit" and (field.get("min"), field.get("max")) != (0, 1):
                yield panel["title"], "a ratio is drawn from 0 to 1"


def decimals(document: Document) -> Iterator[tuple[str, str]]:
    """Figures say how exact they are, axes do not."""
    for panel in shown(document):
        said = "decimals" in panel["fieldConfig"]["defaults"]
        if panel["type"] in ("stat", "bargauge") and not said:
            yield panel["title"], "says how many decimals it shows"
        if panel["type"] == "timeseries" and said:
            yield panel["title"], "an axis chooses its own decimals"
        for field in fields(panel)[1:]:
            if field.get("unit") in ("percentunit", "s", "none", "bytes") and "decimals" not in field:
                yield panel["title"], f"the column {field['of']} says how many decimals it shows"


def mapped_states(document: Document) -> Iterator[tuple[str, str]]:
    """A state is a text with a colour, also where there is none."""
    for panel in shown(document):
        defaults, *overrides = fields(panel)
        if panel["type"] == "state-timeline" and not defaults.get("mappings"):
            yield panel["title"], "a state is shown as text with a colour"
        for field in overrides:
            if re.search(r"\bState\b|\bstate$", field["of"]) and "mappings" not in field:
                yield panel["title"], "a state is shown as text with a colour"
        for field in (defaults, *overrides):
            mapping = field.get("mappings") or []
            if mapping and not any(entry["type"] == "special" for entry in mapping):
                yield panel["title"], "a value that is missing has no text"
            for entry in mapping:
                if entry["type"] == "value" and not all(v.get("text") for v in entry["options"].values()):
                    yield panel["title"], "a colour stands without a text"


def thresholds_from_the_table(document: Document) -> Iterator[tuple[str, str]]:
    """Numbers at which something turns orange or red are those of limits.py, which the alert rules share."""
    table = {tuple(value) for value in vars(limits).values() if isinstance(value, tuple)}
    for panel in shown(document):
        for field in fields(panel):
            steps = (field.get("thresholds") or {}).get("steps", [])
            drawn = tuple((step.get("value"), step["color"]) for step in steps)
            if len(drawn) > 1 and drawn not in table:
                yield panel["title"], f"the thresholds {drawn} are not in limits.py"


def busy_is_no_fault(document: Document) -> Iterator[tuple[str, str]]:
    """A busy guest is at work: its CPU never turns red."""
    for panel, target in queries(document):
        steps = (panel["fieldConfig"]["defaults"].get("thresholds") or {}).get("steps", [])
        if len(steps) > 1 and re.search(r"pve_cpu_usage_ratio\{[^}]*(?:qemu|lxc)", target["expr"]):
            yield panel["title"], "draws a guest's CPU with thresholds"


def colours(document: Document) -> Iterator[tuple[str, str]]:
    """Nothing is told by red against green, and the same thing has the same colour everywhere."""
    for panel in shown(document):
        for field in fields(panel):
            used = {step["color"] for step in (field.get("thresholds") or {}).get("steps", [])}
            for entry in field.get("mappings") or []:
                if entry["type"] == "value":
                    used |= {result.get("color") for result in entry["options"].values()}
            if {"red", "green"} <= used:
                yield panel["title"], "tells things apart by red and green"
            if unknown := used - COLOURS - {None}:
                yield panel["title"], f"uses colours of its own: {sorted(unknown)}"
        mode = (panel["fieldConfig"]["defaults"].get("color") or {}).get("mode")
        wanted = "palette-classic-by-name" if panel["type"] == "timeseries" else "thresholds"
        if mode not in (wanted, "continuous-blues"):
            yield panel["title"], f"colours by {mode}, not by {wanted}"


def gaps_stay(document: Document) -> Iterator[tuple[str, str]]:
    """An outage is a gap, and nothing is a text that says why."""
    for panel in shown(document):
        custom = panel["fieldConfig"]["defaults"].get("custom") or {}
        allowed = {"timeseries": (False,), "state-timeline": (False, GAP_MILLISECONDS)}.get(panel["type"])
        if allowed and custom.get("spanNulls") not in allowed:
            yield panel["title"], "joins points over an outage"
        if not panel["fieldConfig"]["defaults"].get("noValue"):
            yield panel["title"], "does not say what it means to have no value"


def legends(document: Document) -> Iterator[tuple[str, str]]:
    """Every series has a readable name; many lines have a table with the last and the highest value."""
    for panel, target in queries(document):
        named = target.get("legendFormat") not in (None, "", "__auto")
        if panel["type"] in ("timeseries", "bargauge", "state-timeline") and not named:
            yield panel["title"], "a series has no readable name"
        if panel["type"] == "timeseries":
            legend = panel["options"]["legend"]
            if legend.get("showLegend") is not True:
                yield panel["title"], "has no legend"
            ranked = re.match(r"topk\((?:[6-9]|\d\d)", target["expr"])
            if ranked and (legend["displayMode"], legend.get("calcs")) != ("table", ["lastNotNull", "max"]):
                yield panel["title"], "many lines need a table as their legend, with the last and highest value"
