"""What an answer of Prometheus has to look like for a panel to show it as meant: labels, names, columns, values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from grafana.source.panels import Document, links

SERIES_CAP = 50
# A ratio may overshoot a little: Proxmox VE reports 1.02 of a guest's CPUs now and then.
RATIO_LIMIT = 1.5
# The age of what was read during the scrape itself: the exporter's clock is a moment ahead of the sample's.
SKEW = 1.0

Series = dict[str, Any]


def wrong_series(panel: Document, target: Document, series: list[Series]) -> Iterator[str]:
    """What is wrong with the answer to one query."""
    if not target.get("instant") and len(series) > SERIES_CAP:
        yield f"{len(series)} series, more than {SERIES_CAP}"
    yield from _wrong_values(panel, series)
    for missing in sorted(_missing_labels(target.get("legendFormat", ""), series)):
        yield f"the legend names {{{{{missing}}}}}, which a series does not have"
    for link in links(panel):
        for name in re.findall(r"__field\.labels\.(\w+)", link["url"]):
            if any(name not in entry["metric"] for entry in series):
                yield f"a link uses the label {name!r}, which a series does not have"


def _wrong_values(panel: Document, series: list[Series]) -> Iterator[str]:
    defaults = panel["fieldConfig"]["defaults"]
    values = [float(v) for entry in series for _, v in entry.get("values", [entry.get("value")])]
    numbers = [value for value in values if not math.isnan(value)]
    if defaults.get("unit") == "percentunit" and max(numbers, default=0.0) > RATIO_LIMIT:
        yield f"a ratio of {max(numbers):g}: are these percent?"
    if defaults.get("min") == 0 and min(numbers, default=0.0) < -SKEW:
        yield f"{min(numbers):g} lies below the axis, which begins at 0"
    for mapping in defaults.get("mappings", []):
        if mapping["type"] == "value":
            unknown = sorted({f"{value:g}" for value in numbers} - set(mapping["options"]))
            if unknown:
                yield f"no text for the values {unknown}"


def _missing_labels(legend: str, series: list[Series]) -> set[str]:
    return {label for label in re.findall(r"{{(\w+)}}", legend) for entry in series if label not in entry["metric"]}


def series_name(legend: str, labels: Mapping[str, str]) -> str:
    """What a legend calls a series with these labels."""
    return re.sub(r"{{(\w+)}}", lambda match: labels.get(match[1], ""), legend)


def wrong_names(panel: Document, answers: Mapping[str, list[Series]]) -> Iterator[str]:
    """Two lines or figures that a reader cannot tell apart."""
    legends = {target["refId"]: target.get("legendFormat", "") for target in panel.get("targets", [])}
    names = [series_name(legends[ref], entry["metric"]) for ref, series in answers.items() for entry in series]
    if panel["type"] != "table" and len(names) > 1:
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"two series are called {name!r}"


def wrong_columns(
    panel: Document, answers: Mapping[str, list[Series]], may_lack: frozenset[str] | None
) -> Iterator[str]:
    """What does not fit between a table's columns and their headings. A column whose query is empty may be absent."""
    if panel["type"] != "table" or not any(answers.values()):
        return
    columns: dict[str, set[str]] = {}
    lacking = set(may_lack or ())
    for ref, series in answers.items():
        if not series:
            lacking.add(f"Value #{ref}")
            continue
        columns.setdefault("Value", set())
        columns[f"Value #{ref}"] = set()
        for entry in series:
            for label, value in entry["metric"].items():
                columns.setdefault(label, set()).add(value)
            number = f"{float(entry['value'][1]):g}"
            columns["Value"].add(number)
            columns[f"Value #{ref}"].add(number)
    yield from _wrong_headings(panel, columns, lacking)


def _wrong_headings(panel: Document, columns: dict[str, set[str]], lacking: set[str]) -> Iterator[str]:
    organize = next(t["options"] for t in panel["transformations"] if t["id"] == "organize")
    headings: dict[str, str] = organize["renameByName"]
    for source in headings:
        if source not in columns and source not in lacking:
            yield f"the column {source!r} is in no answer"
    # One query alone gives `Value`, several give `Value #A` and so on.
    several = len(panel["targets"]) > 1
    for unnamed in sorted(set(columns) - set(headings) - set(organize["excludeByName"])):
        if unnamed != ("Value" if several else "Value #A"):
            yield f"the column {unnamed!r} is neither named nor hidden"
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
