"""Every setting of pvewatch: its type, default, bounds and meaning.

The text below each setting is its description in docs/configuration.md.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    field_validator,
    model_validator,
)

from pvewatch.secrets import SecretRef
from pvewatch.settings_alerting import AlertingSettings, Thresholds
from pvewatch.settings_base import Listen, Seconds, Section, Url
from pvewatch.settings_channels import Channel
from pvewatch.settings_engines import AlertmanagerSettings, GrafanaSettings, PrometheusSettings
from pvewatch.settings_probes import BlackboxSettings, ProbesSettings

DEFAULT_PVE_PORT = 8006

_CLUSTER_NAME = re.compile(r"^[a-z0-9][a-z0-9_-]{0,62}$")
_FINGERPRINT = re.compile(r"^([0-9A-F]{2}:){31}[0-9A-F]{2}$")
_TOKEN_ID = re.compile(r"^[^\s@!:/]+@[A-Za-z][A-Za-z0-9.\-_]+![A-Za-z][A-Za-z0-9.\-_]+$")


def check_fingerprint(value: str) -> str:
    """A SHA-256 fingerprint in the form AA:BB:…; raises ValueError saying how to get one."""
    text = value.upper().replace("-", ":")
    if re.fullmatch(r"[0-9A-F]{64}", text):
        text = ":".join(text[i : i + 2] for i in range(0, 64, 2))
    if not _FINGERPRINT.fullmatch(text):
        raise ValueError(
            "a certificate fingerprint is the SHA-256, 32 pairs of hex digits; on the host: "
            "openssl x509 -noout -fingerprint -sha256 -in /etc/pve/local/pve-ssl.pem"
        )
    return text


class HostPort(Section):
    """Where a Proxmox VE host answers, and its own fingerprint if it has one; `str()` gives `host:port`."""

    host: str
    port: int = Field(default=DEFAULT_PVE_PORT, ge=1, le=65535)
    fingerprint: Annotated[str, AfterValidator(check_fingerprint)] | None = None

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


def _token_id(value: str) -> str:
    if not _TOKEN_ID.fullmatch(value):
        raise ValueError("a token id looks like pvewatch@pve!monitor (user@realm!tokenname)")
    return value


class TokenRef(Section):
    """An API token: its id and where its secret is. Written with `token_secret_file` or `token_secret_env`."""

    token_id: Annotated[str, AfterValidator(_token_id)]
    """user@realm!name, as Proxmox VE shows it."""
    token_secret_file: Path | None = None
    """File with the secret; refused when others can read it."""
    token_secret_env: str | None = None
    """Or: the environment variable that holds the secret."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.token_secret_file is None) == (self.token_secret_env is None):
            raise ValueError("give either token_secret_file or token_secret_env (never the secret itself)")
        return self

    @property
    def secret(self) -> SecretRef:
        """Where the secret is; reading it is `.resolve()`, by the process that needs it."""
        return SecretRef(file=self.token_secret_file, env=self.token_secret_env)


class Cluster(Section):
    """One Proxmox VE cluster or standalone host, under the name that all metrics carry."""

    name: str
    """The label `cluster` of every series; lower-case letters, digits, - and _. Need not be Proxmox VE's own name."""
    hosts: Annotated[
        tuple[Annotated[HostPort, BeforeValidator(HostPort.parse)], ...], Field(min_length=1, max_length=64)
    ]
    """host or host:port, or {host, port, fingerprint}. One is asked; the others stand in when it cannot be reached."""
    fingerprint: Annotated[str, AfterValidator(check_fingerprint)] | None = None
    """SHA-256 fingerprint of the hosts' certificate; for one host, or several with the same certificate."""
    ca_file: Path | None = None
    """CA certificate that vouches for the hosts, such as a copy of /etc/pve/pve-root-ca.pem."""
    verify_tls: bool = True
    """`false` believes anybody who answers. `pvewatch check` warns."""
    monitor: TokenRef | None = None
    """Read-only token: `token_id` and `token_secret_file` or `token_secret_env`. The exporter reads it."""
    power: TokenRef | None = None
    """Token that may start, shut down and reset. The worker reads it."""
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


class CollectorSettings(Section):
    """How one collector runs. What is not set is as the collector itself has it."""

    enabled: bool | None = None
    """`false` switches it off, `true` on."""
    interval_seconds: Seconds | None = None
    """How often it asks."""


