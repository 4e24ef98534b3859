#!/usr/bin/env python3
"""`make bench`: the exporter and the real prometheus-pve-exporter side by side, against one simulated cluster.

    python -m bench.run             everything; some ten minutes, writes docs/performance.md
    python -m bench.run --quick     tiny clusters and few samples, writes nothing
    python -m bench.run --json      the figures as JSON on stdout instead of a table

The exit status is 1 when a bar is missed, 2 when something could not be measured. Linux only: it reads /proc.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from http.client import HTTPException
from pathlib import Path

from rich.console import Console

from bench import report
from bench.processes import ROOT, NotMeasured, install_peer
from bench.report import Row
from bench.scenes import FULL, QUICK, SCENES

REPORT = ROOT / "docs" / "performance.md"


def main() -> int:
    """Measure, print, write; 0 only if every bar is met."""
    parser = argparse.ArgumentParser(description="Measure the exporter beside prometheus-pve-exporter.")
    parser.add_argument("--quick", action="store_true", help="tiny and short, for trying the benchmark itself")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    scale = QUICK if options.quick else FULL
    progress = Console(stderr=True, highlight=False)
    rows: list[Row] = []
    begun, date = time.monotonic(), time.time()
    try:
        with progress.status("installing prometheus-pve-exporter"):
            install_peer()
        with tempfile.TemporaryDirectory(prefix="pvewatch-bench-", ignore_cleanup_errors=True) as name:
            for number, scene in enumerate(SCENES, 1):
                title = f"scene {number} of {len(SCENES)}, {scene.__name__}"
                with progress.status(title):
                    rows += scene(Path(name), scale)
                progress.print(f"{title}: done after {time.monotonic() - begun:.0f} s")
    except (NotMeasured, subprocess.SubprocessError, OSError, HTTPException) as error:
        progress.print(f"not measured: {type(error).__name__}: {error}", style="red", markup=False)
        return 2
    seconds = time.monotonic() - begun
    if options.json:
        print(report.as_json(rows, seconds))
    else:
        Console(width=None if sys.stdout.isatty() else 160).print(report.table(rows))
    if not options.quick:
        REPORT.write_text(report.page(rows, seconds, date), encoding="utf-8")
        progress.print(f"written to {REPORT.relative_to(ROOT)}")
    missed = [row.what for row in rows if row.met is False]
    progress.print(f"missed: {'; '.join(missed)}" if missed else "every bar is met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
