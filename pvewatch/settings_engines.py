"""Settings of the three programs that pvewatch renders for: Prometheus, Alertmanager and Grafana."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from pvewatch.settings_base import Listen, Seconds, Section, Url

_DURATION = re.compile(r"^\d+[hdwy]$")


class PrometheusSettings(Section):
    """The Prometheus that pvewatch starts or is pointed at."""

    listen: Listen = "127.0.0.1:9090"
    """Where `pvewatch up` lets Prometheus listen."""
    url: Url | None = None
    """Where Prometheus answers, when that is not http://<listen>."""
    retention: str = "90d"
    """How long history is kept."""
    scrape_interval_seconds: Seconds = 10
    """How often Prometheus reads the exporter; the statistics change every 10 s."""
    evaluation_interval_seconds: Seconds = 10
    """How often rules are evaluated."""

    @field_validator("retention")
    @classmethod
    def _a_duration(cls, value: str) -> str:
        if not _DURATION.fullmatch(value):
            raise ValueError("write a whole number and h, d, w or y, for example 90d")
        return value


class AlertmanagerSettings(Section):
    """The Alertmanager that pvewatch starts or is pointed at. Times are seconds."""

    listen: Listen = "127.0.0.1:9093"
    """Where `pvewatch up` lets Alertmanager listen."""
    url: Url | None = None
    """Where Alertmanager answers, when that is not http://<listen>."""
    more_urls: tuple[Url, ...] = Field(default=(), max_length=8)
    """Where the other members of its cluster answer. All are told; silences go to the first that answers."""
    group_wait_seconds: Seconds = 30
    """How long the first message of a group waits for others."""
    group_interval_seconds: Seconds = 300
    """How long a group waits before it tells of new alerts."""
    repeat_interval_seconds: Seconds = 14400
    """After which time an unchanged alert is told again."""
    version: str | None = Field(default=None, pattern=r"^\d+\.\d+(\.\d+)?$")
    """The version that will read what `pvewatch render` writes; `pvewatch up` asks the one that it starts."""


class GrafanaSettings(Section):
    """The Grafana that pvewatch starts (where one is installed) or links to."""

    listen: Listen = "127.0.0.1:3000"
    """Where `pvewatch up` lets Grafana listen."""
    url: Url | None = None
    """Where Grafana answers, when that is not http://<listen>."""
