"""What the stack consists of: the command of each process and how to see that it is ready."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pvewatch.config import Settings
from pvewatch.render import alertmanager_flags, blackbox_flags, prometheus_flags
from pvewatch.stack import tools
from pvewatch.stack.processes import Part, StackError, answers

VERSION_SECONDS = 10.0
GRAFANA_DOWNLOAD = "https://grafana.com/grafana/download"


def pvewatch(*arguments: str | Path, config: Path | None = None) -> tuple[str, ...]:
    """The command line of one of pvewatch's own commands, run by this very Python."""
    chosen = ("--config", str(config)) if config is not None else ()
    return (sys.executable, "-m", "pvewatch.cli", *chosen, *map(str, arguments))


def services(settings: Settings, config: Path | None) -> list[Part]:
    """pvewatch's own processes, in the order in which they need each other."""
    return [
        Part(
            "exporter",
            pvewatch("exporter", config=config),
            answers(f"{settings.exporter_url}/-/healthy"),
            environment=_without_tokens(settings, but="monitor"),
        ),
        Part(
            "action-api",
            pvewatch("action-api", config=config),
            answers(f"{settings.action_api_url}/-/healthy"),
            environment=_without_tokens(settings),
        ),
        Part("worker", pvewatch("worker", config=config), environment=_without_tokens(settings, but="power")),
        Part(
            "worker-notifications",
            pvewatch("worker", "--queue", "notifications", config=config),
            environment=_without_tokens(settings, but="channels"),
        ),
    ]


def with_alertmanagers_version(settings: Settings) -> Settings:
    """`settings` that name the version of the Alertmanager that `engines` starts, unless they name one already.

    One that does not tell its version is rendered for as the oldest that is supported.
    """
    if settings.alertmanager.version is not None:
        return settings
    command = [str(tools.find("alertmanager")), "--version"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=VERSION_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return settings
    # Since 0.16 on standard output, before on standard error: "alertmanager, version 0.25.0+ds (branch: …".
    said = re.search(r"\bversion (\d+\.\d+\.\d+)", done.stdout + done.stderr)
    if said is None:
        return settings
    known = settings.alertmanager.model_copy(update={"version": said[1]})
    return settings.model_copy(update={"alertmanager": known})


def engines(settings: Settings, rendered: Iterable[Path]) -> list[Part]:
    """Alertmanager, blackbox exporter and Prometheus with the files `rendered` for them, history in the data directory.

    Raises ToolMissing when one of them is nowhere to be found.
    """
    files = list(rendered)
    prometheus, alertmanager = tools.find("prometheus"), tools.find("alertmanager")
    pages = tools.prometheus_assets(prometheus)
    return [
        Part(
            "alertmanager",
            (
                str(alertmanager),
                f"--config.file={_only(files, 'alertmanager.yml')}",
                f"--storage.path={_folder(settings, 'alertmanager')}",
                *alertmanager_flags(settings),
            ),
            answers(f"{settings.alertmanager_url}/-/ready"),
            environment=_without_tokens(settings),
        ),
        Part(
            "blackbox",
            (
                str(tools.find("blackbox")),
                f"--config.file={_only(files, 'blackbox.yml')}",
                *blackbox_flags(settings),
            ),
            answers(f"{settings.blackbox_url}/-/healthy"),
            environment=_without_tokens(settings),
        ),
        Part(
            "prometheus",
            (
                str(prometheus),
                f"--config.file={_only(files, 'prometheus.yml')}",
                f"--storage.tsdb.path={_folder(settings, 'prometheus')}",
                *prometheus_flags(settings),
                *([f"--web.local-assets={pages}"] if pages else []),
            ),
            answers(f"{settings.prometheus_url}/-/ready"),
            environment=_without_tokens(settings),
        ),
    ]


def grafana_program() -> Path | None:
    """The Grafana server on PATH, by its new or its old name."""
    found = shutil.which("grafana") or shutil.which("grafana-server")
    return Path(found).resolve() if found else None


def grafana(settings: Settings, rendered: Path) -> Part | None:
    """Grafana, where one is installed; None elsewhere. No distribution we know of packages it."""
    program = grafana_program()
    if program is None:
        return None
    host, _, port = settings.grafana.listen.rpartition(":")
    data = _folder(settings, "grafana")
    # Packages put pages and defaults in /usr/share/grafana; an unpacked archive has them beside bin/.
    homes = (Path("/usr/share/grafana"), program.parents[1])
    home = next((folder for folder in homes if (folder / "conf" / "defaults.ini").is_file()), homes[0])
    server = ("server",) if program.name == "grafana" else ()
    return Part(
        "grafana",
        (str(program), *server, f"--homepath={home}"),
        answers(f"{settings.grafana_url}/api/health"),
        ready_timeout_seconds=60,
        environment={
            **_without_tokens(settings),
            "GF_SERVER_HTTP_ADDR": host.strip("[]"),
            "GF_SERVER_HTTP_PORT": port,
            "GF_SERVER_ROOT_URL": settings.grafana_url,
            "GF_PATHS_DATA": str(data),
            "GF_PATHS_LOGS": str(data / "log"),
            "GF_PATHS_PROVISIONING": str(_provisioning(rendered)),
            "GF_ANALYTICS_REPORTING_ENABLED": "false",
            "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
            "GF_USERS_ALLOW_SIGN_UP": "false",
        },
    )


def how_to_get_grafana(settings: Settings) -> str:
    """One line for machines without Grafana."""
    return f"no grafana on PATH: install it from {GRAFANA_DOWNLOAD} and it starts with the rest, {settings.grafana_url}"


def _without_tokens(
    settings: Settings, *, but: Literal["monitor", "power", "channels"] | None = None
) -> dict[str, str]:
    """Values in place of the secrets in our environment; a part is handed only those of the kind it needs.

    Replaced, not removed: a part that never reads a token still reads the settings that name its variable.
    """
    monitor = {cluster.monitor.token_secret_env for cluster in settings.clusters if cluster.monitor}
    power = {cluster.power.token_secret_env for cluster in settings.clusters if cluster.power}
    channels = {source.env for channel in settings.channels for source in channel.secrets.values()}
    needed = {"monitor": monitor, "power": power, "channels": channels, None: set()}[but]
    return {variable: "withheld" for variable in (monitor | power | channels) - needed if variable is not None}


def _provisioning(rendered: Path) -> Path:
    """Grafana's provisioning folder below the rendered files: the one that holds datasources/."""
    found = next(iter(sorted(rendered.glob("**/datasources"))), None)
    if found is None:
        raise StackError(f"{rendered}: nothing was rendered for Grafana; this installation of pvewatch is not whole")
    return found.parent


def _only(files: list[Path], name: str) -> Path:
    found = next((path for path in files if path.name == name), None)
    if found is None:
        raise StackError(f"{name} was not rendered; this installation of pvewatch is not whole")
    return found.absolute()


def _folder(settings: Settings, name: str) -> Path:
    folder = settings.data_dir.absolute() / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
