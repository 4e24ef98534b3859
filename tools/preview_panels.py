"""One panel of a preview as HTML: figures, lines, bars, states over time, tables, help."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from math import isnan
from typing import Any

from preview_values import COLOURS, mapped, shown, written

from grafana.source.contract import series_name

LINES = ("#1f60c4", "#d9730d", "#7c2ea3", "#0f7f8c", "#b5891a", "#9b3b5a", "#5a6b7b", "#3d8f5f", "#c4562a", "#4a4ad0")
LEGEND_ENTRIES = 8
ROW_HEIGHT = 22
STEPS = 60
MANY_COLUMNS = 10
_MARKUP = re.compile(r"[*`#]|\]\([^)]*\)|\[")


@dataclass(frozen=True, slots=True)
class Answered:
    """A panel with the answer to each of its queries (refId → series), the window (unix seconds) and its pixels."""

    panel: dict[str, Any]
    answers: dict[str, list[dict[str, Any]]]
    start: float
    end: float
    width: int
    height: int

    @property
    def look(self) -> dict[str, Any]:
        """How its values look."""
        defaults: dict[str, Any] = self.panel["fieldConfig"]["defaults"]
        return defaults

    def series(self) -> list[tuple[str, list[tuple[float, float]]]]:
        """Name and points of every series, in the order of the queries."""
        legends = {target["refId"]: target.get("legendFormat") or "" for target in self.panel["targets"]}
        return [
            (
                series_name(legends[ref], one["metric"]),
                [(float(t), float(v)) for t, v in one.get("values") or [one["value"]]],
            )
            for ref, series in self.answers.items()
            for one in series
        ]


def drawn(answered: Answered) -> str:
    """The inside of the panel, below its title."""
    kind = answered.panel["type"]
    if kind == "text":
        return f'<div class="help">{escape(_MARKUP.sub("", answered.panel["options"]["content"]))}</div>'
    if not any(answered.answers.values()):
        return f'<div class="none">{escape(answered.look.get("noValue", ""))}</div>'
    return DRAWN[kind](answered)


def _stat(answered: Answered) -> str:
    names_only = answered.panel["options"].get("textMode") == "name"
    several = len(answered.panel["targets"]) > 1
    found = []
    for name, points in answered.series()[:6]:
        text, colour = shown(points[-1][1], answered.look, answered.end)
        label = f"<small>{escape(name)}</small> " if several else ""
        found.append(f'<div style="color:{colour}">{label}{escape(name if names_only else text)}</div>')
    return f'<div class="stat n{min(len(found), 3)}">{"".join(found)}</div>'


def _bars(answered: Answered) -> str:
    rows = []
    top = answered.look.get("max") or max(points[-1][1] for _, points in answered.series()) or 1
    for name, points in answered.series()[: (answered.height - 10) // ROW_HEIGHT]:
        value = points[-1][1]
        text, colour = shown(value, answered.look, answered.end)
        share = max(0.0, min(1.0, value / top)) * 100
        bar = f'<i style="width:{share:.1f}%;background:{colour}"></i>'
        rows.append(f"<tr><td>{escape(name)}</td><td class=rail>{bar}</td><td class=num>{escape(text)}</td></tr>")
    return f'<table class="bars">{"".join(rows)}</table>'


def _lines(answered: Answered) -> str:
    series = answered.series()
    beside = answered.panel["options"]["legend"]["placement"] == "right"
    entries = min(len(series), LEGEND_ENTRIES)
    width = answered.width - (250 if beside else 0) - 10
    height = answered.height - (8 if beside else 8 + 16 * ((entries + 1) // 2))
    values = [value for _, points in series for _, value in points if not isnan(value)]
    low = min([0.0, *values])
    high = answered.look.get("max") or max(values, default=1.0) * 1.1 or 1.0
    left, bottom = 62, height - 8

    def y_of(value: float) -> float:
        return bottom - (value - low) / ((high - low) or 1) * (bottom - 8)

    parts = []
    for share in (0, 0.5, 1):
        value = low + (high - low) * share
        decimals = 1 if high < 0.05 and answered.look.get("unit") == "percentunit" else None
        text = escape(written(value, answered.look.get("unit"), decimals, answered.end))
        parts.append(f"<line class=grid x1={left} x2={width} y1={y_of(value):.0f} y2={y_of(value):.0f} />")
        parts.append(f"<text x={left - 5} y={y_of(value) + 4:.0f} text-anchor=end>{text}</text>")
    for step in (answered.look.get("thresholds") or {}).get("steps", [])[1:]:
        if low <= step["value"] <= high:
            y = f"{y_of(step['value']):.0f}"
            colour = COLOURS[step["color"]]
            parts.append(f'<line x1={left} x2={width} y1={y} y2={y} stroke="{colour}" stroke-dasharray="6 4" />')
    for index, (_, points) in enumerate(series):
        colour = LINES[index % len(LINES)]
        for run in _unbroken(points, answered):
            way = " ".join(
                f"{left + (t - answered.start) / (answered.end - answered.start) * (width - left):.1f},{y_of(v):.1f}"
                for t, v in run
            )
            parts.append(f'<polyline points="{way}" stroke="{colour}" />')
    names = [
        f'<span><b style="background:{LINES[index % len(LINES)]}"></b><u>{escape(name)}</u>'
        + (f"<em>{escape(shown(points[-1][1], answered.look, answered.end)[0])}</em>" if beside else "")
        + "</span>"
        for index, (name, points) in enumerate(series[:LEGEND_ENTRIES])
    ]
    if len(series) > LEGEND_ENTRIES:
        names.append(f"<span>and {len(series) - LEGEND_ENTRIES} more</span>")
    side = "beside" if beside else "below"
    return (
        f'<div class="{side}"><svg width={width} height={height}>{"".join(parts)}</svg>'
        f'<div class="legend">{"".join(names)}</div></div>'
    )


def _unbroken(points: list[tuple[float, float]], answered: Answered) -> list[list[tuple[float, float]]]:
    """The points without those that are no number, parted where one is missing: a gap stays a gap."""
    step = (answered.end - answered.start) / STEPS
    runs: list[list[tuple[float, float]]] = []
    for moment, value in points:
        if isnan(value):
            continue
        if not runs or moment - runs[-1][-1][0] > 1.5 * step:
            runs.append([])
        runs[-1].append((moment, value))
    return runs


def _states(answered: Answered) -> str:
    left, width = 250, answered.width - 20
    step = (answered.end - answered.start) / STEPS
    series = answered.series()
    # All of them, as in Grafana: many are drawn thinner.
    high = min(ROW_HEIGHT, (answered.height - 10) / len(series))
    parts = []
    for row, (name, points) in enumerate(series):
        y = row * high + 4
        text = f'y="{y + high * 0.6:.1f}" style="font-size:{min(11, high - 2):.0f}px"'
        parts.append(f"<text x=4 {text}>{escape(name[:40])}</text>")
        for moment, value in points:
            x = left + (moment - answered.start) / (answered.end - answered.start) * (width - left)
            wide = step / (answered.end - answered.start) * (width - left) + 0.5
            known = mapped(f"{value:g}", answered.look.get("mappings"))
            fill = known[1] if known else COLOURS["text"]
            parts.append(f'<rect x={x:.1f} y={y:.1f} width={wide:.1f} height={high * 0.8:.1f} fill="{fill}" />')
        known = mapped(f"{points[-1][1]:g}", answered.look.get("mappings"))
        if known:
            parts.append(f"<text x={width - 4} {text} class=inside text-anchor=end>{escape(known[0])}</text>")
    return f"<svg width={width} height={answered.height}>{''.join(parts)}</svg>"


def _table(answered: Answered) -> str:
    organize = next(one["options"] for one in answered.panel["transformations"] if one["id"] == "organize")
    looks = {
        one["matcher"]["options"]: {entry["id"]: entry.get("value") for entry in one["properties"]}
        for one in answered.panel["fieldConfig"]["overrides"]
    }
    rows = merged(answered.answers, several=len(answered.panel["targets"]) > 1)
    order = organize["indexByName"]
    sources = [one for one in sorted(order, key=lambda name: order[name]) if any(one in row for row in rows)]
    headings = [organize["renameByName"][source] for source in sources]
    for sort in answered.panel["options"].get("sortBy", []):
        source = {heading: one for one, heading in zip(sources, headings, strict=True)}.get(sort["displayName"])
        if source:
            rows.sort(key=lambda row: _sorting(row.get(source)), reverse=sort["desc"])
    fit = (answered.height - 52) // ROW_HEIGHT
    body = "".join(
        "<tr>"
        + "".join(
            _cell(row.get(source), looks.get(heading, {}), answered)
            for source, heading in zip(sources, headings, strict=True)
        )
        + "</tr>"
        for row in rows[:fit]
    )
    more = f"<tr><td class=more>and {len(rows) - fit} more</td></tr>" if len(rows) > fit else ""
    numeric = {source for source in sources if any(isinstance(row.get(source), float) for row in rows)}
    head = "".join(
        f'<th class="{_kind(source in numeric, looks.get(heading, {}))}">{escape(heading)}</th>'
        for source, heading in zip(sources, headings, strict=True)
    )
    tight = " tight" if len(sources) > MANY_COLUMNS else ""
    return f'<table class="rows{tight}"><tr>{head}</tr>{body}{more}</table>'


def _kind(number: bool, look: dict[str, Any]) -> str:
    bar = (look.get("custom.cellOptions") or {}).get("type") == "gauge"
    return "num" if number and not bar and not look.get("mappings") else ""


def _sorting(value: object) -> tuple[int, float, str]:
    return (1, value, "") if isinstance(value, float) else (0, 0.0, str(value or ""))


def _cell(value: object, look: dict[str, Any], answered: Answered) -> str:
    if value is None:
        return "<td>" + escape("" if not look.get("mappings") else look["mappings"][-1]["options"]["result"]["text"])
    if isinstance(value, float):
        text, colour = shown(value, look, answered.end)
        kind = _kind(True, look)
    else:
        text, colour = mapped(str(value), look.get("mappings")) or (str(value), COLOURS["text"])
        kind = "link" if look.get("links") else ""
    style = look.get("custom.cellOptions") or {}
    if style.get("type") == "gauge" and isinstance(value, float):
        share = max(0.0, min(1.0, value / (look.get("max") or 1))) * 100
        fill = colour if look.get("thresholds") else COLOURS["blue"]
        return f'<td class=gauge><i style="width:{share * 0.6:.0f}%;background:{fill}"></i> {escape(text)}</td>'
    colour = colour if style else COLOURS["text"]
    return f'<td class="{kind}" style="color:{colour}">{escape(text)}</td>'


def merged(answers: dict[str, list[dict[str, Any]]], *, several: bool) -> list[dict[str, Any]]:
    """The rows of all queries, merged as Grafana's transformation does: on the labels that two rows share."""
    rows: list[dict[str, Any]] = []
    for ref, series in answers.items():
        column = f"Value #{ref}" if several else "Value"
        for one in series:
            labels = one["metric"]
            fits = [
                row
                for row in rows
                if column not in row
                and any(name in row for name in labels)
                and all(row[name] == value for name, value in labels.items() if name in row)
            ]
            for row in fits:
                row.update(labels | {column: float(one["value"][1])})
            if not fits:
                rows.append(dict(labels) | {column: float(one["value"][1])})
    return rows


DRAWN: dict[str, Callable[[Answered], str]] = {
    "stat": _stat,
    "bargauge": _bars,
    "timeseries": _lines,
    "state-timeline": _states,
    "table": _table,
}
