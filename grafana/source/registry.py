"""Every dashboard that ships."""

from __future__ import annotations

from collections.abc import Callable

from grafana.source.board import Built
from grafana.source.overview import overview

DASHBOARDS: tuple[Callable[[], Built], ...] = (overview,)


def dashboards() -> list[Built]:
    """All dashboards, built."""
    return [make() for make in DASHBOARDS]
