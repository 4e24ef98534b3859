"""Every dashboard that ships, from the fleet down and then by topic."""

from __future__ import annotations

from collections.abc import Callable

from grafana.source.agents import agents
from grafana.source.alerts import alerts
from grafana.source.automation_board import automation
from grafana.source.backups import backups
from grafana.source.board import Built
from grafana.source.capacity import capacity
from grafana.source.cluster import cluster
from grafana.source.guest import guest
from grafana.source.node import node
from grafana.source.overview import overview
from grafana.source.own import own
from grafana.source.services import services
from grafana.source.storage import storage

DASHBOARDS: tuple[Callable[[], Built], ...] = (
    overview,
    cluster,
    node,
    guest,
    storage,
    backups,
    agents,
    services,
    alerts,
    automation,
    capacity,
    own,
)


def dashboards() -> list[Built]:
    """All dashboards, built."""
    return [make() for make in DASHBOARDS]
