#!/usr/bin/env python3
"""Measures what Prometheus keeps for each guest: series, and bytes for each sample on disk.

    PYTHONPATH=. .venv/bin/python tools/history_size.py [--guests N] [--hours H]

A simulated cluster is read through the exporter on a clock that jumps a scrape interval, promtool makes blocks
of what was read, and those blocks are weighed. docs/containers.md has its figures.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

from exporter.service import Exporter
from pvewatch.config import Secret, Settings
from pvewatch.pve.grouping import Group
from pvewatch.simulator.server import Options, Simulator
from pvewatch.stack import tools

SCRAPE_SECONDS = 10
DAYS = 90


class Clock:
    """The time for simulator and exporter alike."""

    now = float(int(time.time() - 86400))

    def __call__(self) -> float:
        """Unix seconds."""
        return self.now


def main() -> None:
    """Print the figures."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--guests", type=int, default=50)
    arguments.add_argument("--hours", type=float, default=2)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="pvewatch-history-") as scratch:
        folder = Path(scratch)
        pages = folder / "pages"
        series, samples = _read(given.guests, int(given.hours * 3600 / SCRAPE_SECONDS), folder, pages)
        blocks = folder / "blocks"
        command = [str(tools.find("promtool")), "tsdb", "create-blocks-from", "openmetrics", str(pages), str(blocks)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        size = sum(file.stat().st_size for file in blocks.rglob("*") if file.is_file())
    each = size / samples
    kept = series / given.guests * each * DAYS * 86400 / SCRAPE_SECONDS
    print(f"{series} series of {given.guests} guests: {series / given.guests:.1f} each")
    print(f"{size} bytes of {samples} samples: {each:.2f} bytes each")
    print(f"{kept / 1e6:.0f} MB a guest in {DAYS} days at {SCRAPE_SECONDS} s")


def _read(guests: int, scrapes: int, folder: Path, pages: Path) -> tuple[int, int]:
    """Write what `scrapes` looks showed, with times, in the form that promtool reads; returns series and samples."""
    clock = Clock()
    simulator = Simulator(Options(data=folder / "simulator", guests=guests, auth_delay_seconds=0), clock)
    simulator.start()
    told = simulator.details
    secret = folder / "monitor"
    secret.touch(mode=0o600)
    secret.write_text(told["tokens"]["monitor"]["secret"], encoding="utf-8")
    monitor = {"token_id": told["tokens"]["monitor"]["id"], "token_secret_file": secret}
    cluster = {"name": "lab", "hosts": [f"{told['host']}:{told['port']}"], "fingerprint": told["fingerprint"]}
    # Each look is a new one, whatever the real time between two.
    own = {"poll_interval_seconds": 0.001, "node_interval_seconds": 0.001, "config_interval_seconds": 600}
    settings = Settings.model_validate(
        {"data_dir": folder / "data", "clusters": [{**cluster, "monitor": monitor}], "exporter": own}
    )
    exporter = Exporter(settings, (Group(settings.clusters[0], ("lab",)),), Secret("heartbeat"), clock=clock)
    (poller,) = exporter.pollers
    # By family: the text format that promtool reads wants each family in one piece.
    lines: dict[str, list[str]] = {}
    series: set[str] = set()
    samples = 0
    for _ in range(scrapes):
        poller.poll()
        poller.settle(20)
        for line in exporter.metrics().decode().splitlines():
            if line.startswith("#") or 'cluster="' not in line:
                continue
            name, _, value = line.rpartition(" ")
            series.add(name)
            samples += 1
            lines.setdefault(name.partition("{")[0], []).append(f"{name} {value} {clock.now:.0f}\n")
        clock.now += SCRAPE_SECONDS
    exporter.stop()
    simulator.stop()
    with pages.open("w", encoding="utf-8") as file:
        for family in lines.values():
            file.writelines(family)
        file.write("# EOF\n")
    return len(series), samples


if __name__ == "__main__":
    main()
