"""One cluster's newest answers, each with its age and, when the newest attempt failed, with the reason.

A failure does not erase the last good answer: that stays until it is too old to be true (`keep_seconds`), and then is
gone. Whoever reads gets a `View`, an immutable picture of what is still worth believing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TypeVar, cast

from pvewatch.pve.models import ClusterStatus, GuestConfig, NodeDetail, Resources, Version

Key = tuple[str, str]
"""Collector and node; the node is empty for a collector that asks about the whole cluster."""

EVERYTHING = "*"
"""Stands for all collectors where changes are counted."""

_Kind = TypeVar("_Kind")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the newest attempt failed: an error class for a label, and words for people."""

    error_class: str
    message: str


@dataclass(frozen=True, slots=True)
class Reading:
    """The outcome of one collector, on one node or cluster-wide. Times are unix seconds.

    `value` is None before the first success, when there is nothing to report, and once it has expired.
    `succeeded_at` is the time of the last full success; it outlives the value.
    """

    value: object | None = None
    taken_at: float | None = None
    attempted_at: float = 0.0
    succeeded_at: float | None = None
    duration_seconds: float = 0.0
    keep_seconds: float = 120.0
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class ConfigReading:
    """A guest's configuration, when it was read (unix seconds), and how long the guest had then been running."""

    config: GuestConfig
    read_at: float
    uptime_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class GuestConfigs:
    """What the config collector knows of one node's guests, by id such as `qemu/100`.

    `refused` says when one could not be read the last time (unix seconds).
    """

    by_id: Mapping[str, ConfigReading]
    refused: Mapping[str, float] = field(default_factory=dict)


class MergedConfigs:
    """All nodes' configurations in one mapping, put together when somebody first asks for it.

    Every configuration that is read makes a new view, and hardly anybody looks at all of them in it.
    """

    def __init__(self, answers: Sequence[GuestConfigs] = ()) -> None:
        self._answers = answers
        self._by_id: Mapping[str, ConfigReading] | None = None

    def by_id(self) -> Mapping[str, ConfigReading]:
        """By id such as `qemu/100`; of two nodes that both know a guest the later one counts."""
        if self._by_id is None:
            merged: dict[str, ConfigReading] = {}
            for answer in self._answers:
                merged.update(answer.by_id)
            self._by_id = MappingProxyType(merged)
        return self._by_id


@dataclass(frozen=True, slots=True)
class TaskReport:
    """What the tasks say. Times are unix seconds.

    `person_stops`: VMID → when a person's task stopped it, for guests not started since. `boots`: VMID → when a task
    last started, restarted or reset it. `totals`: (type, result) → how many have ended, and when the newest did.
    `running`: type → how many run now.
    """

    person_stops: Mapping[int, float]
    boots: Mapping[int, float]
    totals: Mapping[tuple[str, str], tuple[int, float | None]]
    running: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class View:
    """What is known and recent enough of one cluster; None or empty means not known."""

    cluster: str
    readings: Mapping[Key, Reading] = field(default_factory=dict)
    resources: Resources | None = None
    status: ClusterStatus | None = None
    version: Version | None = None
    node_details: tuple[NodeDetail, ...] = ()
    merged_configs: MergedConfigs = field(default_factory=MergedConfigs)
    person_stops: Mapping[int, float] | None = None
    boots: Mapping[int, float] = field(default_factory=dict)
    _computed: dict[Callable[[View], object], object] = field(default_factory=dict, repr=False, compare=False)

    @property
    def configs(self) -> Mapping[str, ConfigReading]:
        """The guests' configurations by id such as `qemu/100`."""
        return self.merged_configs.by_id()

    def answers(self, collector: str, kind: type[_Kind]) -> list[_Kind]:
        """What that collector has answered and is still worth believing, one for each node, in the nodes' order.

        A cluster-wide collector gives one or none. An answer of another type is as good as none.
        """
        return _values(self.readings, collector, kind)

    def once(self, compute: Callable[[View], _Kind]) -> _Kind:
        """What `compute` makes of this view, made only once: for what many families come out of."""
        if compute not in self._computed:
            self._computed[compute] = compute(self)
        return cast("_Kind", self._computed[compute])


