"""POST /webhook/notify/<channel>: a message of Alertmanager for a channel that it does not speak.

202 means: on disk, for `pvewatch worker --queue notifications` to deliver, or known already. Nothing is delivered here.
"""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, make_response

from action_api.routes.errors import Refused
from action_api.routes.services import now, services
from action_api.routes.webhooks import authenticate, read_message
from action_api.schemas.alertmanager import Notification
from action_api.store import QueueFull
from pvewatch.config import Secret


def create_blueprint(webhook_secret: Secret) -> Blueprint:
    """The relay of an application. It knows no sessions: the bearer token is the whole authentication."""
    blueprint = Blueprint("relay", __name__)

    @blueprint.post("/webhook/notify/<channel>")
    def notify(channel: str) -> Response:
        used = services()
        authenticate(used, webhook_secret)
        if used.settings.channel(channel) is None:
            used.store.counters.add("webhooks", outcome="unknown_channel")
            raise Refused(
                404,
                "unknown_channel",
                f"No channel {channel[:63]!r} is configured.",
                remedy="Render alertmanager.yml again, and reload Alertmanager.",
            )
        message = read_message(used, Notification)
        waits = used.settings.alertmanager
        # Alertmanager gives up repeating within a group's interval; what comes later is meant to be told again.
        repeat_seconds = min(waits.group_interval_seconds, waits.repeat_interval_seconds / 2)
        try:
            stored = used.store.deliveries.accept(
                channel, message.model_dump_json(), message.digest(), now=now(), repeat_seconds=repeat_seconds
            )
        except QueueFull as error:
            used.store.counters.add("webhooks", outcome="queue_full")
            raise Refused(
                503,
                "queue_full",
                f"{error}.",
                remedy="Look at `pvewatch notify list`: is `pvewatch worker --queue notifications` running?",
            ) from error
        used.store.counters.add("webhooks", outcome="accepted")
        return make_response(jsonify({"delivery": stored.id if stored else None, "repeated": stored is None}), 202)

    return blueprint
