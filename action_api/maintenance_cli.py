"""`pvewatch maintenance …`: silences a guest, node or cluster for a time, in Alertmanager."""

from __future__ import annotations

import json
import time

import click

from action_api import maintenance as periods
from action_api.alertmanager import Silence, SilenceNotFound
from action_api.console import SettingsSource, actor, inventory_of, opened, utc
from action_api.neighbours import NeighbourUnavailable
from pvewatch.config import Settings


@click.group()
def maintenance() -> None:
    """Silence what is being worked on; automation leaves it alone, too."""


@maintenance.command()
@click.argument("cluster")
@click.option("--node", help="Only this node, and the guests on it.")
@click.option("--guest", metavar="VMID", help="Only this guest.")
@click.option("--for", "duration", required=True, metavar="DURATION", help="How long, such as 30m, 2h or 1d12h.")
@click.option("--comment", required=True, help="Why; shown wherever the silence is.")
@click.pass_obj
def start(
    source: SettingsSource, cluster: str, node: str | None, guest: str | None, duration: str, comment: str
) -> None:
    """Begin maintenance of a guest, a node with its guests, or a whole cluster. Prints the id that `end` takes."""
    settings, now = source.load(), time.time()
    try:
        scope = periods.Scope.of(cluster, node, guest, clusters=[entry.name for entry in settings.clusters])
        seconds, words = periods.seconds_of(duration), periods.comment_of(comment)
    except periods.NotPossible as error:
        raise click.UsageError(str(error)) from error
    _look(settings, scope)
    with opened(settings) as store:
        try:
            silence_id = periods.start(
                settings.alertmanager_urls, scope, seconds=seconds, comment=words, created_by=actor(), now=now,
            )  # fmt: skip
        except NeighbourUnavailable as error:
            raise _unavailable(error) from error
        store.audit.write(
            "maintenance.started", actor=actor(), origin="person", now=now, cluster=scope.cluster, guest=scope.guest,
            detail={"silence": silence_id, "of": str(scope), "until": utc(now + seconds), "comment": words},
        )  # fmt: skip
    click.echo(silence_id)
    click.echo(
        f"No alert of {scope} is told, and nothing there is recovered automatically, until {utc(now + seconds)}. "
        f"Earlier: pvewatch maintenance end {silence_id}",
        err=True,
    )


@maintenance.command("list")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@click.pass_obj
def list_present(source: SettingsSource, as_json: bool) -> None:
    """List what is silent now or will be, whoever announced it."""
    try:
        present = periods.present(source.load().alertmanager_urls)
    except NeighbourUnavailable as error:
        raise _unavailable(error) from error
    if as_json:
        click.echo(json.dumps([_row(silence) for silence in present], indent=2))
        return
    if not present:
        click.echo("Nothing is in maintenance.", err=True)
        return
    for silence in present:
        begins = "" if silence.status.state == "active" else f"from {utc(silence.startsAt.timestamp())} "
        click.echo(
            f"{silence.id}  {begins}until {utc(silence.endsAt.timestamp())}  {periods.described(silence.matchers)}"
        )
        click.echo(f"    {silence.createdBy}: {silence.comment}")


@maintenance.command()
@click.argument("silence_id", metavar="ID")
@click.pass_obj
def end(source: SettingsSource, silence_id: str) -> None:
    """End one maintenance now."""
    settings = source.load()
    with opened(settings) as store:
        try:
            ended = periods.end(settings.alertmanager_urls, silence_id)
        except NeighbourUnavailable as error:
            raise _unavailable(error) from error
        except SilenceNotFound as error:
            raise click.ClickException(
                f"{silence_id!r} is not in force, or has ended already; see: pvewatch maintenance list"
            ) from error
        scope = periods.scope_of(ended.matchers)
        store.audit.write(
            "maintenance.ended", actor=actor(), origin="person", now=time.time(),
            cluster=scope.cluster if scope else None, guest=scope.guest if scope else None,
            detail=periods.audit_detail(ended),
        )  # fmt: skip
    click.echo(f"Ended: {periods.described(ended.matchers)}. Its alerts are told again.", err=True)


def _look(settings: Settings, scope: periods.Scope) -> None:
    """Refuse what is not there; what cannot be looked up is announced all the same."""
    inventory = inventory_of(settings)
    if inventory is None:
        if scope.node or scope.guest:
            click.echo(f"The exporter does not answer: whether there is a {scope} was not checked.", err=True)
    elif problem := periods.missing_in(scope, inventory):
        raise click.UsageError(problem)


def _unavailable(error: NeighbourUnavailable) -> click.ClickException:
    return click.ClickException(f"{error}. Nothing was changed. Start Alertmanager, or mend alertmanager.url.")


def _row(silence: Silence) -> dict[str, object]:
    scope = periods.scope_of(silence.matchers)
    return {
        "id": silence.id,
        "cluster": scope.cluster if scope else None,
        "node": scope.node if scope else None,
        "guest": scope.guest if scope else None,
        "matchers": [str(matcher) for matcher in silence.matchers],
        "state": silence.status.state,
        "starts_at": silence.startsAt.isoformat(),
        "ends_at": silence.endsAt.isoformat(),
        "created_by": silence.createdBy,
        "comment": silence.comment,
    }
