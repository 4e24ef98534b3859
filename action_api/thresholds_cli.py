"""`pvewatch threshold …`: thresholds of one guest, node or storage that count at once, and for a time if wanted."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import click

from action_api import maintenance as periods
from action_api import thresholds
from action_api.console import SettingsSource, actor, inventory_of, opened, utc
from action_api.store import ThresholdOverride, TooManyOverrides


@click.group()
def threshold() -> None:
    """Set what alerts compare a figure of one guest, node or storage with, without a change of the configuration."""


@threshold.command("set")
@click.argument("cluster")
@click.argument("id")
@click.argument("figure", type=click.Choice(thresholds.FIGURES), metavar="FIGURE")
@click.argument("value", type=float)
@click.option("--for", "duration", metavar="DURATION", help="How long, such as 8h or 2d; without it until `clear`.")
@click.option("--comment", required=True, help="Why; shown wherever the threshold is.")
@click.pass_obj
def set_(
    source: SettingsSource, cluster: str, id: str, figure: str, value: float, duration: str | None, comment: str
) -> None:
    """Let VALUE count instead of the configured one.

    ID is a guest (qemu/101), a node (node/pve1) or a storage on a node (storage/pve1/local); FIGURE is named as in the
    section `thresholds` of the configuration, or heartbeat_age_seconds.
    """
    settings, now = source.load(), time.time()
    try:
        thresholds.check(cluster, id, figure, value, clusters=[entry.name for entry in settings.clusters])
        words = periods.comment_of(comment)
        seconds = periods.seconds_of(duration, what="a threshold", most=thresholds.MAX_SECONDS) if duration else None
    except periods.NotPossible as error:
        raise click.UsageError(str(error)) from error
    inventory = inventory_of(settings)
    if inventory is None:
        click.echo(f"The exporter does not answer: whether {cluster} has a {id} was not checked.", err=True)
    elif problem := thresholds.missing_in(cluster, id, inventory):
        raise click.UsageError(problem)
    until = now + seconds if seconds else None
    with opened(settings) as store:
        try:
            store.threshold_overrides.set(
                ThresholdOverride(cluster, id, figure, value, set_by=actor(), set_at=now, until=until, comment=words)
            )
        except TooManyOverrides as error:
            raise click.ClickException(
                f"{error}. Clear some (pvewatch threshold list), or set it for many with tags: thresholds.by_tag"
            ) from error
    end = f"until {utc(until)}" if until else f"until: pvewatch threshold clear {cluster} {id} {figure}"
    click.echo(f"{figure} of {id} in {cluster} is {value:g} from the next scrape on, {end}", err=True)
    others = thresholds.same_storage(cluster, id, inventory) if inventory else ()
    if others:
        click.echo(f"The storage is shared, and has an id for each node; set it for: {', '.join(others)}", err=True)


@threshold.command("list")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@click.pass_obj
def list_present(source: SettingsSource, as_json: bool) -> None:
    """List the thresholds that were set at run time and have not ended."""
    with opened(source.load()) as store:
        present = store.threshold_overrides.present(now=time.time())
    if as_json:
        click.echo(json.dumps([asdict(override) for override in present], indent=2))
        return
    if not present:
        click.echo("No threshold is set at run time; those of the configuration count.", err=True)
        return
    for override in present:
        end = f"  until {utc(override.until)}" if override.until else ""
        click.echo(f"{override.cluster}  {override.id}  {override.figure}  {override.value:g}{end}")
        click.echo(f"    {override.set_by}: {override.comment}")


@threshold.command()
@click.argument("cluster")
@click.argument("id")
@click.argument("figure")
@click.pass_obj
def clear(source: SettingsSource, cluster: str, id: str, figure: str) -> None:
    """Let the configured threshold count again."""
    with opened(source.load()) as store:
        cleared = store.threshold_overrides.clear(cluster, id, figure, actor=actor(), now=time.time())
    if not cleared:
        raise click.ClickException(
            f"no threshold {figure} of {id} in {cluster} is set at run time; see: pvewatch threshold list"
        )
    click.echo(f"{figure} of {id} in {cluster} is as configured again.", err=True)
