"""The one schema of pvewatch.yaml and of its environment form.

`load_settings` reads either and returns `Settings`, or raises `ConfigError` with every mistake at once: the place of
each and what mends it. Secrets are named here (a file or an environment variable) and never read here: a process
resolves those it needs with `SecretRef.resolve` and `internal_secret`. The settings themselves are in settings.py.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pvewatch.config_problems import ConfigError, Problem, problems_of
from pvewatch.environment import settings_from_environment
from pvewatch.secrets import InternalSecret, Secret, SecretRef, read_internal_secret
from pvewatch.settings import (
    ActionApiSettings,
    AutomationSettings,
    Cluster,
    ExporterSettings,
    HostPort,
    Settings,
    TokenRef,
)
from pvewatch.settings_alerting import AlertingSettings, Thresholds
from pvewatch.settings_base import Section
from pvewatch.settings_channels import SecretSource
from pvewatch.settings_engines import AlertmanagerSettings, GrafanaSettings, PrometheusSettings

__all__ = [
    "ActionApiSettings",
    "AlertingSettings",
    "AlertmanagerSettings",
    "AutomationSettings",
    "Cluster",
    "ConfigError",
    "ExporterSettings",
    "GrafanaSettings",
    "HostPort",
    "Problem",
    "PrometheusSettings",
    "Secret",
    "SecretRef",
    "Section",
    "Settings",
    "Thresholds",
    "TokenRef",
    "internal_secret",
    "load_settings",
]

DEFAULT_CONFIG_FILE = Path("pvewatch.yaml")


def load_settings(
    path: Path | None = None,
    env: Mapping[str, str] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> Settings:
    """Read the configuration file, else the environment form, into Settings.

    `path` None means pvewatch.yaml in the working directory if it is there, else the environment alone
    (PROXMOX_NODE_<n>_* for the clusters). PVEWATCH_<SECTION>_<FIELD> overrides any single setting in both cases, and
    `options` (section → setting → value), what the command line says, overrides that.

    Raises ConfigError with every mistake found.
    """
    environment = os.environ if env is None else env
    if path is None and DEFAULT_CONFIG_FILE.is_file():
        path = DEFAULT_CONFIG_FILE
    document: dict[str, Any] = {}
    problems: list[Problem] = []
    if path is not None:
        document = _read_yaml(path)
    source = str(path) if path is not None else "environment"
    overlay, env_problems = settings_from_environment(environment, _section_fields(), has_file=path is not None)
    problems += env_problems
    for section, values in (*overlay.items(), *(options or {}).items()):
        if isinstance(values, dict) and isinstance(document.get(section) or {}, dict):
            document[section] = {**(document.get(section) or {}), **values}
        else:
            document[section] = values
    try:
        settings = Settings.model_validate(document)
    except ValidationError as error:
        raise ConfigError([*problems, *problems_of(error, source)]) from error
    if not settings.clusters and not settings.exporter.pve_targets:
        problems.append(
            Problem(
                source,
                "no cluster is configured",
                f"write {DEFAULT_CONFIG_FILE} (see pvewatch.example.yaml), or set PROXMOX_NODE_1_NAME, _HOST, "
                "_TOKEN_ID and _TOKEN_SECRET",
            )
        )
    if problems:
        raise ConfigError(problems)
    return _absolute(settings, path.parent if path is not None else Path())


def internal_secret(settings: Settings, name: InternalSecret, *, create: bool = False) -> Secret:
    """One of the three secrets under <data_dir>/secrets that pvewatch's processes share.

    With `create` it is made on first use. Raises ConfigError when it is missing and may not be made.
    """
    return read_internal_secret(settings.data_dir, name, create=create)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            [Problem(str(path), f"cannot be read: {error.strerror}", "check the path given with --config")]
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        text = getattr(error, "problem", None) or "it is not UTF-8 text"
        raise ConfigError(
            [Problem(place, f"is not YAML: {text}", "mend the line (indentation, quotes, colons)")]
        ) from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError([Problem(str(path), "is not a mapping of settings", "begin with `clusters:`")])
    return document


def _section_fields() -> dict[str, dict[str, Any]]:
    """Section name → field name → annotation, for every setting the environment may override."""
    sections: dict[str, dict[str, Any]] = {"": {}}
    for name, field in Settings.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, Section):
            sections[name] = {key: value.annotation for key, value in annotation.model_fields.items()}
        elif name not in ("clusters", "channels"):
            sections[""][name] = annotation
    return sections


def _absolute(settings: Settings, base: Path) -> Settings:
    """Paths of the file are relative to the file's folder, so that a command may run from anywhere."""

    def fix(path: Path | None) -> Path | None:
        return None if path is None else (base / path.expanduser()).absolute()

    def fix_token(token: TokenRef | None) -> TokenRef | None:
        return token and token.model_copy(update={"token_secret_file": fix(token.token_secret_file)})

    clusters = tuple(
        c.model_copy(update={"ca_file": fix(c.ca_file), "monitor": fix_token(c.monitor), "power": fix_token(c.power)})
        for c in settings.clusters
    )
    exporter = settings.exporter.model_copy(
        update={
            "heartbeat_tls_cert": fix(settings.exporter.heartbeat_tls_cert),
            "heartbeat_tls_key": fix(settings.exporter.heartbeat_tls_key),
            "heartbeat_ca_file": fix(settings.exporter.heartbeat_ca_file),
            "pve_config": fix(settings.exporter.pve_config),
        }
    )

    def fix_source(value: object) -> object:
        return value.model_copy(update={"file": fix(value.file)}) if isinstance(value, SecretSource) else value

    channels = tuple(
        channel.model_copy(update={name: fix_source(value) for name, value in channel}) for channel in settings.channels
    )
    return settings.model_copy(
        update={
            "clusters": clusters,
            "data_dir": fix(settings.data_dir),
            "exporter": exporter,
            "channels": channels,
        }
    )
