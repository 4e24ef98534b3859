"""The commands `pvewatch demo` and `pvewatch up`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from pvewatch.stack.demo import run as run_demo
from pvewatch.stack.up import run as run_up


def _moved(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, int]:
    moved = {}
    for value in values:
        name, _, port = value.partition("=")
        if not port.isdecimal():
            raise click.BadParameter(f"{value!r} is not NAME=PORT, for example prometheus=19090")
        moved[name] = int(port)
    return moved


@click.command()
@click.option("--check", is_flag=True, help="Prove every hop, print a checklist, stop; exit 0 only if all of it holds.")
@click.option("--json", "as_json", is_flag=True, help="With --check: the checklist as JSON on standard output.")
@click.option("--clusters", type=click.IntRange(1, 9), default=2, show_default=True, help="How many to simulate.")
@click.option("--guests", type=click.IntRange(6, 2000), default=12, show_default=True, help="Guests of each cluster.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep everything here for the next time; default is a temporary folder.",
)
@click.option("--ports-base", type=click.IntRange(1, 65500), help="Count the ports up from this one.")
@click.option(
    "--port",
    "moved_ports",
    multiple=True,
    callback=_moved,
    metavar="NAME=PORT",
    help="Move one: exporter, heartbeats, action-api, prometheus, alertmanager, grafana or blackbox. May be repeated.",
)
def demo(**options: Any) -> None:
    """Run the whole stack on this machine against simulated Proxmox VE clusters."""
    if options["as_json"] and not options["check"]:
        raise click.UsageError("--json goes with --check")
    sys.exit(run_demo(**options))


@click.command()
@click.pass_obj
def up(source: Any) -> None:
    """Run the whole stack on this machine with your configuration, until Ctrl-C."""
    sys.exit(run_up(source.load(), source.path))
