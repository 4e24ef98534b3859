"""What was measured, as a table for people, JSON for programs, and the page docs/performance.md."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from bench.processes import PEER_PACKAGE
from pvewatch import __version__

COLUMNS = ("what", "pvewatch", "prometheus-pve-exporter", "ratio", "bar", "met")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, in `unit` ("" for a number). `met` is None where there is no bar, `peer` where it has no such thing.

    `detail` and `peer_detail` say more in words.
    """

    key: str
    what: str
    unit: str
    ours: float
    bar: str
    met: bool | None
    peer: float | None = None
    detail: str = ""
    peer_detail: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours to the peer's."""
        return self.ours / self.peer if self.peer else None

    def cells(self) -> tuple[str, ...]:
        """The row in words, in the order of COLUMNS."""
        ratio = "" if self.ratio is None else f"{self.ratio:.3f}"
        theirs = self.peer_detail if self.peer is None else _words(self.peer, self.unit, self.peer_detail)
        met = {True: "yes", False: "no", None: ""}[self.met]
        return self.what, _words(self.ours, self.unit, self.detail), theirs, ratio, self.bar, met


def _words(value: float, unit: str, detail: str) -> str:
    digits = {"ms": 1, "s": 2, "series": 1}.get(unit, 0)
    text = f"{value:,.{digits}f} {unit}".rstrip()
    return f"{text} ({detail})" if detail else text


def table(rows: Sequence[Row]) -> Table:
    """For a terminal."""
    shown = Table(*COLUMNS, show_lines=True)
    styles = {True: "green", False: "bold red", None: ""}
    for row in rows:
        *cells, met = row.cells()
        shown.add_row(*cells, f"[{styles[row.met]}]{met}" if met else "")
    return shown


def as_json(rows: Sequence[Row], seconds: float) -> str:
    """For programs: the figures as numbers in their unit."""
    found = [{**asdict(row), "ratio": row.ratio} for row in rows]
    missed = [row.key for row in rows if row.met is False]
    document = {"pvewatch": __version__, "peer": PEER_PACKAGE, "seconds": seconds, "missed": missed, "rows": found}
    return json.dumps(document, indent=2)


def page(rows: Sequence[Row], seconds: float, date: float) -> str:
    """docs/performance.md; `seconds` is how long the run took, `date` unix seconds."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    for row in rows:
        *cells, met = row.cells()
        lines.append(f"| {' | '.join(cells)} | {'**no**' if met == 'no' else met} |")
    missed = [f"- {row.what}: {row.cells()[1]}, the bar is {row.bar}." for row in rows if row.met is False]
    verdict = (
        "In this run every bar was met."
        if not missed
        else "\n".join(["In this run these bars were missed:", "", *missed])
    )
    return _PAGE.format(
        date=time.strftime("%Y-%m-%d", time.gmtime(date)),
        version=__version__,
        peer=PEER_PACKAGE,
        minutes=f"{seconds / 60:.0f}",
        machine=_machine(),
        table="\n".join(lines),
        verdict=verdict,
    )


def _machine() -> str:
    memory = next(
        (int(line.split()[1]) / 1e6 for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line), 0
    )
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    linux = platform.release().partition("-")[0]
    return f"{os.cpu_count()} cores ({model}), {memory:.0f} GB, Linux {linux}, Python {platform.python_version()}"


_PAGE = """# Performance

Written by `make bench` on {date}: pvewatch {version} and {peer} from PyPI (default flags), in one run of {minutes}
minutes on one machine: {machine}. Each program has processes of its own; both read the same process of `pvewatch
simulator`.

{table}

{verdict}

How to read it:

- Ratios travel, seconds do not: both were measured on the same machine in the same minutes, yours is another one.
- prometheus-pve-exporter asks Proxmox VE at every scrape, one call after the other; pvewatch asks in the
  background, and a scrape costs no call. The simulator answers at once. A real cluster does not: there their scrape
  takes longer, ours does not.
- *The peer's families*: `exporter.collectors` switches off what prometheus-pve-exporter does not have. pvewatch
  still says more about guests' states and about its own work, so its page is not smaller.
- CPU of one refresh: CPU time of all the program's processes for one poll (10 s) with all that fell due in it, or
  for one scrape. For pvewatch guests' configurations are due all the time, which is the most there ever is.
- Calls a minute: prometheus-pve-exporter reads the guests' configurations of the node that is the target, so a
  whole cluster takes a scrape of every node, here counted once a minute. pvewatch reads them within half an hour.
- MB are 1,000,000 bytes of resident memory, at its peak, after every guest has been read by every collector. For
  that the exporter is started with a faster sweep of the guests, as the ordinary one is spread over an hour; the rest
  is measured at its ordinary pace.
- The exporter keeps to one core by itself. What it is measured with, senders and simulator, shares all cores with it.
- Heartbeats are sent by another process at a steady rate over 64 connections that stay open, without TLS. They
  count when they are acknowledged, which is after they are on disk; waiting counts from the moment a heartbeat was
  due to be sent. Agents open a connection for each heartbeat: what their TLS costs is not in these figures. For the
  last row the exporter is killed with SIGKILL while they come in, and its file is compared with what had been
  acknowledged.
- Of few samples the p99 is the slowest one.

`make bench` measures again and writes this page; its exit status is 1 when a bar is missed. `make bench
ARGS=--json` prints the figures for programs, `make bench ARGS=--quick` tries everything at a small size and writes
nothing.
"""
