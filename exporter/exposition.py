"""Metric families → the bytes of /metrics, classic Prometheus text format 0.0.4.

Samples are cached as bytes per family and cluster and written again only when what the family reads has changed; a
scrape joins the pieces, family by family, with HELP and TYPE once and the samples of all clusters together.

The classic format only: the drop-in names hold a gauge X beside a counter X_total, which OpenMetrics forbids.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal
from weakref import WeakSet

from exporter.jobs import Considerate
from exporter.snapshot import Snapshot, View

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Each piece passes from thread to thread on its way out, and some hundred kilobytes are worth that.
PIECE_BYTES = 512 * 1024

Number = int | float
MetricType = Literal["gauge", "counter"]
Sample = tuple[tuple[str, ...], Number | None]


@dataclass(frozen=True, slots=True)
class Metric:
    """A row of a METRICS table: one family about a cluster, and how its samples come out of a View.

    `labels` are those after `cluster`, which every series has. `samples` yields label values in that order with a
    value; None as the value gives no sample. `reads` names further collectors whose answers it looks at.
    `made_of` tells all that the samples come out of, where that changes seldom: while it is equal, nothing is written.
    """

    name: str
    type: MetricType
    help: str
    labels: tuple[str, ...]
    samples: Callable[[View], Iterable[Sample]]
    reads: tuple[str, ...] = ()
    made_of: Callable[[View], object] | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    """One family of one cluster as it was written; `state` are the generations, `made_of` what the metric says."""

    state: tuple[int, ...]
    made_of: object
    text: bytes
    # One line is one series: values and labels have their line feeds escaped.
    series: int


class _Writer:
    """Writes families of one view; what stands under two names is worked out once."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._written: dict[tuple[object, ...], tuple[str, bytes]] = {}

    def text(self, metric: Metric) -> bytes:
        """The family's sample lines."""
        alike = (metric.samples, metric.labels)
        if alike in self._written:
            name, text = self._written[alike]
            # Values have their line feeds escaped, so a line begins with the name and with nothing else.
            old, new = f"\n{name}{{".encode(), f"\n{metric.name}{{".encode()
            return (b"\n" + text).replace(old, new)[1:]
        text = write_samples(metric.name, metric.labels, metric.samples(self._view), self._view.cluster)
        self._written[alike] = metric.name, text
        return text


class Page:
    """The families of all clusters as one page of text. Any thread may refresh or read."""

    def __init__(self, tables: Sequence[tuple[str, Sequence[Metric]]]) -> None:
        """`tables` are (collector, its METRICS), in the order of the page; EVERYTHING is one too."""
        self._rows = [(source, metric) for source, table in tables for metric in table]
        self._heads: dict[str, bytes] = {}
        for _, metric in self._rows:
            head = header(metric.name, metric.type, metric.help)
            if self._heads.setdefault(metric.name, head) != head:
                raise ValueError(f"{metric.name} is declared twice, with another help or type")
        self._lock = threading.Lock()
        self._parts: dict[tuple[str, str, str], _Part] = {}
        self._clusters: list[str] = []
        self._pieces: list[bytes] | None = None
        self._forgotten: WeakSet[Snapshot] = WeakSet()

    def forget(self, snapshot: Snapshot) -> None:
        """Take a cluster off the page; a refresh of this snapshot that is still under way puts nothing back."""
        cluster = snapshot.cluster
        with self._lock:
            self._forgotten.add(snapshot)
            self._parts = {key: part for key, part in self._parts.items() if key[1] != cluster}
            if cluster in self._clusters:
                self._clusters.remove(cluster)
            self._pieces = None

    def series(self) -> dict[str, int]:
        """Configured cluster → how many series it has on the page."""
        with self._lock:
            found = dict.fromkeys(self._clusters, 0)
            for (_, cluster, _), part in self._parts.items():
                found[cluster] = found.get(cluster, 0) + part.series
            return found

    def refresh(self, snapshot: Snapshot, *, considerate: bool = False) -> int:
        """Write again what has changed in that cluster; returns how many families were written.

        In the background `considerate` gives way to those who answer: of thousands of guests it is a second's work.
        """
        work = Considerate()
        # Generations before the view: what is recorded in between is written again next time, never missed.
        generations = snapshot.generations()
        view = snapshot.view()
        fresh: dict[tuple[str, str, str], _Part] = {}
        written = 0
        told: dict[Callable[[View], object], object] = {}
        writer = _Writer(view)
        for source, metric in self._rows:
            state = tuple(generations.get(name, 0) for name in (source, *metric.reads))
            key = (metric.name, snapshot.cluster, source)
            known = self._parts.get(key)
            if known is not None and known.state == state:
                continue
            made_of: object = None
            if metric.made_of is not None:
                if metric.made_of not in told:
                    told[metric.made_of] = metric.made_of(view)
                made_of = told[metric.made_of]
                if known is not None and known.made_of == made_of:
                    # The equal one there was is kept, so that it does not stay in memory twice.
                    told[metric.made_of] = known.made_of
                    fresh[key] = replace(known, state=state)
                    continue
            text = writer.text(metric)
            fresh[key] = _Part(state, made_of, text, text.count(b"\n"))
            written += 1
            if considerate:
                work.breathe()
        with self._lock:
            if snapshot in self._forgotten:
                return 0
            for key, part in fresh.items():
                known = self._parts.get(key)
                if known is None or sum(known.state) <= sum(part.state):
                    self._parts[key] = part
            if snapshot.cluster not in self._clusters:
                self._clusters.append(snapshot.cluster)
            if written:
                self._pieces = None
        return written

    def pieces(self) -> list[bytes]:
        """The page as it is now, in pieces that are worth sending: nothing large is copied for it."""
        with self._lock:
            if self._pieces is None:
                sources: dict[str, list[str]] = {}
                for source, metric in self._rows:
                    sources.setdefault(metric.name, []).append(source)
                found: list[bytes] = []
                for name, head in self._heads.items():
                    found.append(head)
                    for cluster in self._clusters:
                        parts = (self._parts.get((name, cluster, source)) for source in sources[name])
                        found += [part.text for part in parts if part and part.text]
                self._pieces = list(gathered(found))
            return self._pieces

    def text(self) -> bytes:
        """The page as it is now, in one."""
        return b"".join(self.pieces())


def gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes with small neighbours put together."""
    small: list[bytes] = []
    size = 0
    for piece in pieces:
        if len(piece) >= PIECE_BYTES:
            if small:
                yield b"".join(small)
                small, size = [], 0
            yield piece
            continue
        small.append(piece)
        size += len(piece)
        if size >= PIECE_BYTES:
            yield b"".join(small)
            small, size = [], 0
    if small:
        yield b"".join(small)


def header(name: str, kind: str, text: str) -> bytes:
    """The HELP and TYPE lines of a family."""
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n")
    return f"# HELP {name} {escaped}\n# TYPE {name} {kind}\n".encode(errors="replace")


def write_samples(name: str, labels: Sequence[str], samples: Iterable[Sample], cluster: str | None = None) -> bytes:
    """Sample lines; `cluster` becomes the first label unless it is None. A value of None gives no line."""
    template = line_template(name, tuple(labels), cluster)
    there = list(samples)
    lines = _filled(template, there)
    text = "".join(lines)
    # Hardly any label value needs escaping: to count in the whole text is much cheaper than to look at each of them.
    if any(text.count(mark) != template.count(mark) * len(lines) for mark in '\\"\n'):
        text = "".join(_filled(template, ((tuple(map(escape, values)), value) for values, value in there)))
    # A lone surrogate is valid JSON and no valid UTF-8: it becomes a question mark, not an exception.
    return text.encode(errors="replace")


def _filled(template: str, samples: Iterable[Sample]) -> list[str]:
    return [
        template % (*values, value if type(value) is int else format_value(value))
        for values, value in samples
        if value is not None
    ]


@lru_cache(4096)
def line_template(name: str, labels: tuple[str, ...], cluster: str | None = None) -> str:
    """A sample line with %s for each of the labels' escaped values, then one for the figure."""
    first = [] if cluster is None else [f'cluster="{escape(cluster)}"'.replace("%", "%%")]
    shown = ",".join([*first, *(f'{label}="%s"' for label in labels)])
    return f"{name}{{{shown}}} %s\n" if shown else f"{name} %s\n"


def escape(value: str) -> str:
    """A label value with backslash, quote and line feed escaped."""
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return value


def format_value(value: Number) -> str:
    """A number as the format wants it: NaN, +Inf and -Inf in its own spelling."""
    if isinstance(value, float):
        if math.isnan(value):
            return "NaN"
        if math.isinf(value):
            return "+Inf" if value > 0 else "-Inf"
        return repr(value)
    return str(int(value))
