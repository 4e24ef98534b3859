"""The command line: `pvewatch --help` is the map. Each command calls one function."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from pvewatch import __version__
from pvewatch.config import ConfigError, Settings, internal_secret, load_settings
from pvewatch.logging import configure
from pvewatch.serve import PortTaken

EXIT_CONFIGURATION = 2


class _Settings:
    """Loads the configuration when a command asks for it, so that `--help` and `demo` need none."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def load(self) -> Settings:
        try:
            return load_settings(self.path)
        except ConfigError as error:
            fail_configuration(error)


def fail_configuration(error: ConfigError) -> Any:
    """Print every problem and leave with exit code 2."""
    for problem in error.problems:
        click.secho(f"{problem.place}: {problem.message}", fg="red", err=True)
        click.echo(f"    remedy: {problem.remedy}", err=True)
    sys.exit(EXIT_CONFIGURATION)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
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
    context.obj = _Settings(config_file)


@cli.command()
@click.pass_obj
def exporter(settings: _Settings) -> None:
    """Read Proxmox VE, receive heartbeats, serve /metrics."""
    from exporter.main import run

    run(settings.load())


@cli.command("action-api")
@click.pass_obj
def action_api(settings: _Settings) -> None:
    """Serve the pages and webhooks of the action API."""
    from action_api.app import run

    run(settings.load())


@cli.command()
@click.option("--queue", type=click.Choice(["actions"]), default="actions", show_default=True)
@click.pass_obj
def worker(settings: _Settings, queue: str) -> None:
    """Carry out what was asked for and recover hung guests."""
    from action_api.worker import run

    run(settings.load(), queue)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@click.pass_obj
def check(settings: _Settings, as_json: bool) -> None:
    """Check the configuration and ask every cluster; exit 0 if all is well, 1 if something is missing."""
    from pvewatch.pve.check import check_all, print_report

    report = check_all(settings.load())
    if as_json:
        click.echo(json.dumps(report.as_json(), indent=2))
    else:
        print_report(report)
    sys.exit(0 if report.ok else 1)


@cli.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="The folder to write to.")
@click.option("--layout", type=click.Choice(["native", "compose"]), default="native", show_default=True)
@click.pass_obj
def render(settings: _Settings, out: Path, layout: Any) -> None:
    """Write the configuration of Prometheus, Alertmanager and Grafana."""
    from pvewatch.render import write_all

    for path in write_all(settings.load(), out, layout):
        click.echo(path)


@cli.command("agent-token")
@click.argument("cluster")
@click.argument("vmid", type=click.IntRange(100, 999_999_999))
@click.pass_obj
def agent_token(settings: _Settings, cluster: str, vmid: int) -> None:
    """Print the heartbeat token of one guest."""
    from exporter.heartbeats.tokens import token

    loaded = settings.load()
    if loaded.cluster(cluster) is None:
        known = ", ".join(entry.name for entry in loaded.clusters)
        raise click.BadParameter(f"{cluster!r} is not configured; known are: {known}", param_hint="CLUSTER")
    try:
        secret = internal_secret(loaded, "heartbeat", create=True)
    except ConfigError as error:
        fail_configuration(error)
    click.echo(token(secret, cluster, vmid))


class _Late(click.Group):
    """A group whose commands live in a package that only these commands need to import."""

    def __init__(self, *args: Any, module: str, attribute: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._module, self._attribute = module, attribute

    def _real(self) -> click.Group:
        import importlib

        group = getattr(importlib.import_module(self._module), self._attribute)
        assert isinstance(group, click.Group)
        return group

    def list_commands(self, ctx: click.Context) -> list[str]:
        return self._real().list_commands(ctx)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return self._real().get_command(ctx, name)


@cli.group(cls=_Late, module="action_api.people_cli", attribute="user")
@click.pass_context
def user(context: click.Context) -> None:
    """People who sign in to the action API."""
    context.obj = context.obj.load()


def _commands_of_other_packages() -> None:
    """The two commands with many options are declared where they are done; importing them is cheap."""
    from pvewatch.simulator.cli import simulator
    from pvewatch.stack.cli import demo, up

    cli.add_command(simulator)
    cli.add_command(demo)
    cli.add_command(up)


_commands_of_other_packages()


def main() -> None:
    """Run the command line; every expected failure is one clear message, never a traceback."""
    os.umask(0o077)
    try:
        cli()
    except ConfigError as error:
        fail_configuration(error)
    except PortTaken as error:
        click.secho(str(error), fg="red", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
