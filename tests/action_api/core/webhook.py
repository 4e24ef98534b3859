"""Alertmanager's messages as the action API gets them, and what became of them."""

from __future__ import annotations

import json
import time
from typing import Any

from flask.testing import FlaskClient

from action_api.store import Incident, Store
from tests.action_api.core.neighbours import recorded

WEBHOOK = "/webhook/alertmanager"
SECRET = "webhook-secret"


def send(client: FlaskClient, message: Any, token: str | None = SECRET) -> Any:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    body = message if isinstance(message, (str, bytes)) else json.dumps(message)
    return client.post(WEBHOOK, data=body, headers=headers, content_type="application/json")


def firing(**labels: str) -> dict[str, Any]:
    """The recorded message, as if the alert had begun to fire a minute ago."""
    message: dict[str, Any] = recorded("webhook-firing.json")
    message["alerts"][0]["startsAt"] = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() - 60))
    message["alerts"][0]["labels"] |= labels
    return message


def lasting(store: Store) -> Incident:
    incident = store.incidents.lasting("demo1", 101)
    assert incident is not None
    return incident


def last(store: Store) -> Incident:
    return store.incidents.recent(1)[0]
