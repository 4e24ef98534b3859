"""`pvewatch agents …`: which guests speak for themselves, and with which tokens."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import click

from exporter.heartbeats import keys
from exporter.heartbeats.enrolment import (
    InstallerMissing,
    agents_url,
    cloud_init,
    install_script,
    read_authority,
    trusted_authority,
)
from pvewatch.config import Settings, internal_secret
from pvewatch.enrolment import PLATFORMS, Platform
from pvewatch.inventory import GuestEntry, Inventory, InventoryClient, InventoryUnavailable, agent_states
from pvewatch.pve.grouping import group_as_remembered

VMID = click.IntRange(100, 999_999_999)
EXIT_SOMETHING_IS_WRONG = 3
EXIT_NOT_ALL_IS_KNOWN = 4
# States that nobody has to do anything about.
WELL = {"ok", "not running", "no agent"}


class SettingsSource(Protocol):
    """What the program hands over: settings that are loaded when a command needs them."""

    def load(self) -> Settings:
        """The settings; mistakes in them end the program."""


@click.group()
def agents() -> None:
    """Agents inside guests: who is enrolled, tokens, secrets."""


@agents.command("list")
@click.option("--silent", "wanted", flag_value="silent", multiple=True, help="Only those that run and are silent.")
@click.option("--outdated", "wanted", flag_value="outdated", multiple=True, help="Only older agents than pvewatch's.")
@click.option("--shared", "wanted", flag_value="shared identity", multiple=True, help="Only tokens in use twice.")
@click.option(
    "--previous-secret",
    "wanted",
    flag_value="previous secret",
    multiple=True,
    help="Only those to renew in a rotation.",
)
@click.option("--without", "wanted", flag_value="no agent", multiple=True, help="Only guests that have no agent.")
@click.option("--all", "everybody", is_flag=True, help="Also guests that have no agent.")
@click.option("--cluster", help="Only those of this cluster.")
@click.option(
    "--check",
    is_flag=True,
    help="Exit with 3 when something is wrong with a listed agent, else with 4 when a cluster cannot be read.",
)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@click.pass_obj
def list_agents(
    source: SettingsSource,
    wanted: tuple[str, ...],
    everybody: bool,
    cluster: str | None,
    check: bool,
    as_json: bool,
) -> None:
    """List the guests with an agent, as the running exporter knows them.

    States: ok, silent, outdated (an older agent than this pvewatch has), shared identity (two machines use its token),
    previous secret (its token derives from the secret before the rotation), not running (the guest is off, so its agent
    is too), no agent (none was ever heard). Several filters show what fits any of them. A cluster that the exporter
    cannot read now is named on standard error: its guests are listed as they were last known, or not at all.

    Exit codes: 0 listed, 1 the exporter does not answer, 2 the configuration is wrong, 3 and 4 see --check.
    """
    settings = _configured(source, cluster) if cluster else source.load()
    client = InventoryClient(settings.exporter_url, internal_secret(settings, "inventory"))
    try:
        inventory = client.fetch()
    except InventoryUnavailable as error:
        raise click.ClickException(str(error)) from error
    everyone = [_row(guest) for guest in _guests(inventory, cluster) if everybody or wanted or guest.heartbeat]
    rows = [row for row in everyone if not wanted or set(wanted) & set(row["states"])]
    unread = [entry for entry in inventory.clusters if entry.error and cluster in (None, entry.name)]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif rows:
        _print_table(rows, inventory.generated_at)
    elif wanted:
        click.echo("None.", err=True)
    elif not unread:
        click.echo("No agent has reported yet. For the first: pvewatch agents install-command --help", err=True)
    for entry in unread:
        click.echo(_printable(f"{entry.name} cannot be read, so not all may be listed: {entry.error}"), err=True)
    if check and any(set(row["states"]) - WELL for row in rows):
        sys.exit(EXIT_SOMETHING_IS_WRONG)
    if check and unread:
        sys.exit(EXIT_NOT_ALL_IS_KNOWN)


@agents.command("install-command")
@click.argument("cluster")
@click.argument("vmid", type=VMID)
@click.option("--platform", type=click.Choice(PLATFORMS), required=True)
@click.option("--url", help="Where the guest reaches the heartbeat listener; default: from the configuration.")
@click.option(
    "--ca-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="PEM file that the agent shall trust; default: exporter.heartbeat_ca_file.",
)
@click.option("--cloud-init", "as_cloud_init", is_flag=True, help="As cloud-config for the guest's first boot.")
@click.pass_obj
def install_command(
    source: SettingsSource,
    cluster: str,
    vmid: int,
    platform: Platform,
    url: str | None,
    ca_file: Path | None,
    as_cloud_init: bool,
) -> None:
    """Print a script that installs the agent in a guest, with the guest's token.

    \b
    pvewatch agents install-command lab 101 --platform linux | ssh root@web bash
    pvewatch agents install-command lab 102 --platform windows > agent.ps1
        (copy it there, run it elevated, delete it)

    All is in the script, so the guest needs to reach nothing but the heartbeat listener. Run again it upgrades.
    """
    if as_cloud_init and platform != "linux":
        raise click.UsageError("--cloud-init is for --platform linux")
    settings = _configured(source, cluster)
    authority = read_authority(ca_file) if ca_file else trusted_authority(settings)
    address = agents_url(settings, url)
    token = keys.current_token(settings.data_dir, cluster, vmid)
    try:
        script = install_script(platform, f"{cluster}/{vmid}", token, address, authority=authority)
    except InstallerMissing as error:
        raise click.ClickException(str(error)) from error
    if as_cloud_init:
        script = cloud_init(script)
    if sys.stdout.isatty():
        click.echo("It holds the guest's token: rather pipe it into the guest's shell than keep it.", err=True)
    click.echo(script, nl=False)


@agents.command()
@click.argument("cluster")
@click.argument("vmid", type=VMID)
@click.pass_obj
def revoke(source: SettingsSource, cluster: str, vmid: int) -> None:
    """Refuse a guest's tokens printed so far, at once. `pvewatch agent-token` prints a new one."""
    settings = _configured(source, cluster)
    keys.revoke(settings.data_dir, cluster, vmid)
    click.echo(f"The tokens of {cluster}/{vmid} are refused from now on.", err=True)
    click.echo(f"A new one: pvewatch agent-token {cluster} {vmid}", err=True)


