"""Where the services find each other and their files: on one machine, or in containers.

The two layouts are the only difference between what `pvewatch render` writes for the one and for the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pvewatch.config import Settings
from pvewatch.secrets import internal_secret_file

LayoutName = Literal["native", "compose"]

# Alertmanager's container sees its own configuration and nothing of pvewatch's data: it gets a copy beside that.
WEBHOOK_SECRET_COPY = "alertmanager/webhook-secret"  # noqa: S105  the path of a secret, not one
# And Prometheus the one that it reads the lists of what to probe with.
DISCOVERY_SECRET_COPY = "prometheus/discovery-secret"  # noqa: S105  the path of a secret, not one
CHANNEL_SECRETS = "alertmanager/channel-secrets"
TEMPLATES = "alertmanager/templates"


@dataclass(frozen=True, slots=True)
class Target:
    """One HTTP service as Prometheus names it: scheme, `host:port`, and the path in front of its own (may be empty)."""

    scheme: str
    address: str
    prefix: str = ""

    @classmethod
    def of(cls, url: str) -> Target:
        """The parts of a service's address; a missing port is the scheme's own."""
        parts = urlsplit(url)
        address = parts.netloc if parts.port else f"{parts.netloc}:{443 if parts.scheme == 'https' else 80}"
        return cls(scheme=parts.scheme, address=address, prefix=parts.path.rstrip("/"))

    @property
    def url(self) -> str:
        """The whole address, without a final slash."""
        return f"{self.scheme}://{self.address}{self.prefix}"


@dataclass(frozen=True, slots=True)
class Layout:
    """Addresses as the services reach each other, and paths as they see them."""

    exporter: Target
    action_api: Target
    prometheus: Target
    alertmanager: Target
    more_alertmanagers: tuple[Target, ...]
    blackbox: Target
    rules: str
    webhook_secret: str
    discovery_secret: str
    channel_secrets: str
    templates: str
    dashboards: str


def layout(settings: Settings, name: LayoutName, out: Path) -> Layout:
    """The layout `name`; `out` is where the files of the native one lie."""
    more_alertmanagers = tuple(map(Target.of, settings.alertmanager_urls[1:]))
    if name == "compose":
        return Layout(
            exporter=Target("http", "exporter:9221"),
            action_api=Target("http", "action-api:9280"),
            prometheus=Target("http", "prometheus:9090"),
            alertmanager=Target("http", "alertmanager:9093"),
            more_alertmanagers=more_alertmanagers,
            blackbox=Target("http", "blackbox:9115"),
            rules="/etc/prometheus/rules/*.yml",
            webhook_secret=f"/etc/{WEBHOOK_SECRET_COPY}",
            discovery_secret=f"/etc/{DISCOVERY_SECRET_COPY}",
            channel_secrets=f"/etc/{CHANNEL_SECRETS}",
            templates=f"/etc/{TEMPLATES}/*.tmpl",
            dashboards="/etc/grafana/dashboards",
        )
    out = out.absolute()
    return Layout(
        exporter=Target.of(settings.exporter_url),
        action_api=Target.of(settings.action_api_url),
        prometheus=Target.of(settings.prometheus_url),
        alertmanager=Target.of(settings.alertmanager_url),
        more_alertmanagers=more_alertmanagers,
        blackbox=Target.of(settings.blackbox_url),
        rules=str(out / "prometheus" / "rules" / "*.yml"),
        webhook_secret=str(internal_secret_file(settings.data_dir, "webhook").absolute()),
        discovery_secret=str(internal_secret_file(settings.data_dir, "discovery").absolute()),
        channel_secrets=str(out / CHANNEL_SECRETS),
        templates=str(out / TEMPLATES / "*.tmpl"),
        dashboards=str(out / "grafana" / "dashboards"),
    )