PeerCollector = Literal[
    "status",
    "resources",
    "node",
    "cluster",
    "version",
    "backup-info",
    "qdevice",
    "subscription",
    "config",
    "replication",
]
"""The collectors of /pve, under the names that prometheus-pve-exporter gives them."""


def _target(value: str) -> str:
    HostPort.parse(value)
    return value.strip()


class ExporterSettings(Section):
    """The process that reads Proxmox VE and receives heartbeats. Intervals and ages are seconds."""

    listen: Listen = "127.0.0.1:9221"
    """Address of /metrics and the inventory."""
    url: Url | None = None
    """How other processes reach it, when that is not http://<listen>."""
    heartbeat_listen: Listen = "127.0.0.1:9223"
    """Address for agents; nothing else answers there."""
    heartbeat_url: Url | None = None
    """How agents reach it, when that is not <heartbeat_listen>."""
    heartbeat_tls_cert: Path | None = None
    """Certificate (chain) of the heartbeat listener, PEM."""
    heartbeat_tls_key: Path | None = None
    """Its private key, PEM."""
    heartbeat_ca_file: Path | None = None
    """What agents shall trust, PEM: goes with their installer. Not needed where guests know the authority anyway."""
    poll_interval_seconds: float = Field(default=10, gt=0, le=30)
    """How often status and resources are asked, one call each per cluster; 30 at most: older says nothing about now."""
    node_interval_seconds: Seconds = 60
    """How often each node is asked for its own figures."""
    config_interval_seconds: Seconds = 600
    """Within which time every guest's configuration is read once."""
    figures_expire_seconds: Seconds = 120
    """Figures older than this disappear instead of freezing."""
    heartbeat_timeout_seconds: Seconds = 180
    """A guest whose newest heartbeat is older is silent."""
    heartbeat_keep_seconds: Seconds = 86400
    """For how long heartbeats of a guest are remembered that Proxmox VE does not list, or cannot be asked about."""
    max_heartbeat_bytes: int = Field(default=65536, ge=1024, le=1_048_576)
    """A larger heartbeat is refused."""
    collectors: dict[str, CollectorSettings] = Field(default_factory=dict)
    """`name: {enabled, interval_seconds}` for single collectors; docs/metrics.md names them."""

    def collector(self, name: str) -> CollectorSettings:
        """What is set for that collector; nothing if it is not mentioned."""
        return self.collectors.get(name, CollectorSettings())

    pve_config: Path | None = None
    """A pve.yml of prometheus-pve-exporter: the logins of /pve, one for each module."""
    pve_targets: Annotated[tuple[Annotated[str, AfterValidator(_target)], ...], Field(max_length=1000)] = ()
    """Hosts that /pve may ask with those logins, host or host:port; the clusters' hosts may be asked without."""
    pve_cache_seconds: float = Field(default=5, ge=0, le=60)
    """How long an answer of a host serves every scrape of /pve; Proxmox VE renews its figures every 10 s."""
    pve_collectors: tuple[PeerCollector, ...] = get_args(PeerCollector)
    """What /pve reads, under the names of prometheus-pve-exporter's --collector options."""

    @model_validator(mode="after")
    def _whole_tls(self) -> Self:
        if (self.heartbeat_tls_cert is None) != (self.heartbeat_tls_key is None):
            raise ValueError("heartbeat_tls_cert and heartbeat_tls_key go together")
        return self


class ActionApiSettings(Section):
    """The pages and the worker that people and Alertmanager ask."""

    listen: Listen = "127.0.0.1:9280"
    """Address of the pages and webhooks."""
    url: Url | None = None
    """How Prometheus and Alertmanager reach it, when that is not http://<listen>."""
    public_url: Url | None = None
    """How people reach it; links in messages and dashboards begin with it."""
    database_url: str | None = None
    """SQLAlchemy address; default is SQLite in the data folder, `postgresql+psycopg://…` for several machines."""
    require_second_factor: bool = True
    """`false` lets people act with a password alone; every page says so then."""
    session_hours: float = Field(default=12, gt=0, le=720)
    """After this time people sign in again."""
    secure_cookies: bool | None = None
    """Send cookies over https only; default: when public_url is https."""
    proxmox_notification_seconds: Annotated[float, Field(ge=60, le=604_800)] = 3600
    """How long a notification of Proxmox VE is shown as an alert; below repeat_interval_seconds it is told once."""


