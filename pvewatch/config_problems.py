"""What is wrong with a configuration, in words that name the place and the remedy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import ValidationError


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where it is, what is wrong, what mends it."""

    place: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}. Remedy: {self.remedy}"


class ConfigError(Exception):
    """The configuration cannot be used; `problems` holds every mistake found."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


_REMEDIES = {
    "extra_forbidden": "remove it or correct its spelling; docs/configuration.md lists the settings",
    "missing": "add it; pvewatch.example.yaml shows where",
    "too_short": "give at least one",
}


def problems_of(error: ValidationError, source: str) -> list[Problem]:
    """Turn pydantic's errors into problems; a wrong value is shown only where it cannot be a secret."""
    found = []
    items = error.errors(include_url=False, include_context=False)
    places = [item["loc"] for item in items]
    for item in items:
        if item["type"] == "too_short" and any(p[: len(item["loc"])] == item["loc"] != p for p in places):
            continue  # the list is empty only because its entries were refused, which is said already
        place = f"{source}: {_dotted(item['loc'])}" if item["loc"] else source
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = "is not a setting"
        elif item["type"] == "missing":
            message = "is missing"
        remedy = _REMEDIES.get(item["type"], "correct the value")
        found.append(Problem(place, message, remedy))
    return found


def _dotted(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text
