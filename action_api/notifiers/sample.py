"""A sample message, to see that a channel works: sent by the relay's own means, or through Alertmanager.

Alertmanager tells nobody what a service answered but its log; its counters say whether it was delivered.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families

from action_api.notifiers.wording import Words
from pvewatch.config import Settings
from pvewatch.render.channels import TEST_LABEL, receiver_name
from pvewatch.settings_channels import Channel

WAIT_SECONDS = 45.0
_TIMEOUT_SECONDS = 5.0
_SUMMARY = "This is a sample: pvewatch can reach you here"


class AlertmanagerSaysNo(Exception):
    """The sample was not delivered; the text says what is known and where to look."""


def words_of_sample(channel: Channel) -> Words:
    """What the relay sends."""
    return Words(f"INFO {_SUMMARY}", _description(channel), "info")


def delivers_by_itself(settings: Settings, channel: Channel) -> bool:
    """Whether the Alertmanager that runs delivers the channel, rather than the relay: what it has loaded says so.

    Raises AlertmanagerSaysNo when it does not answer, or has not loaded the channel.
    """
    loaded = yaml.safe_load(_ask(settings, "GET", "/api/v2/status").json()["config"]["original"])
    for receiver in loaded["receivers"]:
        if receiver["name"] == receiver_name(channel):
            return f"{_integration(channel)}_configs" in receiver
    raise AlertmanagerSaysNo(
        f"Alertmanager at {settings.alertmanager_url} does not know the channel: render alertmanager.yml again and "
        "reload Alertmanager"
    )


def through_alertmanager(settings: Settings, channel: Channel) -> str:
    """Let Alertmanager send a sample over the channel, and wait for its counters; returns what they said.

    Raises AlertmanagerSaysNo after WAIT_SECONDS, or when a delivery has failed meanwhile.
    """
    integration = _integration(channel)
    before = _counts(settings, integration)
    now = datetime.now(UTC)
    alert = {
        "labels": {
            "alertname": "NotificationTest",
            "severity": "info",
            TEST_LABEL: channel.name,
            # One more label that differs: the same alert again would wait for the repeat interval.
            "sent": now.isoformat(timespec="seconds"),
        },
        "annotations": {
            "summary": _SUMMARY,
            "description": _description(channel),
        },
        "startsAt": now.isoformat(),
        "endsAt": (now + timedelta(seconds=2 * WAIT_SECONDS)).isoformat(),
    }
    _ask(settings, "POST", "/api/v2/alerts", json=[alert])
    deadline = time.monotonic() + WAIT_SECONDS
    answered = False
    while time.monotonic() < deadline:
        time.sleep(0.5)
        requested, failed = (
            after - earlier for after, earlier in zip(_counts(settings, integration), before, strict=True)
        )
        if failed > 0:
            raise AlertmanagerSaysNo(f"Alertmanager could not deliver it over {integration}: its log says why")
        # It counts a request first and its failure afterwards: only the next look knows that there was none.
        if answered:
            return f"Alertmanager has delivered it over {integration}"
        answered = requested > 0
    raise AlertmanagerSaysNo(
        f"Alertmanager has sent nothing over {integration} within {WAIT_SECONDS:.0f} s: its log says why; if the "
        "channel is new, render alertmanager.yml again and reload Alertmanager"
    )


def _integration(channel: Channel) -> str:
    # Alertmanager names the first workflow-based receiver of Teams its second.
    return "msteamsv2" if channel.type == "teams" else channel.type


def _description(channel: Channel) -> str:
    return f"Sent by `pvewatch notify test {channel.name}`. Nothing is wrong, and nothing has to be done."


def _counts(settings: Settings, integration: str) -> tuple[float, float]:
    """Requests of that kind that a service has answered, and those of them that it refused or that went wrong.

    Not `alertmanager_notifications_total`, which counts a notification before it is sent.
    """
    page = _ask(settings, "GET", "/metrics").text
    found = {
        "alertmanager_notification_requests_total": 0.0,
        "alertmanager_notification_requests_failed_total": 0.0,
    }
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name in found and sample.labels.get("integration") == integration:
                found[sample.name] += sample.value
    requested, failed = found.values()
    return requested, failed


def _ask(settings: Settings, method: str, path: str, *, json: object = None) -> requests.Response:
    address = settings.alertmanager_url
    try:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.request(method, f"{address}{path}", json=json, timeout=_TIMEOUT_SECONDS)
        answer.raise_for_status()
    except requests.RequestException as error:
        reason = type(error).__name__
        raise AlertmanagerSaysNo(
            f"Alertmanager at {address} does not answer as it should ({reason}); is it running?"
        ) from error
    return answer