class AutomationSettings(Section):
    """What the worker may do by itself, and what stops it. Times are seconds."""

    enabled: bool = True
    """`false`: nothing is ever done without a person."""
    tag: str = Field(default="pvewatch-auto-reset", pattern=r"^[a-z0-9_][a-z0-9_\-+.]*$")
    """Guests with exactly this tag may be recovered."""
    guests: tuple[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*/[1-9][0-9]{2,8}$")], ...] = ()
    """Guests that may be recovered without the tag, as cluster/vmid."""
    permitted_actions: tuple[Literal["start", "shutdown", "reset"], ...] = ("start", "shutdown", "reset")
    """All that the worker executes, for anybody."""
    allow_ha: bool = False
    """Recover guests that High Availability manages, too."""
    grace_after_boot_seconds: Seconds = 300
    """A guest that started later than this ago is left alone."""
    cool_down_seconds: Seconds = 600
    """Time between two attempts on one guest."""
    max_attempts: int = Field(default=2, ge=1, le=10)
    """Attempts on one guest within attempt_window_seconds; then a person is wanted."""
    attempt_window_seconds: Seconds = 86400
    """The window of max_attempts."""
    max_silent_ratio: float = Field(default=0.5, gt=0, le=1)
    """When a larger share of the guests with agents is silent, that is a network: nothing is done."""
    min_silent_guests: int = Field(default=3, ge=2)
    """The share counts only when at least so many guests are silent."""
    recovery_timeout_seconds: Seconds = 300
    """How long a heartbeat is waited for after an action."""
    task_timeout_seconds: Seconds = 600
    """How long a task of Proxmox VE is followed."""


def _own_url(listen: str, url: str | None) -> str:
    """`url`, or http:// with the address of `listen`; a wildcard address is reached over loopback."""
    if url:
        return url
    host, _, port = listen.rpartition(":")
    return f"http://{ {'0.0.0.0': '127.0.0.1', '[::]': '[::1]'}.get(host, host) }:{port}"  # noqa: S104  read, not bound


class Settings(Section):
    """All of pvewatch.yaml. Relative paths were resolved against the file's folder when it was loaded."""

    clusters: Annotated[tuple[Cluster, ...], Field(max_length=200)] = ()
    """The clusters; or use the environment form."""
    data_dir: Path = Path("data")
    """Databases, pvewatch's own secrets and, with `pvewatch up`, the history of Prometheus."""
    exporter: ExporterSettings = ExporterSettings()
    action_api: ActionApiSettings = ActionApiSettings()
    automation: AutomationSettings = AutomationSettings()
    prometheus: PrometheusSettings = PrometheusSettings()
    alertmanager: AlertmanagerSettings = AlertmanagerSettings()
    grafana: GrafanaSettings = GrafanaSettings()
    blackbox: BlackboxSettings = BlackboxSettings()
    probes: ProbesSettings = ProbesSettings()
    alerting: AlertingSettings = AlertingSettings()
    thresholds: Thresholds = Thresholds()
    channels: Annotated[tuple[Channel, ...], Field(max_length=50)] = ()
    """Who is told, and how; see docs/notifications.md."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [cluster.name for cluster in self.clusters]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"clusters: the name {twice[0]!r} is used twice; every cluster needs a name of its own")
        channels = [channel.name for channel in self.channels]
        twice = sorted({name for name in channels if channels.count(name) > 1})
        if twice:
            raise ValueError(f"channels: the name {twice[0]!r} is used twice; every channel needs a name of its own")
        return self

    def cluster(self, name: str) -> Cluster | None:
        """The cluster of that name, or None."""
        return next((cluster for cluster in self.clusters if cluster.name == name), None)

    def channel(self, name: str) -> Channel | None:
        """The channel of that name, or None."""
        return next((channel for channel in self.channels if channel.name == name), None)

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
    def alertmanager_urls(self) -> tuple[str, ...]:
        """Where each Alertmanager answers: the first, then the others of its cluster."""
        return tuple(dict.fromkeys((self.alertmanager_url, *self.alertmanager.more_urls)))

    @property
    def blackbox_url(self) -> str:
        """Where the blackbox exporter answers."""
        return _own_url(self.blackbox.listen, self.blackbox.url)

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
