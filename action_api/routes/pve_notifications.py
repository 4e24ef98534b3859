"""POST /webhook/pve/<cluster>: what Proxmox VE itself notifies of becomes an alert of Alertmanager.

202 means: stored. Proxmox VE says a thing once and does not try again, so that an Alertmanager that is away must not
cost a notification; action_api/pve_alerts.py tells it when it is back.
"""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response, jsonify, make_response

from action_api.pve_alerts import alert_of
from action_api.routes.errors import Refused
from action_api.routes.services import now, services
from action_api.routes.webhooks import Caller, authenticate, read_message
from action_api.schemas.pve_notification import PveNotification
from action_api.store import TooManyAlerts
from pvewatch.config import Secret

# The log of a backup of many guests is up to a megabyte, and longer as JSON.
MAX_BODY_BYTES = 2_000_000
PROXMOX_VE = Caller(
    sends="the body that docs/notifications.md gives for a webhook target of Proxmox VE",
    when_unauthorized="Give the webhook target the header Authorization with `Bearer {{ secrets.token }}`, and the "
    "secret `token` with the content of <data_dir>/secrets/pve-notifications.",
    when_too_large='Leave {{ json message }} out of the body of the webhook target: write "" in its place.',
    max_bytes=MAX_BODY_BYTES,
)


def create_blueprint(secret: Secret, stored: Callable[[], None]) -> Blueprint:
    """The webhook of an application; `stored` is called after something new is on disk. It knows no sessions."""
    blueprint = Blueprint("pve_notifications", __name__)

    @blueprint.post("/webhook/pve/<string(maxlength=63):cluster>")
    def notify(cluster: str) -> Response:
        used = services()
        authenticate(used, secret, PROXMOX_VE)
        if used.settings.cluster(cluster) is None:
            used.store.counters.add("webhooks", outcome="unknown_cluster")
            raise Refused(
                404,
                "unknown_cluster",
                f"No cluster {cluster!r} is configured.",
                remedy="The URL of the webhook target ends with the cluster's name in pvewatch.yaml.",
            )
        notification = read_message(used, PveNotification, PROXMOX_VE)
        moment = now()
        try:
            new = used.store.pve_alerts.accept(alert_of(notification, cluster, used.settings, now=moment), now=moment)
        except TooManyAlerts as error:
            used.store.counters.add("webhooks", outcome="queue_full")
            remedy = "Let the matcher send less: without severity info, or with chosen types only."
            raise Refused(503, "queue_full", f"{error}.", remedy=remedy) from error
        used.store.counters.add("webhooks", outcome="accepted")
        if new:
            stored()
        return make_response(jsonify({"repeated": not new}), 202)

    return blueprint
