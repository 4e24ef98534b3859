"""Durations as Prometheus and Alertmanager write them (`1h30m`, `90s`, `250ms`)."""

from __future__ import annotations

import re

# https://prometheus.io/docs/prometheus/latest/configuration/configuration/ (the regex of <duration>)
_UNITS_MS = {"y": 31_536_000_000, "w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_DURATION = re.compile(r"^(?=\d)(\d+y)?(\d+w)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?$")


def parse(text: str) -> float:
    """Seconds of a duration such as `1m30s`; `0` is allowed. Raises ValueError with the text."""
    if text == "0":
        return 0.0
    match = _DURATION.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not a duration such as 90s or 1h30m")
    total = 0
    for part in match.groups():
        if part:
            digits = part.rstrip("ywdhms")
            total += int(digits) * _UNITS_MS[part[len(digits) :]]
    return total / 1000


def written(seconds: float) -> str:
    """The usual form, exact to the millisecond: 330.0 is `5m30s`, 0 is `0s`."""
    milliseconds = round(seconds * 1000)
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        count, milliseconds = divmod(milliseconds, _UNITS_MS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def scaled(text: str, factor: float) -> str:
    """`text` times `factor`, unchanged for 1."""
    return text if factor == 1 else written(parse(text) * factor)
