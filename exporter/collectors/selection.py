"""Which collectors run, and how often: what the configuration says under exporter.collectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from exporter.collectors.definition import Collector
from pvewatch.config import ConfigError, ExporterSettings, Problem

# Everything else hangs on the list of guests and nodes.
INDISPENSABLE = "resources"


def selected(collectors: Sequence[Collector], settings: ExporterSettings) -> tuple[Collector, ...]:
    """Those that are switched on, with the intervals of the configuration.

    Raises ConfigError with every name that is no collector, and every setting that cannot be.
    """
    problems = [*_unknown(collectors, settings), *_indispensable(settings)]
    if problems:
        raise ConfigError(problems)
    return tuple(
        _with_interval(collector, settings)
        for collector in collectors
        if settings.collector(collector.name).enabled is not False
    )


def _with_interval(collector: Collector, settings: ExporterSettings) -> Collector:
    seconds = settings.collector(collector.name).interval_seconds
    if seconds is None or collector.sweeps:
        return collector
    return replace(
        collector,
        interval=_always(seconds),
        # An answer must outlive the next attempt, however seldom that is.
        keep_seconds=_always(max(settings.figures_expire_seconds, 2 * seconds)),
    )


def _always(seconds: float) -> Callable[[ExporterSettings], float]:
    return lambda _settings: seconds


def _unknown(collectors: Sequence[Collector], settings: ExporterSettings) -> list[Problem]:
    names = [collector.name for collector in collectors]
    return [
        Problem(f"exporter.collectors.{name}", "is no collector", f"use one of: {', '.join(sorted(names))}")
        for name in settings.collectors
        if name not in names
    ]


def _indispensable(settings: ExporterSettings) -> list[Problem]:
    place = f"exporter.collectors.{INDISPENSABLE}"
    problems = []
    if settings.collector(INDISPENSABLE).enabled is False:
        problems.append(
            Problem(f"{place}.enabled", "cannot be false: all others look at what it found", "remove the line")
        )
    if settings.collector(INDISPENSABLE).interval_seconds is not None:
        problems.append(
            Problem(
                f"{place}.interval_seconds", "is not set here", "set exporter.poll_interval_seconds, which has bounds"
            )
        )
    return problems
