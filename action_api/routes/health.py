"""Whether the process lives, and whether it can do its work. For supervisors and load balancers: nothing secret."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from action_api.routes.errors import Refused
from action_api.routes.services import services
from pvewatch.inventory import InventoryUnavailable

blueprint = Blueprint("health", __name__, url_prefix="/-")


@blueprint.get("/healthy")
def healthy() -> Response:
    """The process answers."""
    return jsonify(status="healthy")


@blueprint.get("/ready")
def ready() -> Response:
    """Database and inventory can be read; 503 says which cannot."""
    services().store.runs.count_by_state()
    try:
        services().inventory.fetch()
    except InventoryUnavailable as error:
        raise Refused(503, "inventory_unavailable", str(error)) from error
    return jsonify(status="ready")