class Snapshot:
    """The readings of one cluster. Any thread may record; `view` gives a picture that does not change."""

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster
        self._lock = threading.Lock()
        self._readings: dict[Key, Reading] = {}
        self._generations: dict[str, int] = {}
        self._configs = (0, MergedConfigs())
        self._view: tuple[int, View] | None = None

    def record_success(
        self, key: Key, value: object | None, *, at: float, duration: float, keep_seconds: float
    ) -> None:
        """Store an answer. None means that there is nothing to report, which is not a failure."""
        self._put(key, Reading(value, at, at, at, duration, keep_seconds))

    def record_partial(
        self, key: Key, value: object, failure: Failure, *, at: float, duration: float, keep_seconds: float
    ) -> None:
        """Store an answer that is true as far as it goes, and why it does not go further: not a success."""
        before = self.reading(key)
        succeeded_at = before.succeeded_at if before else None
        self._put(key, Reading(value, at, at, succeeded_at, duration, keep_seconds, failure))

    def record_failure(self, key: Key, failure: Failure, *, at: float, duration: float, keep_seconds: float) -> None:
        """Store why there is no new answer; the last good one stays until it expires."""
        before = self.reading(key) or Reading(keep_seconds=keep_seconds)
        self._put(key, replace(before, attempted_at=at, duration_seconds=duration, failure=failure))

    def forget_nodes(self, present: frozenset[str]) -> None:
        """Drop the readings of nodes that are no longer part of the cluster."""
        with self._lock:
            for key in [key for key in self._readings if key[1] and key[1] not in present]:
                del self._readings[key]
                self._advance(key[0])

    def forget_collectors(self, present: frozenset[str]) -> None:
        """Drop the readings of collectors that do not run any more."""
        with self._lock:
            for key in [key for key in self._readings if key[0] not in present]:
                del self._readings[key]
                self._advance(key[0])

    def expire(self, now: float) -> bool:
        """Take away values older than they may be; True when there was one."""
        gone = False
        with self._lock:
            for key, reading in self._readings.items():
                if reading.taken_at is not None and now - reading.taken_at > reading.keep_seconds:
                    self._readings[key] = replace(reading, value=None, taken_at=None)
                    self._advance(key[0])
                    gone = True
        return gone

    def reading(self, key: Key) -> Reading | None:
        """The newest outcome of that collector and node; None when it has never been tried. Never blocks."""
        return self._readings.get(key)

    def resources(self) -> Resources | None:
        """The newest resources alone, for whoever asks often."""
        reading = self.reading(("resources", ""))
        return reading.value if reading is not None and isinstance(reading.value, Resources) else None

    def generations(self) -> Mapping[str, int]:
        """Per collector a number that grows when its answers change, and one for EVERYTHING; for caches."""
        with self._lock:
            return dict(self._generations)

    def generation(self, collector: str) -> int:
        """The number of `generations` for one collector alone. Never blocks."""
        return self._generations.get(collector, 0)

    def answers(self, collector: str, kind: type[_Kind]) -> list[_Kind]:
        """What `View.answers` says, without putting a whole view together."""
        with self._lock:
            readings = dict(self._readings)
        return _values(readings, collector, kind)

    def view(self) -> View:
        """The present picture, the same one until something is recorded."""
        with self._lock:
            state = self._generations.get(EVERYTHING, 0)
            if self._view is not None and self._view[0] == state:
                return self._view[1]
            readings = MappingProxyType(dict(self._readings))
            configs_state = self._generations.get("config", 0)
        # Only what is in these variables goes into the view: other threads make theirs at the same time.
        known = self._configs
        if known[0] != configs_state:
            known = self._configs = (configs_state, MergedConfigs(_values(readings, "config", GuestConfigs)))
        tasks = next(iter(_values(readings, "tasks", TaskReport)), None)
        view = View(
            cluster=self.cluster,
            readings=readings,
            resources=next(iter(_values(readings, "resources", Resources)), None),
            status=next(iter(_values(readings, "status", ClusterStatus)), None),
            version=next(iter(_values(readings, "version", Version)), None),
            node_details=tuple(_values(readings, "node", NodeDetail)),
            merged_configs=known[1],
            person_stops=None if tasks is None else tasks.person_stops,
            boots={} if tasks is None else tasks.boots,
        )
        self._view = (state, view)
        return view

    def _put(self, key: Key, reading: Reading) -> None:
        with self._lock:
            before = self._readings.get(key)
            self._readings[key] = reading
            # A failure, or the very same answer again, changes no figure: only what is told about the attempt.
            if before is None or before.value is not reading.value:
                self._advance(key[0])
            else:
                self._advance(EVERYTHING)

    def _advance(self, collector: str) -> None:
        for name in {collector, EVERYTHING}:
            self._generations[name] = self._generations.get(name, 0) + 1


def _values(readings: Mapping[Key, Reading], collector: str, kind: type[_Kind]) -> list[_Kind]:
    whole = readings.get((collector, ""))
    keys = [(collector, "")] if whole is not None else sorted(key for key in readings if key[0] == collector)
    return [value for key in keys if isinstance(value := readings[key].value, kind)]
