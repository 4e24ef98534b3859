"""How a relayed message reads: the same title and lines as alertmanager/templates/pvewatch.tmpl gives by mail."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from action_api.notifiers.addresses import Urgency
from action_api.schemas.alertmanager import Alert, Notification

MAX_ALERTS_TOLD = 10
MAX_DESCRIPTION_CHARACTERS = 400
"""With it, one alert and its links fit into what the strictest service takes, Pushover's 1024 characters."""
_LINKS = (
    ("Runbook", "runbook_url"),
    ("Dashboard", "dashboard_url"),
    ("Act", "action_url"),
    ("Silence", "silence_url"),
)
_SEVERITIES: tuple[Urgency, ...] = ("critical", "warning", "info")


@dataclass(frozen=True, slots=True)
class Words:
    """A message as a person reads it: plain text."""

    title: str
    body: str
    urgency: Urgency


def words(message: Notification, *, perhaps_repeated: bool = False) -> Words:
    """The message's title and text; with `perhaps_repeated` it says that it may have arrived before."""
    title = f"{_status(message)} {_headline(message)}"
    told = message.alerts[:MAX_ALERTS_TOLD]
    total = len(message.alerts) + message.truncatedAlerts
    parts = [_told(alert) for alert in told]
    if total > len(told):
        parts.append(f"and more: {total} alerts in all, the first {len(told)} are above.")
    if perhaps_repeated:
        parts.append("This may be a repeat: pvewatch was interrupted while it sent it.")
    return Words(title, "\n\n".join(parts), _urgency(message))


def shortened(text: str, limit: int) -> str:
    """At most `limit` characters of it; an ellipsis says that there was more."""
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"


def _status(message: Notification) -> str:
    if message.status == "resolved":
        return "RESOLVED"
    return message.commonLabels.get("severity", "firing").upper()


def _headline(message: Notification) -> str:
    if len(message.alerts) == 1 and not message.truncatedAlerts:
        return _summary(message.alerts[0])
    total = len(message.alerts) + message.truncatedAlerts
    name = message.commonLabels.get("alertname")
    headline = f"{total} {name} alerts" if name else f"{total} alerts"
    if cluster := message.commonLabels.get("cluster"):
        headline += f" in {cluster}"
    resolved = sum(alert.status == "resolved" for alert in message.alerts)
    return f"{headline} ({resolved} resolved)" if 0 < resolved < len(message.alerts) else headline


def _urgency(message: Notification) -> Urgency:
    if message.status == "resolved":
        return "resolved"
    firing = {alert.labels.get("severity") for alert in message.alerts if alert.status == "firing"}
    return next((severity for severity in _SEVERITIES if severity in firing), "warning")


def _told(alert: Alert) -> str:
    lines = [f"Resolved: {_summary(alert)}" if alert.status == "resolved" else _summary(alert)]
    if description := alert.annotations.get("description"):
        lines.append(shortened(description, MAX_DESCRIPTION_CHARACTERS))
    lines += [f"Where: {_where(alert)}", f"Since: {_since(alert)}"]
    lines += [f"{name}: {alert.annotations[key]}" for name, key in _LINKS if alert.annotations.get(key)]
    return "\n".join(lines)


def _summary(alert: Alert) -> str:
    return alert.annotations.get("summary") or alert.alertname


def _where(alert: Alert) -> str:
    labels = alert.labels
    parts = [f"{word} {labels[name]}" for word, name in (("cluster", "cluster"), ("node", "node")) if labels.get(name)]
    if labels.get("id"):
        parts.append(labels["id"] + (f" ({labels['name']})" if labels.get("name") else ""))
    return ", ".join(parts)


def _since(alert: Alert) -> str:
    since = _moment(alert.startsAt)
    return f"{since} until {_moment(alert.endsAt)}" if alert.status == "resolved" and alert.endsAt else since


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
