"""What a collector is: one function that reads, one table of what it shows.

A collector asks and returns. It does not time, log, retry or catch: the poller does that for all of them alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from exporter.exposition import Metric
from exporter.frozen_figures import FrozenSince
from exporter.snapshot import View
from exporter.stops import StopStore
from pvewatch.config import Cluster, ExporterSettings
from pvewatch.pve.client import PveClient
from pvewatch.pve.errors import PveError


@dataclass(frozen=True, slots=True)
class Request:
    """What a collector is given for one run.

    `view` is what is known so far, `previous` the collector's own last answer that has not expired, `node` the node to
    ask about (empty for a cluster-wide collector), `now` the time in unix seconds, `frozen_since` the memory of
    `trusted` for this cluster, `stopping` whether to leave early.
    """

    client: PveClient
    cluster: Cluster
    settings: ExporterSettings
    view: View
    previous: object | None
    now: float
    stops: StopStore
    frozen_since: FrozenSince
    node: str = ""
    stopping: Callable[[], bool] = lambda: False


class NothingHere(Exception):
    """There is nothing of this kind: a success without samples."""


class Incomplete(Exception):
    """Part of the answer could be read: `value` holds it, `cause` says why not all."""

    def __init__(self, value: object, cause: PveError) -> None:
        super().__init__(str(cause))
        self.value = value
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Collector:
    """One area. `scope` cluster: asked once for the cluster; node: once for each node that is online.

    `interval` gives the seconds between two runs, `keep_seconds` how long an answer counts without a newer one.
    Its API calls and what they need are in pvewatch/pve/privileges.py.
    One that `sweeps` asks guest by guest, a few in each run: the configuration's interval_seconds is then the time
    until a guest is asked again, and the collector sees to it itself.
    """

    name: str
    scope: Literal["cluster", "node"]
    read: Callable[[Request], object]
    metrics: tuple[Metric, ...]
    interval: Callable[[ExporterSettings], float]
    keep_seconds: Callable[[ExporterSettings], float]
    sweeps: bool = False


def every_poll(settings: ExporterSettings) -> float:
    """The interval of what changes all the time: PVE itself renews its figures every 10 s."""
    return settings.poll_interval_seconds


def every_node_interval(settings: ExporterSettings) -> float:
    """The interval of what costs one call for each node, or changes rarely."""
    return settings.node_interval_seconds


def keep_poll(settings: ExporterSettings) -> float:
    """How long an answer of `every_poll` counts."""
    return max(settings.figures_expire_seconds, 2 * settings.poll_interval_seconds)


def keep_node_interval(settings: ExporterSettings) -> float:
    """How long an answer of `every_node_interval` counts."""
    return max(settings.figures_expire_seconds, 2 * settings.node_interval_seconds)


def every(seconds: float) -> Callable[[ExporterSettings], float]:
    """The interval of what changes seldom: so many seconds, but never more often than the nodes are asked."""
    return lambda settings: max(seconds, settings.node_interval_seconds)


def keep(seconds: float) -> Callable[[ExporterSettings], float]:
    """How long an answer of `every(seconds)` counts."""
    return lambda settings: max(settings.figures_expire_seconds, 2 * max(seconds, settings.node_interval_seconds))


def is_not_there(error: PveError) -> bool:
    """Whether this Proxmox VE does not know the call at all (501), as an older or newer one may."""
    return error.status == 501
