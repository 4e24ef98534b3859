"""`pvewatch up`: the native stack against the configured clusters, on one machine without containers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pvewatch.config import Settings
from pvewatch.render import notices, write_all
from pvewatch.stack import parts, ports, tools
from pvewatch.stack.first_login import FirstLogin, make_first_login
from pvewatch.stack.observe import Prometheus, summary
from pvewatch.stack.processes import Processes, StackError, Stopped, stop_signals
from pvewatch.stack.screen import Screen

STATUS_SECONDS = 2.0
MOVE_REMEDY = "set {setting} in pvewatch.yaml to another address"


@dataclass(frozen=True, slots=True)
class Running:
    """What was started: the login made on the first start, and whether Grafana is there."""

    login: FirstLogin | None
    has_grafana: bool


def run(settings: Settings, config: Path | None = None) -> int:
    """Start the stack, show how it is, and stop it on Ctrl-C or SIGTERM; returns the exit status.

    `config` is the file that `settings` were read from, None where they came from the place every process looks at.
    """
    with Screen() as screen, stop_signals() as stop:
        try:
            require_tools()
            ports.require_free(ports.addresses(settings), remedy=MOVE_REMEDY, unless=absent(settings))
            make_folder(settings.data_dir, remedy="set data_dir in pvewatch.yaml to a folder of yours")
        except StackError as error:
            screen.fail(str(error))
            return 1
        environment = {**os.environ, "PATH": tools.search_path()}
        processes = Processes(settings.data_dir / "logs", stop, environment)
        try:
            running = start(settings, config, processes, screen, environment)
            announce(settings, running, screen)
            prometheus = Prometheus(settings.prometheus_url)
            while True:
                processes.check()
                screen.status(summary(prometheus))
                processes.pause(STATUS_SECONDS)
        except Stopped:
            return 0
        except StackError as error:
            screen.fail(str(error))
            return 1
        finally:
            with screen.step("stopping everything"):
                processes.stop()


def require_tools() -> None:
    """Fetch what is missing and can be fetched; raises StackError where a person has to install it."""
    try:
        tools.ensure()
    except tools.ToolMissing as error:
        raise StackError(str(error)) from error


def make_folder(folder: Path, *, remedy: str) -> None:
    """Make the folder that everything is kept in; raises StackError where that is impossible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StackError(f"{folder} cannot be made: {error.strerror}; {remedy}") from error


def absent(settings: Settings) -> list[str]:
    """The listeners that will not be opened here: Grafana's, where there is no Grafana."""
    return [] if parts.grafana_program() else ["grafana"]


def start(
    settings: Settings, config: Path | None, processes: Processes, screen: Screen, environment: Mapping[str, str]
) -> Running:
    """Render the files, with the secrets they name, and start every part in order. Raises StackError or Stopped."""
    rendered = settings.data_dir / "rendered"
    with screen.step("writing the configuration of Prometheus, Alertmanager and Grafana"):
        settings = parts.with_alertmanagers_version(settings)
        files = write_all(settings, rendered, "native")
    for notice in notices(settings):
        screen.say(notice)
    for part in [*parts.services(settings, config), *parts.engines(settings, files)]:
        with screen.step(f"starting {part.name}"):
            processes.start(part)
    login = make_first_login(config, environment)
    grafana = parts.grafana(settings, rendered)
    if grafana is not None:
        with screen.step("starting grafana"):
            processes.start(grafana)
    return Running(login, grafana is not None)


def announce(settings: Settings, running: Running, screen: Screen) -> None:
    """Print where everything answers and, once, how to sign in."""
    rows = [
        ("action API", settings.public_url, "guests, actions, incidents"),
        ("Prometheus", settings.prometheus_url, "figures, rules and alerts"),
        ("Alertmanager", settings.alertmanager_url, "who is told, silences (by amtool)"),
        ("exporter", f"{settings.exporter_url}/metrics", "what Prometheus reads"),
        ("heartbeats", settings.heartbeat_url, "where agents report"),
    ]
    if running.has_grafana:
        rows.insert(0, ("Grafana", settings.grafana_url, "dashboards (first login admin / admin)"))
    screen.addresses(rows)
    if not running.has_grafana:
        screen.say(parts.how_to_get_grafana(settings))
    if running.login is not None:
        screen.say(f"first login: [bold]{running.login.name}[/bold]  password: [bold]{running.login.password}[/bold]")
        screen.say("It is shown this once; `pvewatch user` makes others.")
    screen.say(f"logs: {settings.data_dir / 'logs'}   Ctrl-C stops everything")
    screen.say("")
