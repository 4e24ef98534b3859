"""Grafana's provisioning files, and the dashboards with the configured addresses in them."""

from __future__ import annotations

import json
from typing import Any

from pvewatch.bundle import bundle_path
from pvewatch.config import Settings
from pvewatch.render import durations
from pvewatch.render.layouts import Layout
from pvewatch.render.links import relinked

PROMETHEUS_UID = "pvewatch-prometheus"
ALERTMANAGER_UID = "pvewatch-alertmanager"
FOLDER = "Proxmox VE"
FOLDER_UID = "proxmox-ve"


def datasources(settings: Settings, layout: Layout) -> dict[str, Any]:
    """provisioning/datasources: Prometheus and its Alertmanager under uids that never change."""
    return {
        "apiVersion": 1,
        "datasources": [
            {
                "name": "pvewatch Prometheus",
                "uid": PROMETHEUS_UID,
                "type": "prometheus",
                "access": "proxy",
                "url": layout.prometheus.url,
                "isDefault": True,
                "editable": False,
                "jsonData": {
                    "httpMethod": "POST",
                    "prometheusType": "Prometheus",
                    # Rates are taken over four of these; a value below the true interval empties every rate panel.
                    "timeInterval": durations.written(settings.prometheus.scrape_interval_seconds),
                    "manageAlerts": True,
                    "alertmanagerUid": ALERTMANAGER_UID,
                },
            },
            {
                "name": "pvewatch Alertmanager",
                "uid": ALERTMANAGER_UID,
                "type": "alertmanager",
                "access": "proxy",
                "url": layout.alertmanager.url,
                "editable": False,
                # Without it Grafana speaks to a Mimir Alertmanager, and silences fail.
                "jsonData": {"implementation": "prometheus", "handleGrafanaManagedAlerts": False},
            },
        ],
    }


def dashboard_provider(layout: Layout) -> dict[str, Any]:
    """provisioning/dashboards: one folder under a uid that never changes; the files are the truth."""
    return {
        "apiVersion": 1,
        "providers": [
            {
                "name": "pvewatch",
                "type": "file",
                "folder": FOLDER,
                "folderUid": FOLDER_UID,
                "allowUiUpdates": False,
                # An unmounted volume must not remove dashboards, stars and permalinks.
                "disableDeletion": True,
                "updateIntervalSeconds": 30,
                "options": {"path": layout.dashboards},
            }
        ],
    }


def dashboards(settings: Settings) -> dict[str, dict[str, Any]]:
    """File name → dashboard, its constants made to the configured addresses."""
    files = {}
    for path in sorted(bundle_path("grafana/dashboards").glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        for variable in document["templating"]["list"]:
            if variable["type"] in ("constant", "textbox"):
                _relink(variable, settings)
        files[path.name] = document
    return files


def _relink(variable: dict[str, Any], settings: Settings) -> None:
    variable["query"] = relinked(variable["query"], settings)
    for option in [variable["current"], *variable.get("options", [])]:
        option["value"] = option["text"] = relinked(option["value"], settings)
