"""Notifications of Proxmox VE as alerts of Alertmanager: how one becomes the other, and who tells Alertmanager of them.

An alert lives in Alertmanager's memory only, and Proxmox VE says a thing once. So those that have not ended are kept in
the database and told again and again, as Prometheus does with its own: an Alertmanager that was away, or has
restarted, knows them a minute later, and to one that knows them it changes nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from action_api.alertmanager import Alertmanager, timestamp
from action_api.neighbours import NeighbourUnavailable
from action_api.schemas.pve_notification import PveNotification
from action_api.store import PveAlert, Store, StoreUnavailable
from pvewatch.config import Settings
from pvewatch.render.links import runbook_url

ALERTNAME = "ProxmoxNotification"
# `unknown` is mail to root, smartd's among it: it wants reading, and says of itself how urgent it is.
SEVERITIES = {"info": "info", "notice": "info", "warning": "warning", "error": "critical", "unknown": "warning"}
MAX_LABEL_CHARACTERS = 200
MAX_DESCRIPTION_CHARACTERS = 4000
OLDEST_SECONDS = 86_400.0

EVERY_SECONDS = 60.0
AGAIN_SECONDS = 10.0

_log = logging.getLogger(__name__)


def alert_of(notification: PveNotification, cluster: str, settings: Settings, *, now: float) -> PveAlert:
    """The alert that says what the notification says, until its time is over.

    The title is a label, the message is not: two events of one kind are two alerts, and an event that is told again
    with other figures in its text is one. Silences and routes go by cluster, node, type and severity.
    """
    fields = notification.fields
    labels = {
        "alertname": ALERTNAME,
        "cluster": cluster,
        "monitor": "pvewatch",
        "node": fields.get("hostname", "").partition(".")[0],
        "job_id": fields.get("job-id", ""),
        "severity": SEVERITIES[notification.severity],
        "title": notification.title,
        "type": fields.get("type", "other"),
    }
    labels = {name: text for name, value in labels.items() if (text := _label(value))}
    place = f"?cluster={cluster}" + (f"&node={labels['node']}" if _is_host_name(labels.get("node", "")) else "")
    annotations = {
        "summary": f"{labels.get('node', cluster)}: {labels.get('title', 'a notification of Proxmox VE')}",
        "description": _description(notification.message),
        "runbook_url": runbook_url(settings, ALERTNAME),
        "dashboard_url": f"{settings.grafana_url}/d/pve-overview?var-cluster={cluster}",
        "action_url": f"{settings.public_url}/?cluster={cluster}",
        "silence_url": f"{settings.public_url}/maintenance{place}",
    }
    # A node's clock may be wrong; an alert of the future or of last year would be told as such.
    said_at = float(notification.timestamp)
    return PveAlert(
        labels=labels,
        annotations=annotations,
        said_at=said_at,
        starts_at=said_at if now - OLDEST_SECONDS <= said_at <= now else now,
        ends_at=now + settings.action_api.proxmox_notification_seconds,
    )


def _label(text: str) -> str:
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split())[:MAX_LABEL_CHARACTERS]


def _is_host_name(text: str) -> bool:
    return bool(text) and text.isascii() and text.replace("-", "").isalnum()


def _description(message: str) -> str:
    text = message.replace("\x00", "").strip()
    if len(text) <= MAX_DESCRIPTION_CHARACTERS:
        return text or "It has no text."
    return f"{text[:MAX_DESCRIPTION_CHARACTERS].rstrip()}\n… (shortened; Proxmox VE's own log has all of it)"


class Sender:
    """Tells each Alertmanager of what is stored: at once when woken, and again every minute until it has ended."""

    def __init__(self, store: Store, alertmanagers: Sequence[Alertmanager], clock: Callable[[], float]) -> None:
        self._store = store
        self._alertmanagers = alertmanagers
        self._clock = clock
        self._wanted = threading.Event()
        self._stopping = False
        self._failing: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="pve-alerts", daemon=True)

    def start(self) -> Sender:
        """Begin to send, in a thread of its own."""
        self._thread.start()
        return self

    def wake(self) -> None:
        """Something new is stored."""
        self._wanted.set()

    def stop(self) -> None:
        """Stop; waits for a request that is under way."""
        self._stopping = True
        self._wanted.set()
        self._thread.join()

    def send(self) -> bool:
        """Tell every Alertmanager of every alert that has not ended. False: none of them could be told now."""
        try:
            present = self._store.pve_alerts.present(now=self._clock())
        except StoreUnavailable as error:
            self._failed("the database", error)
            return False
        self._worked("the database")
        if not present:
            return True
        bodies = [_body(alert) for alert in present]
        # All of them, whatever the first says: what Proxmox VE notifies of is not shared within a cluster of them.
        told = [self._told(alertmanager, bodies) for alertmanager in self._alertmanagers]
        return any(told)

    def _told(self, alertmanager: Alertmanager, bodies: Sequence[dict[str, object]]) -> bool:
        try:
            alertmanager.post_alerts(bodies)
        except NeighbourUnavailable as error:
            self._failed(alertmanager.url, error)
            return False
        self._worked(alertmanager.url)
        return True

    def _failed(self, where: str, error: Exception) -> None:
        """Say it once, not every minute."""
        if where not in self._failing:
            _log.warning("notifications of Proxmox VE wait: %s", error)
        self._failing.add(where)

    def _worked(self, where: str) -> None:
        if where in self._failing:
            _log.info("notifications of Proxmox VE wait no longer for %s", where)
        self._failing.discard(where)

    def _run(self) -> None:
        while not self._stopping:
            self._wanted.clear()
            self._wanted.wait(EVERY_SECONDS if self.send() else AGAIN_SECONDS)


def _body(alert: PveAlert) -> dict[str, object]:
    return {
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "startsAt": timestamp(alert.starts_at),
        "endsAt": timestamp(alert.ends_at),
    }
