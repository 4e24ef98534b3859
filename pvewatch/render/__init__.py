"""Prometheus', Alertmanager's and Grafana's files out of Settings: one source for a native stack and for containers."""

from pvewatch.render.alertmanager import alertmanager_flags
from pvewatch.render.blackbox import blackbox_flags
from pvewatch.render.channels import notices
from pvewatch.render.files import write_all
from pvewatch.render.links import runbook_url
from pvewatch.render.prometheus import prometheus_flags

__all__ = [
    "alertmanager_flags",
    "blackbox_flags",
    "notices",
    "prometheus_flags",
    "runbook_url",
    "write_all",
]
