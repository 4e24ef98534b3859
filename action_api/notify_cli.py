"""`pvewatch notify …`: try the channels, look at what the relay holds, and let dead letters go again."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.table import Table

from action_api.console import SettingsSource, opened
from action_api.notifiers.delivery import NotDelivered, deliver
from action_api.notifiers.sample import AlertmanagerSaysNo, delivers_by_itself, through_alertmanager, words_of_sample
from action_api.store import DELIVERY_STATES, Delivery
from pvewatch.config import Settings
from pvewatch.render.channels import version
from pvewatch.settings_channels import Channel

EXIT_NOT_DELIVERED = 1


@click.group()
def notify() -> None:
    """Channels over which people are told: try them, see what waits, retry."""


@notify.command()
@click.argument("channel", required=False)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@click.pass_obj
def test(source: SettingsSource, channel: str | None, as_json: bool) -> None:
    """Send a sample over CHANNEL, or over all, and show what the service answered; exit 1 if one was not delivered."""
    settings = source.load()
    results = [(chosen.name, *_try(settings, chosen)) for chosen in _chosen(settings, channel)]
    if as_json:
        rows = [{"channel": name, "delivered": good, "answer": answer} for name, good, answer in results]
        click.echo(json.dumps(rows, indent=2))
    else:
        for name, good, answer in results:
            click.secho(f"{'✓' if good else '✗'} {name}: {answer}", fg="green" if good else "red")
    sys.exit(0 if all(good for _, good, _ in results) else EXIT_NOT_DELIVERED)


@notify.command("list")
@click.option("--dead", is_flag=True, help="Only what was given up.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@click.pass_obj
def list_(source: SettingsSource, dead: bool, as_json: bool) -> None:
    """Show the newest 50 messages of the relay."""
    with opened(source.load()) as store:
        found = store.deliveries.newest(["dead"] if dead else DELIVERY_STATES)
    if as_json:
        click.echo(json.dumps([_row(delivery) for delivery in found], indent=2))
        return
    if not found:
        click.echo("The relay has no messages.")
        return
    table = Table("id", "channel", "received", "state", "attempts", "last answer", box=None)
    for delivery in found:
        row = _row(delivery)
        table.add_row(
            *(str(row[key] or "") for key in ("id", "channel", "received", "state", "attempts", "last_error"))
        )
    Console().print(table)


@notify.command()
@click.argument("ids", nargs=-1, type=click.IntRange(1))
@click.option("--all", "everything", is_flag=True, help="All dead letters.")
@click.pass_obj
def retry(source: SettingsSource, ids: tuple[int, ...], everything: bool) -> None:
    """Let dead letters be delivered again, those with these IDS or all."""
    if bool(ids) == everything:
        raise click.UsageError("give the ids of dead letters (`pvewatch notify list --dead`), or --all")
    with opened(source.load()) as store:
        count = store.deliveries.retry(None if everything else ids, now=time.time())
    if ids and count < len(ids):
        raise click.ClickException(f"{count} of {len(ids)} wait again; the others are no dead letters")
    click.echo(f"{count} messages wait again.")


def _chosen(settings: Settings, name: str | None) -> tuple[Channel, ...]:
    if not settings.channels:
        raise click.ClickException("no channel is configured; docs/notifications.md shows how to add one")
    if name is None:
        return settings.channels
    found = settings.channel(name)
    if found is None:
        known = ", ".join(channel.name for channel in settings.channels)
        raise click.BadParameter(f"{name!r} is not a channel; known are: {known}", param_hint="CHANNEL")
    return (found,)


def _try(settings: Settings, channel: Channel) -> tuple[bool, str]:
    try:
        if _relayed(settings, channel):
            deliver(channel, words_of_sample(channel))
            return True, f"{channel.type} has taken it"
        return True, through_alertmanager(settings, channel)
    except (NotDelivered, AlertmanagerSaysNo) as error:
        return False, str(error)


def _relayed(settings: Settings, channel: Channel) -> bool:
    relayed = channel.needs_relay(version(settings))
    if relayed and channel.native_version and channel.via == "auto" and settings.alertmanager.version is None:
        # It hangs on a version that `pvewatch up` has asked for, and that is not in the settings.
        return not delivers_by_itself(settings, channel)
    return relayed


def _row(delivery: Delivery) -> dict[str, object]:
    return {
        "id": delivery.id,
        "channel": delivery.channel,
        "received": datetime.fromtimestamp(delivery.received_at, UTC).isoformat(timespec="seconds"),
        "state": delivery.state,
        "attempts": delivery.attempts,
        "last_error": delivery.last_error,
    }
