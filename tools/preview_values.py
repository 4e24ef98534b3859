"""Values as a panel shows them: units, mappings and thresholds, the few that our dashboards use."""

from __future__ import annotations

import math
from typing import Any

COLOURS = {
    "blue": "#1f60c4",
    "orange": "#d9730d",
    "red": "#c4162a",
    "purple": "#7c2ea3",
    "green": "#37872d",
    "text": "#33363b",
}
BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
DECIMAL = {"bps": "b/s", "Bps": "B/s", "reqps": "req/s", "iops": "io/s"}
SPANS = ((31_536_000, "years"), (604_800, "weeks"), (86_400, "days"), (3600, "hours"), (60, "min"))


def written(value: float, unit: str | None, decimals: int | None, now: float) -> str:
    """A number in its unit. `now` is in unix seconds; times since then are in milliseconds, as Grafana has them."""
    if math.isnan(value):
        return "NaN"
    if unit in DECIMAL:
        return _scaled(value, 1000, ("", "k", "M", "G", "T"), 1) + DECIMAL[unit]
    known = {
        "percentunit": lambda: f"{value * 100:.{decimals or 0}f} %",
        "bytes": lambda: _scaled(value, 1024, BINARY, 1 if decimals is None else decimals),
        "dateTimeFromNow": lambda: _distance(now - value / 1000),
        "s": lambda: _span(value, decimals),
    }.get(unit or "")
    if known:
        return known()
    return f"{value:.{decimals}f}" if decimals is not None else f"{value:.4g}"


def _scaled(value: float, base: int, prefixes: tuple[str, ...], decimals: int) -> str:
    step = min(int(math.log(abs(value), base)), len(prefixes) - 1) if abs(value) >= 1 else 0
    return f"{value / base**step:.{decimals}f} {prefixes[step]}"


def _distance(ago: float) -> str:
    return f"{_span(ago, 0)} ago" if ago >= 0 else f"in {_span(-ago, 0)}"


def _span(seconds: float, decimals: int | None) -> str:
    for length, name in SPANS:
        if abs(seconds) >= length:
            return f"{seconds / length:.{max(decimals or 0, 1)}f} {name}"
    if 0 < abs(seconds) < 1:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds:.{decimals or 0}f} s"


def mapped(text: str, mappings: list[dict[str, Any]] | None) -> tuple[str, str] | None:
    """Text and colour of a value that a mapping names."""
    for mapping in mappings or []:
        if mapping["type"] == "value" and text in mapping["options"]:
            result = mapping["options"][text]
            return result["text"], COLOURS[result["color"]]
    return None


def colour_of(value: float, thresholds: dict[str, Any] | None) -> str:
    """The colour of the highest step that the value has reached."""
    found = "text"
    for step in (thresholds or {}).get("steps", []):
        if step["value"] is None or value >= step["value"]:
            found = step["color"]
    return COLOURS[found]


def shown(value: float, field: dict[str, Any], now: float) -> tuple[str, str]:
    """Text and colour of a number in a panel or column that looks like `field`."""
    known = mapped(f"{value:g}", field.get("mappings"))
    if known:
        return known
    return written(value, field.get("unit"), field.get("decimals"), now), colour_of(value, field.get("thresholds"))
