"""The command line: `pvewatch --help` is the map. Each command calls one function."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import click

from pvewatch import __version__
from pvewatch.access.setup_commands import print_setup, setup_options
from pvewatch.config import ConfigError, Settings, load_settings
from pvewatch.logging import configure
from pvewatch.serve import CannotListen

EXIT_CONFIGURATION = 2


class SettingsSource:
    """Loads the configuration when a command asks for it, so that `--help` and `demo` need none."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def load(self, **options: Mapping[str, Any]) -> Settings:
        """The settings; mistakes are printed, all of them, and end the program with exit code 2.

        `options` are what the command line says, section by section.
        """
        try:
            return load_settings(self.path, options=options)
        except ConfigError as error:
            fail_configuration(error)


def fail_configuration(error: ConfigError) -> NoReturn:
    """Print every problem and leave with exit code 2."""
    for problem in error.problems:
        click.secho(f"{problem.place}: {problem.message}", fg="red", err=True)
        click.echo(f"    remedy: {problem.remedy}", err=True)
    sys.exit(EXIT_CONFIGURATION)


class _Lazy(click.Group):
    """A group whose commands are imported when they are named.

    The web process must never load proxmoxer, so starting it must not import what the other commands need.
    """

    def __init__(self, *args: Any, lazy: dict[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *self._lazy])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._lazy:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self._lazy[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.group(
    cls=_Lazy,
    lazy={
        "agents": "exporter.agents_cli:agents",
        "notify": "action_api.notify_cli:notify",
        "demo": "pvewatch.stack.cli:demo",
        "init": "pvewatch.access.init_command:init",
        "maintenance": "action_api.maintenance_cli:maintenance",
        "simulator": "pvewatch.simulator.cli:simulator",
        "status": "pvewatch.status.command:status",
        "threshold": "action_api.thresholds_cli:threshold",
        "up": "pvewatch.stack.cli:up",
        "user": "action_api.people_cli:user",
    },
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="pvewatch")
@click.option(
    "--config",
    "config_file",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="PVEWATCH_CONFIG",
    help="The configuration file; default pvewatch.yaml if it is there, else the environment (PROXMOX_NODE_1_NAME …).",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    envvar="PVEWATCH_LOG_LEVEL",
    show_default=True,
)
@click.option(
    "--log-format",
    type=click.Choice(["auto", "text", "json"]),
    default="auto",
    envvar="PVEWATCH_LOG_FORMAT",
    help="auto: text on a terminal, JSON lines elsewhere.",
)
@click.pass_context
def cli(context: click.Context, config_file: Path | None, log_level: str, log_format: Any) -> None:
    """Monitoring, alerting and safe automation for Proxmox VE."""
    configure(log_level, log_format)
    context.obj = SettingsSource(config_file)


@cli.command()
@click.option("--listen", metavar="HOST:PORT", help="Where it is served; default exporter.listen.")
@click.option(
    "--pve-config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The pve.yml of prometheus-pve-exporter: the logins of /pve.",
)
@click.option("--pve-target", "pve_targets", multiple=True, metavar="HOST", help="A host that /pve may ask; repeat it.")
@click.pass_obj
def exporter(
    settings: SettingsSource, listen: str | None, pve_config: Path | None, pve_targets: tuple[str, ...]
) -> None:
    """Read Proxmox VE, receive heartbeats, serve /metrics and /pve.

    With --pve-target and no cluster configured it serves /pve alone, as prometheus-pve-exporter does.
    """
    from exporter.main import run

    given = {"listen": listen, "pve_config": pve_config and pve_config.absolute(), "pve_targets": pve_targets}
    options = {name: value for name, value in given.items() if value}
    run(settings.load(exporter=options), lambda: load_settings(settings.path, options={"exporter": options}))


@cli.command("action-api")
@click.pass_obj
def action_api(settings: SettingsSource) -> None:
    """Serve the pages and webhooks of the action API."""
    from action_api.app import run

    run(settings.load())


@cli.command()
@click.option("--queue", type=click.Choice(["actions", "notifications"]), default="actions", show_default=True)
@click.pass_obj
def worker(settings: SettingsSource, queue: str) -> None:
    """Carry out what was asked for and recover hung guests; or deliver the relay's notifications."""
    # Each in a process of its own: who speaks to other people's services holds no token of Proxmox VE.
    if queue == "notifications":
        from action_api.notifiers.loop import run as deliver

        deliver(settings.load())
    else:
        from action_api.worker import run

        run(settings.load())


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@setup_options
@click.pass_obj
def check(settings: SettingsSource, as_json: bool, setup: bool, pve_version: str) -> None:
    """Check the configuration, ask every cluster, and print what mends what is missing.

    Exit status: 0 if all that is needed is there (warnings can be lived with), 1 if something is to be mended, such
    as a privilege or a certificate, 2 if the configuration is wrong, 3 if a cluster cannot be reached.
    """
    if setup:
        print_setup(pve_version)
        return
    from exporter.collectors import COLLECTORS
    from exporter.collectors.selection import selected
    from pvewatch.pve.check import check_all
    from pvewatch.pve.check_report import print_report

    loaded = settings.load()
    try:
        selected(COLLECTORS, loaded.exporter)
    except ConfigError as error:
        fail_configuration(error)
    report = check_all(loaded)
    if as_json:
        click.echo(json.dumps(report.as_json(), indent=2))
    else:
        print_report(report)
    sys.exit(report.exit_code)


@cli.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="The folder to write to.")
@click.option("--layout", type=click.Choice(["native", "compose"]), default="native", show_default=True)
@click.pass_obj
def render(settings: SettingsSource, out: Path, layout: Any) -> None:
    """Write the configuration of Prometheus, Alertmanager and Grafana."""
    from pvewatch.render import notices, write_all

    loaded = settings.load()
    try:
        written = write_all(loaded, out, layout)
    except OSError as error:
        place = error.filename or out
        raise click.ClickException(
            f"cannot write {place}: {error.strerror}; choose a folder of yours with --out"
        ) from error
    for path in written:
        click.echo(path)
    for notice in notices(loaded):
        click.secho(notice, fg="yellow", err=True)


@cli.command("agent-token")
@click.argument("cluster")
@click.argument("vmid", type=click.IntRange(100, 999_999_999))
@click.pass_obj
def agent_token(settings: SettingsSource, cluster: str, vmid: int) -> None:
    """Print the heartbeat token of one guest."""
    from exporter.heartbeats.keys import current_token
    from pvewatch.pve.grouping import group_as_remembered

    loaded = settings.load()
    # The exporter takes heartbeats under the name that joined hosts go by, and under no other.
    known = [group.cluster.name for group in group_as_remembered(loaded)]
    if cluster not in known:
        raise click.BadParameter(f"{cluster!r} is not a cluster; known are: {', '.join(known)}", param_hint="CLUSTER")
    try:
        click.echo(current_token(loaded.data_dir, cluster, vmid))
    except ConfigError as error:
        fail_configuration(error)


def main() -> None:
    """Run the command line; every expected failure is one clear message, never a traceback."""
    os.umask(0o077)
    try:
        cli()
    except ConfigError as error:
        fail_configuration(error)
    except CannotListen as error:
        click.secho(str(error), fg="red", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
