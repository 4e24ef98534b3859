"""Alertmanager's message at the webhook: who may send it, what is taken of it, what is stored."""

from __future__ import annotations

import time
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from action_api.store import Store
from tests.action_api.core.neighbours import recorded
from tests.action_api.core.webhook import SECRET, firing, lasting, send


def test_a_recorded_message_opens_an_incident(client: FlaskClient, sqlite_store: Store) -> None:
    answer = send(client, recorded("webhook-firing.json"))
    assert (answer.status_code, answer.json["opened"]) == (202, 1)
    incident = lasting(sqlite_store)
    assert (incident.guest_id, incident.guest_name, incident.alertname) == (
        "qemu/101",
        "web-1",
        "GuestHeartbeatMissing",
    )
    assert sqlite_store.audit.recent(1)[0].event == "incident.opened"


def test_a_repeat_and_a_message_from_another_node_find_the_same_incident(
    client: FlaskClient, sqlite_store: Store
) -> None:
    send(client, firing())
    answer = send(client, firing(node="pve3"))
    assert (answer.json["opened"], answer.json["repeated"]) == (0, 1)
    assert sqlite_store.incidents.count_by_state()["open"] == 1


def test_a_resolved_message_makes_the_incident_due(client: FlaskClient, sqlite_store: Store) -> None:
    send(client, recorded("webhook-firing.json"))
    sqlite_store.incidents.claim_due(now=time.time(), lease_seconds=300)
    assert send(client, recorded("webhook-resolved.json")).json["resolved"] == 1
    assert lasting(sqlite_store).alert_resolved_at is not None
    assert sqlite_store.incidents.claim_due(now=time.time(), lease_seconds=300) is not None


@pytest.mark.parametrize("token", [None, "", "wrong", SECRET + "x", "sécret"])
def test_without_the_secret_nothing_is_stored(client: FlaskClient, sqlite_store: Store, token: str | None) -> None:
    answer = send(client, firing(), token=token)
    assert answer.status_code == 401
    assert answer.json["error"]["code"] == "unauthorized"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert sqlite_store.incidents.recent() == ()


@pytest.mark.parametrize(
    ("broken", "field"),
    [
        ("not json", ""),
        ("[]", ""),
        ({**recorded("webhook-firing.json"), "version": "3"}, "version"),
        ({"version": "4", "status": "firing"}, "alerts"),
        ({"version": "4", "status": "firing", "alerts": [{"status": "firing", "labels": {}}]}, "alerts.0.startsAt"),
        ({"version": "4", "status": "firing", "alerts": [{"status": "odd", "labels": {}}]}, "alerts.0.status"),
    ],
)
def test_what_is_not_such_a_message_is_refused_and_the_field_named(
    client: FlaskClient, sqlite_store: Store, broken: Any, field: str
) -> None:
    answer = send(client, broken)
    assert answer.status_code == 422
    assert answer.json["error"]["code"] == "invalid"
    assert field in [problem["field"] for problem in answer.json["error"]["detail"]]
    assert sqlite_store.incidents.recent() == ()


def test_a_message_that_is_too_large_is_refused(client: FlaskClient) -> None:
    answer = send(client, b" " * (1024 * 1024 + 1))
    assert answer.status_code == 413
    assert answer.json["error"]["code"] == "too_large"


@pytest.mark.parametrize(
    "labels",
    [
        {"automation": "none"},
        {"id": "node/pve1"},
        {"id": "qemu/101/../102"},
        {"id": "qemu/99"},
        {"cluster": "other"},
        {"cluster": ""},
    ],
    ids=lambda labels: "-".join(next(iter(labels.items()))),
)
def test_an_alert_that_names_no_guest_of_ours_is_ignored_with_a_reason(
    client: FlaskClient, sqlite_store: Store, labels: dict[str, str]
) -> None:
    answer = send(client, firing(**labels))
    assert answer.status_code == 202
    assert answer.json["ignored"][0]["reason"]
    assert sqlite_store.incidents.recent() == ()


def test_what_was_counted_is_on_the_metrics_page(client: FlaskClient, sqlite_store: Store) -> None:
    send(client, firing())
    send(client, firing(), token="wrong")
    sqlite_store.runs.record_refusal(lasting(sqlite_store).id, "reset", "locked", "It is locked.", now=time.time())
    sqlite_store.counters.add("logins", outcome="accepted")
    answer = client.get("/metrics")
    assert answer.status_code == 200
    found = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert found[("pvewatch_webhooks_total", (("outcome", "accepted"),))] == 1
    assert found[("pvewatch_webhooks_total", (("outcome", "unauthorized"),))] == 1
    assert found[("pvewatch_logins_total", (("outcome", "accepted"),))] == 1
    assert found[("pvewatch_refusals_total", (("reason", "locked"),))] == 1
    ended = (("action", "reset"), ("origin", "automation"), ("outcome", "refused"))
    assert found[("pvewatch_actions_total", ended)] == 1
    assert found[("pvewatch_incidents", (("state", "open"),))] == 1
    assert found[("pvewatch_incidents", (("state", "exhausted"),))] == 0
    assert found[("pvewatch_action_queue_length", (("state", "pending"),))] == 0


# The recovery.
