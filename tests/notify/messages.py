"""Messages of Alertmanager's webhook, as 0.25 sends them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from action_api.schemas.alertmanager import Notification

STARTED = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
ENDED = datetime(2026, 11, 21, 3, 12, tzinfo=UTC)


def alert(
    name: str = "mail1", vmid: int = 101, *, status: str = "firing", severity: str = "critical"
) -> dict[str, Any]:
    """One alert about a guest."""
    return {
        "status": status,
        "labels": {
            "alertname": "GuestDown",
            "severity": severity,
            "cluster": "home",
            "node": "pve2",
            "id": f"qemu/{vmid}",
            "kind": "qemu",
            "vmid": str(vmid),
            "name": name,
        },
        "annotations": {
            "summary": f"Guest {name} ({vmid}) of home is stopped but should run",
            "description": "It has been stopped for two minutes.",
            "runbook_url": "https://watch.example/runbooks/GuestDown",
            "dashboard_url": "https://grafana.example/d/pve-overview?var-cluster=home",
            "action_url": f"https://watch.example/guests/home/qemu/{vmid}/act/start",
        },
        "startsAt": STARTED.isoformat(),
        "endsAt": ENDED.isoformat() if status == "resolved" else "0001-01-01T00:00:00Z",
        "generatorURL": "http://127.0.0.1:9090/graph",
        "fingerprint": f"{vmid:016x}",
    }


def message(*alerts: dict[str, Any], truncated: int = 0) -> dict[str, Any]:
    """The message of one group of alerts."""
    firing = any(one["status"] == "firing" for one in alerts)
    first = alerts[0]["labels"]
    common = {key: value for key, value in first.items() if all(one["labels"].get(key) == value for one in alerts)}
    return {
        "version": "4",
        "groupKey": '{}:{alertname="GuestDown", cluster="home"}',
        "truncatedAlerts": truncated,
        "status": "firing" if firing else "resolved",
        "receiver": "channel/phone",
        "groupLabels": {"alertname": "GuestDown", "cluster": "home"},
        "commonLabels": common,
        "commonAnnotations": {},
        "externalURL": "http://127.0.0.1:9093",
        "alerts": list(alerts),
    }


def parsed(*alerts: dict[str, Any], truncated: int = 0) -> Notification:
    """The same, as the relay reads it."""
    return Notification.model_validate(message(*alerts, truncated=truncated))