@agents.command()
@click.option("--finish", is_flag=True, help="Refuse the previous secret's tokens from now on.")
@click.pass_obj
def rotate(source: SettingsSource, finish: bool) -> None:
    """Make a new secret for tokens. Those of the previous one stay valid until --finish.

    In between give every guest its new token; `pvewatch agents list` shows who still has the previous one.
    """
    settings = source.load()
    try:
        if finish:
            keys.finish_rotation(settings.data_dir)
            click.echo("Tokens of the previous secret are refused from now on.", err=True)
            return
        keys.rotate(settings.data_dir)
    except keys.NoRotation:
        raise click.ClickException("there is no previous secret; nothing to finish") from None
    except keys.RotationUnfinished:
        words = (
            "the rotation before is not finished: see `pvewatch agents list`, then `pvewatch agents rotate --finish`"
        )
        raise click.ClickException(words) from None
    click.echo("There is a new secret, and the previous one stays valid. Next:", err=True)
    click.echo("  1. give every guest its new token: pvewatch agent-token, or agents install-command", err=True)
    click.echo("  2. wait until nobody is left: pvewatch agents list", err=True)
    click.echo("  3. end it: pvewatch agents rotate --finish", err=True)


def _configured(source: SettingsSource, cluster: str) -> Settings:
    settings = source.load()
    # The exporter takes heartbeats under the name that joined hosts go by, and under no other.
    known = [group.cluster.name for group in group_as_remembered(settings)]
    if cluster not in known:
        raise click.BadParameter(f"{cluster!r} is not a cluster; known are: {', '.join(known)}", param_hint="CLUSTER")
    return settings


def _guests(inventory: Inventory, wanted: str | None) -> Iterator[GuestEntry]:
    for cluster in inventory.clusters:
        if wanted not in (None, cluster.name):
            continue
        yield from sorted((guest for guest in cluster.guests if not guest.template), key=lambda guest: guest.vmid)


def _row(guest: GuestEntry) -> dict[str, Any]:
    heartbeat = guest.heartbeat
    return {
        "cluster": guest.cluster,
        "id": guest.id,
        "name": guest.name,
        "status": guest.status,
        "states": list(agent_states(guest)),
        "last_seen": heartbeat.last_seen if heartbeat else None,
        "version": heartbeat.agent_version if heartbeat else None,
        "platform": heartbeat.agent_platform if heartbeat else None,
    }


def _print_table(rows: list[dict[str, Any]], now: float) -> None:
    head = ("CLUSTER", "GUEST", "NAME", "STATUS", "AGENT", "VERSION", "LAST SEEN")
    lines = [
        (
            row["cluster"],
            row["id"],
            row["name"] or "",
            row["status"],
            ", ".join(row["states"]),
            " ".join(filter(None, (row["version"], row["platform"]))),
            _ago(row["last_seen"], now),
        )
        for row in rows
    ]
    widths = [max(len(str(line[column])) for line in (head, *lines)) for column in range(len(head))]
    for line in (head, *lines):
        cells = (_printable(str(cell)) for cell in line)
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip())


def _printable(text: str) -> str:
    """Names, versions and errors come from outside: no control character of theirs reaches the terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _ago(moment: float | None, now: float) -> str:
    if moment is None:
        return "never"
    if now - moment < 7200:
        return f"{max(0.0, now - moment):.0f} s ago"
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(moment))
