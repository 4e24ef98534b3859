"""The one schema of pvewatch.yaml and of its environment form.

`load_settings` reads either and returns `Settings`, or raises `ConfigError` with every mistake at once: the place of
each and what mends it. Secrets are named here (a file or an environment variable) and never read here: a process
resolves those it needs with `SecretRef.resolve` and `internal_secret`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from pvewatch.config_problems import ConfigError, Problem, problems_of
from pvewatch.environment import settings_from_environment
from pvewatch.secrets import InternalSecret, Secret, SecretRef, read_internal_secret

__all__ = [
    "Cluster",
    "ConfigError",
    "HostPort",
    "Problem",
    "Secret",
    "SecretRef",
    "Settings",
    "TokenRef",
    "internal_secret",
    "load_settings",
]

DEFAULT_CONFIG_FILE = Path("pvewatch.yaml")
DEFAULT_PVE_PORT = 8006

_CLUSTER_NAME = re.compile(r"^[a-z0-9][a-z0-9_-]{0,62}$")
_FINGERPRINT = re.compile(r"^([0-9A-F]{2}:){31}[0-9A-F]{2}$")
_TOKEN_ID = re.compile(r"^[^\s@!:/]+@[A-Za-z][A-Za-z0-9.\-_]+![A-Za-z][A-Za-z0-9.\-_]+$")
_LISTEN = re.compile(r"^(\[[0-9a-fA-F:]+\]|[^\s:]+):(\d{1,5})$")
_DURATION = re.compile(r"^\d+[hdwy]$")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HostPort(_Section):
    """Where a Proxmox VE host answers; `str()` gives `host:port`."""

    host: str
    port: int = Field(default=DEFAULT_PVE_PORT, ge=1, le=65535)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: object) -> HostPort:
        """Read `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address."""
        if isinstance(text, HostPort):
            return text
        if isinstance(text, dict):
            return cls.model_validate(text)
        match = re.fullmatch(r"\[([0-9a-fA-F:.]+)\](?::(\d{1,5}))?|([^\s:/]+)(?::(\d{1,5}))?", str(text).strip())
        if match:
            port = match[2] or match[4] or DEFAULT_PVE_PORT
            return cls(host=match[1] or match[3], port=int(port))
        if re.fullmatch(r"[0-9a-fA-F:.]*:[0-9a-fA-F:.]*:[0-9a-fA-F:.]*", str(text).strip()):
            return cls(host=str(text).strip())
        raise ValueError(f"{text!r} is not host or host:port (no https:// and no path)")


def _fingerprint(value: str) -> str:
    text = value.upper().replace("-", ":")
    if re.fullmatch(r"[0-9A-F]{64}", text):
        text = ":".join(text[i : i + 2] for i in range(0, 64, 2))
    if not _FINGERPRINT.fullmatch(text):
        raise ValueError(
            "a certificate fingerprint is the SHA-256, 32 pairs of hex digits; on the host: "
            "openssl x509 -noout -fingerprint -sha256 -in /etc/pve/local/pve-ssl.pem"
        )
    return text


def _token_id(value: str) -> str:
    if not _TOKEN_ID.fullmatch(value):
        raise ValueError("a token id looks like pvewatch@pve!monitor (user@realm!tokenname)")
    return value


def _listen(value: str) -> str:
    match = _LISTEN.fullmatch(value)
    if not match or int(match[2]) > 65535:
        raise ValueError("write host:port, for example 127.0.0.1:9221")
    return value


def _url(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/]+(/[^\s]*)?", value):
        raise ValueError("write a full address such as http://127.0.0.1:9221")
    return value.rstrip("/")


Listen = Annotated[str, AfterValidator(_listen)]
Url = Annotated[str, AfterValidator(_url)]
Seconds = Annotated[float, Field(gt=0, le=31_536_000)]


class TokenRef(_Section):
    """An API token: its id and where its secret is. Written with `token_secret_file` or `token_secret_env`."""

    token_id: Annotated[str, AfterValidator(_token_id)]
    token_secret_file: Path | None = None
    token_secret_env: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.token_secret_file is None) == (self.token_secret_env is None):
            raise ValueError("give either token_secret_file or token_secret_env (never the secret itself)")
        return self

    @property
    def secret(self) -> SecretRef:
        """Where the secret is; reading it is `.resolve()`, by the process that needs it."""
        return SecretRef(file=self.token_secret_file, env=self.token_secret_env)


class Cluster(_Section):
    """One Proxmox VE cluster or standalone host, under the name that all metrics carry."""

    name: str
    hosts: Annotated[
        tuple[Annotated[HostPort, BeforeValidator(HostPort.parse)], ...], Field(min_length=1, max_length=64)
    ]
    fingerprint: Annotated[str, AfterValidator(_fingerprint)] | None = None
    ca_file: Path | None = None
    verify_tls: bool = True
    monitor: TokenRef | None = None
    power: TokenRef | None = None
    from_environment: bool = Field(default=False, exclude=True)

    @field_validator("name")
    @classmethod
    def _named_well(cls, value: str) -> str:
        if not _CLUSTER_NAME.fullmatch(value):
            raise ValueError("use 1 to 63 lower-case letters, digits, - and _, beginning with a letter or digit")
        return value

    @model_validator(mode="after")
    def _one_way_of_trust(self) -> Self:
        if self.fingerprint and self.ca_file:
            raise ValueError("give fingerprint or ca_file, not both")
        if not self.verify_tls and (self.fingerprint or self.ca_file):
            raise ValueError("verify_tls: false contradicts fingerprint and ca_file; remove one")
        return self

    @property
    def web_url(self) -> str:
        """The Proxmox VE web interface of the first host."""
        return f"https://{self.hosts[0]}"


class ExporterSettings(_Section):
    """The process that reads Proxmox VE and receives heartbeats. Intervals and ages are seconds."""

    listen: Listen = "127.0.0.1:9221"
    url: Url | None = None
    heartbeat_listen: Listen = "127.0.0.1:9223"
    heartbeat_url: Url | None = None
    heartbeat_tls_cert: Path | None = None
    heartbeat_tls_key: Path | None = None
    poll_interval_seconds: Seconds = 10
    node_interval_seconds: Seconds = 60
    config_interval_seconds: Seconds = 600
    figures_expire_seconds: Seconds = 120
    heartbeat_timeout_seconds: Seconds = 180
    max_heartbeat_bytes: int = Field(default=65536, ge=1024, le=1_048_576)

    @model_validator(mode="after")
    def _whole_tls(self) -> Self:
        if (self.heartbeat_tls_cert is None) != (self.heartbeat_tls_key is None):
            raise ValueError("heartbeat_tls_cert and heartbeat_tls_key go together")
        return self


class ActionApiSettings(_Section):
    """The pages and the worker that people and Alertmanager ask."""

    listen: Listen = "127.0.0.1:9280"
    url: Url | None = None
    public_url: Url | None = None
    database_url: str | None = None
    require_second_factor: bool = True
    session_hours: float = Field(default=12, gt=0, le=720)
    secure_cookies: bool | None = None


class AutomationSettings(_Section):
    """What the worker may do by itself, and what stops it. Times are seconds."""

    enabled: bool = True
    tag: str = Field(default="pvewatch-auto-reset", pattern=r"^[a-z0-9_][a-z0-9_\-+.]*$")
    guests: tuple[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*/[1-9][0-9]{2,8}$")], ...] = ()
    permitted_actions: tuple[Literal["start", "shutdown", "reset"], ...] = ("start", "shutdown", "reset")
    allow_ha: bool = False
    grace_after_boot_seconds: Seconds = 300
    cool_down_seconds: Seconds = 600
    max_attempts: int = Field(default=2, ge=1, le=10)
    attempt_window_seconds: Seconds = 86400
    max_silent_ratio: float = Field(default=0.5, gt=0, le=1)
    min_silent_guests: int = Field(default=3, ge=2)
    recovery_timeout_seconds: Seconds = 300
    task_timeout_seconds: Seconds = 600


class PrometheusSettings(_Section):
    """The Prometheus that pvewatch starts or is pointed at."""

    listen: Listen = "127.0.0.1:9090"
    url: Url | None = None
    retention: str = "90d"
    scrape_interval_seconds: Seconds = 10
    evaluation_interval_seconds: Seconds = 10

    @field_validator("retention")
    @classmethod
    def _a_duration(cls, value: str) -> str:
        if not _DURATION.fullmatch(value):
            raise ValueError("write a whole number and h, d, w or y, for example 90d")
        return value


class AlertmanagerSettings(_Section):
    """The Alertmanager that pvewatch starts or is pointed at. Times are seconds."""

    listen: Listen = "127.0.0.1:9093"
    url: Url | None = None
    group_wait_seconds: Seconds = 30
    group_interval_seconds: Seconds = 300
    repeat_interval_seconds: Seconds = 14400


class GrafanaSettings(_Section):
    """The Grafana that pvewatch starts (where one is installed) or links to."""

    listen: Listen = "127.0.0.1:3000"
    url: Url | None = None


class AlertingSettings(_Section):
    """How the shipped rules are rendered: `time_scale` multiplies each rule's `for:` (the demo lowers it)."""

    time_scale: float = Field(default=1.0, gt=0, le=10)


def _own_url(listen: str, url: str | None) -> str:
    """`url`, or http:// with the address of `listen`; a wildcard address is reached over loopback."""
    if url:
        return url
    host, _, port = listen.rpartition(":")
    return f"http://{ {'0.0.0.0': '127.0.0.1', '[::]': '[::1]'}.get(host, host) }:{port}"  # noqa: S104  read, not bound


class Settings(_Section):
    """All of pvewatch.yaml. Relative paths were resolved against the file's folder when it was loaded."""

    clusters: Annotated[tuple[Cluster, ...], Field(max_length=200)] = ()
    data_dir: Path = Path("data")
    exporter: ExporterSettings = ExporterSettings()
    action_api: ActionApiSettings = ActionApiSettings()
    automation: AutomationSettings = AutomationSettings()
    prometheus: PrometheusSettings = PrometheusSettings()
    alertmanager: AlertmanagerSettings = AlertmanagerSettings()
    grafana: GrafanaSettings = GrafanaSettings()
    alerting: AlertingSettings = AlertingSettings()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [cluster.name for cluster in self.clusters]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"clusters: the name {twice[0]!r} is used twice; every cluster needs a name of its own")
        return self

    def cluster(self, name: str) -> Cluster | None:
        """The cluster of that name, or None."""
        return next((cluster for cluster in self.clusters if cluster.name == name), None)

    @property
    def exporter_url(self) -> str:
        """Where other processes reach the exporter."""
        return _own_url(self.exporter.listen, self.exporter.url)

    @property
    def heartbeat_url(self) -> str:
        """Where agents reach the heartbeat listener."""
        own = _own_url(self.exporter.heartbeat_listen, self.exporter.heartbeat_url)
        if self.exporter.heartbeat_tls_cert and not self.exporter.heartbeat_url:
            return own.replace("http://", "https://", 1)
        return own

    @property
    def action_api_url(self) -> str:
        """Where other processes (Prometheus, Alertmanager) reach the action API."""
        return _own_url(self.action_api.listen, self.action_api.url)

    @property
    def public_url(self) -> str:
        """Where people reach the action API; links in messages and dashboards begin with it."""
        return self.action_api.public_url or self.action_api_url

    @property
    def prometheus_url(self) -> str:
        """Where Prometheus answers."""
        return _own_url(self.prometheus.listen, self.prometheus.url)

    @property
    def alertmanager_url(self) -> str:
        """Where Alertmanager answers."""
        return _own_url(self.alertmanager.listen, self.alertmanager.url)

    @property
    def grafana_url(self) -> str:
        """Where Grafana answers."""
        return _own_url(self.grafana.listen, self.grafana.url)

    @property
    def database_url(self) -> str:
        """The action API's database, an SQLAlchemy address."""
        return self.action_api.database_url or f"sqlite:///{self.data_dir / 'action_api.db'}"

    @property
    def secure_cookies(self) -> bool:
        """Whether cookies are sent over https only."""
        if self.action_api.secure_cookies is not None:
            return self.action_api.secure_cookies
        return self.public_url.startswith("https://")


def load_settings(path: Path | None = None, env: Mapping[str, str] | None = None) -> Settings:
    """Read the configuration file, else the environment form, into Settings.

    `path` None means pvewatch.yaml in the working directory if it is there, else the environment alone
    (PROXMOX_NODE_<n>_* for the clusters). PVEWATCH_<SECTION>_<FIELD> overrides any single setting in both cases.

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
    for section, values in overlay.items():
        if isinstance(values, dict) and isinstance(document.get(section) or {}, dict):
            document[section] = {**(document.get(section) or {}), **values}
        else:
            document[section] = values
    try:
        settings = Settings.model_validate(document)
    except ValidationError as error:
        raise ConfigError([*problems, *problems_of(error, source)]) from error
    if not settings.clusters:
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
        if isinstance(annotation, type) and issubclass(annotation, _Section):
            sections[name] = {key: value.annotation for key, value in annotation.model_fields.items()}
        elif name != "clusters":
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
        }
    )
    return settings.model_copy(update={"clusters": clusters, "data_dir": fix(settings.data_dir), "exporter": exporter})
