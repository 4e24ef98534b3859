"""`pvewatch check --setup`: the commands that make the tokens, for people who rather copy them than run a script.

There is one source, deploy/setup-token.sh: this runs it with --print, in which it asks nothing and changes nothing.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import click

from pvewatch.bundle import bundle_path

PRINT_SECONDS = 20.0


class CannotPrint(Exception):
    """The commands cannot be printed; the message says why and what to do."""


def setup_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `pvewatch check` that go with --setup; they arrive as `setup` and `setup_arguments`."""

    def collect(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        given = context.meta.setdefault("pvewatch.setup", [])
        for each in value if isinstance(value, tuple) else [value]:
            if each is True:
                given.append(parameter.opts[0])
            elif each not in (None, False):
                given += [parameter.opts[0], str(each)]

    repeated: dict[str, Any] = {"multiple": True, "expose_value": False, "callback": collect}
    for option in (
        click.option(
            "--node", metavar="NAME", help="With --setup: a node whose network may fetch templates.", **repeated
        ),
        click.option("--bridge", metavar="NAME", help="With --setup: a bridge for provisioned guests.", **repeated),
        click.option("--storage", metavar="NAME", help="With --setup: a storage for provisioned guests.", **repeated),
        click.option("--pool", metavar="NAME", help="With --setup: a pool whose guests power may touch.", **repeated),
        click.option(
            "--all-guests",
            is_flag=True,
            expose_value=False,
            callback=collect,
            help="With --setup: power may touch every guest.",
        ),
        click.option(
            "--pve-version", type=click.Choice(["8", "9"]), default="9", show_default=True, help="With --setup."
        ),
        click.option(
            "--setup", is_flag=True, help="Print the commands that make users, roles and tokens; ask nothing."
        ),
    ):
        command = option(command)
    return command


def given_options() -> list[str]:
    """The options among `setup_options` that this command line has, as setup-token.sh takes them."""
    found: list[str] = click.get_current_context().meta.get("pvewatch.setup", [])
    return found


def setup_commands(version: str, arguments: list[str]) -> str:
    """The commands for an empty host of Proxmox VE `version` ("8" or "9"), one a line.

    `arguments` are those of setup-token.sh (--pool NAME …). Raises CannotPrint, with its words where it refuses them.
    """
    script = bundle_path("deploy/setup-token.sh")
    try:
        done = subprocess.run(
            ["bash", str(script), "create", "--print", "--pve-version", version, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PRINT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotPrint(
            f"bash cannot run {script} ({error}); copy it to a Proxmox VE host and run it there"
        ) from error
    if done.returncode:
        raise CannotPrint(
            done.stderr.strip().removeprefix("setup-token.sh: ").replace("setup-token.sh --help", str(script))
        )
    return done.stdout


def print_setup(version: str) -> None:
    """Print the commands and what to do with them. Raises click's UsageError."""
    try:
        commands = setup_commands(version, given_options())
    except CannotPrint as error:
        raise click.UsageError(str(error)) from error
    click.echo(
        f"# As root on one node of the cluster, Proxmox VE {version}; the same as deploy/setup-token.sh does there."
    )
    click.echo("# Lines with `token add` print a secret, once: keep its `value` for `pvewatch init`.")
    click.echo(commands, nl=False)
