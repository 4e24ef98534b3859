"""The command `pvewatch status`."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from pvewatch.status.report import ClusterFigures, Part, Status, status_of

_MARKS = {"ok": ("ok", "green"), "bad": ("NOT OK", "red"), "off": ("off", "yellow")}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@click.pass_obj
def status(source: Any, /, as_json: bool) -> None:
    """Show every process, the age of figures, queues and versions; exit 0 if all is well, 1 if something is not."""
    found = status_of(source.load())
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2))
    else:
        _print(found)
    sys.exit(0 if found.ok else 1)


def _print(found: Status) -> None:
    click.secho("Processes", bold=True)
    for part in found.parts:
        _row(part, part.address)
    click.secho("\nFigures", bold=True)
    for cluster in found.clusters:
        _row(cluster, "no figures" if cluster.age_seconds is None else f"{cluster.age_seconds:.0f} s old")
    if found.queues:
        click.secho("\nQueues", bold=True)
    for queue in found.queues:
        counts = ", ".join(f"{count} {state}" for state, count in queue.counts.items() if count)
        click.echo(f"  {queue.name:<14}{counts or 'empty'}")
    for warning in found.warnings:
        click.secho(f"\nwarning: {warning}", fg="yellow")
    click.echo("\nAll is well." if found.ok else "\nSomething is not well: see what is marked NOT OK.")


def _row(row: Part | ClusterFigures, where: str) -> None:
    word, colour = _MARKS[row.state]
    mark = click.style(f"{word:<8}", fg=colour)
    click.echo(f"  {mark}{row.name:<14}{where:<26}{row.version:<10}{row.detail}".rstrip())
