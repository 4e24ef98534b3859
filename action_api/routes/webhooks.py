"""POST /webhook/alertmanager: what Alertmanager reports becomes incidents, and nothing else happens here.

The answer is fast, because Alertmanager repeats what is not answered in time; whether and how a guest is helped is
the worker's business. 202 means: stored. A repeat of the same message changes nothing.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import Blueprint, Response, jsonify, make_response, request
from pydantic import BaseModel, ValidationError

from action_api.routes.errors import Refused
from action_api.routes.services import Services, now, services
from action_api.schemas.alertmanager import Alert, AlertmanagerMessage
from pvewatch.config import Secret

MAX_BODY_BYTES = 1024 * 1024

_Message = TypeVar("_Message", bound=BaseModel)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls a webhook, for the words of a refusal: what it sends, and where its configuration is mended."""

    sends: str
    when_unauthorized: str
    when_too_large: str
    max_bytes: int = MAX_BODY_BYTES


ALERTMANAGER = Caller(
    sends="a message of Alertmanager's webhook, version 4",
    when_unauthorized="In alertmanager.yml: http_config.authorization.credentials_file = <data_dir>/secrets/webhook.",
    when_too_large="Set max_alerts of this receiver in alertmanager.yml, or group by cluster and id.",
)


def create_blueprint(webhook_secret: Secret) -> Blueprint:
    """The webhooks of an application. They know no sessions: the bearer token is the whole authentication."""
    blueprint = Blueprint("webhooks", __name__)

    @blueprint.post("/webhook/alertmanager")
    def alertmanager() -> Response:
        used = services()
        authenticate(used, webhook_secret)
        message = read_message(used, AlertmanagerMessage)
        results: dict[str, Any] = {"opened": 0, "repeated": 0, "resolved": 0, "ignored": []}
        for alert in message.alerts:
            outcome, why = _take(used, alert)
            if outcome == "ignored":
                results["ignored"].append({"alertname": alert.alertname, "reason": why})
            else:
                results[outcome] += 1
        used.store.counters.add("webhooks", outcome="accepted")
        return make_response(jsonify(results), 202)

    return blueprint


def authenticate(used: Services, secret: Secret, caller: Caller = ALERTMANAGER) -> None:
    """Raise Refused (401) unless the request carries the secret as a bearer token."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    # Compared as bytes: compare_digest takes no text outside ASCII. Its time tells nothing about the secret.
    same = hmac.compare_digest(given.strip().encode(), secret.reveal().encode())
    if scheme.lower() != "bearer" or not same:
        used.store.counters.add("webhooks", outcome="unauthorized")
        raise Refused(
            401,
            "unauthorized",
            "The webhook needs pvewatch's own secret for it as a bearer token.",
            remedy=caller.when_unauthorized,
            headers={"WWW-Authenticate": 'Bearer realm="pvewatch"'},
        )


def read_message(used: Services, kind: type[_Message], caller: Caller = ALERTMANAGER) -> _Message:
    """The request's body as that kind of message. Raises Refused: 413 when it is too large, 422 naming wrong fields."""
    body = request.stream.read(caller.max_bytes + 1)
    if len(body) > caller.max_bytes:
        used.store.counters.add("webhooks", outcome="too_large")
        raise Refused(
            413,
            "too_large",
            f"A webhook message may have {caller.max_bytes} bytes.",
            remedy=caller.when_too_large,
        )
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        used.store.counters.add("webhooks", outcome="invalid")
        problems = [_problem(item) for item in error.errors(include_url=False, include_input=False)[:20]]
        raise Refused(422, "invalid", f"This is not {caller.sends}.", detail=problems) from error


def _problem(item: Mapping[str, Any]) -> dict[str, str]:
    return {"field": ".".join(str(part) for part in item["loc"]), "problem": str(item["msg"])}


def _take(used: Services, alert: Alert) -> tuple[str, str | None]:
    """Store what one alert says. Answers opened, repeated, resolved, or ignored with the reason."""
    if not alert.wants_recovery:
        return "ignored", "it has no label automation=recover"
    guest = alert.guest
    if guest is None or not alert.alertname:
        return "ignored", "it names no guest: the labels alertname, cluster and id (such as qemu/100) are needed"
    if used.settings.cluster(guest.cluster) is None:
        return "ignored", "its cluster is not configured here"
    if alert.status == "resolved":
        known = used.store.incidents.resolve(
            cluster=guest.cluster, vmid=guest.vmid, alertname=alert.alertname, now=now()
        )
        return ("resolved", None) if known else ("ignored", "no incident of this alert lasts")
    incident, opened = used.store.incidents.open_or_find(
        cluster=guest.cluster,
        kind=guest.kind,
        vmid=guest.vmid,
        guest_name=alert.labels.get("name", "")[:255] or None,
        alertname=alert.alertname,
        alert_started_at=alert.started_at,
        now=now(),
    )
    if opened:
        _log.info("incident opened", extra={"incident": incident.id, "cluster": guest.cluster, "guest": guest.vmid})
    return ("opened" if opened else "repeated"), None
