"""The same as the pages, for programs: JSON, with the session of the browser."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, request

from action_api.auth.sessions import needs_role, signed_in
from action_api.routes.display import RUN_WORDS
from action_api.routes.errors import Refused
from action_api.routes.runs import find_run, reached
from action_api.routes.services import services
from action_api.routes.states import condition
from action_api.store import ActionRun
from pvewatch.inventory import InventoryUnavailable

blueprint = Blueprint("api", __name__, url_prefix="/api/v1")

MAX_GUESTS = 500


@blueprint.get("/me")
@needs_role("viewer")
def me() -> Response:
    """Who is signed in: {"name", "role", "second_factor": bool, "may_change": bool}."""
    person = signed_in()
    return jsonify(
        name=person.user.name, role=person.user.role, second_factor=person.enrolled, may_change=person.may_change
    )


@blueprint.get("/guests")
@needs_role("viewer")
def guests() -> Response:
    """Guests as the exporter knows them: `?cluster=`, `?offset=`, `?limit=` (at most 500); `total` counts all pages."""
    try:
        inventory = services().inventory.fetch()
    except InventoryUnavailable as error:
        raise Refused(503, "inventory_unavailable", str(error)) from error
    wanted = request.args.get("cluster")
    offset = max(0, request.args.get("offset", default=0, type=int))
    limit = min(max(1, request.args.get("limit", default=100, type=int)), MAX_GUESTS)
    entries = [entry for entry in inventory.clusters if wanted is None or entry.name == wanted]
    found = [(guest, entry) for entry in entries for guest in entry.guests]
    page = [
        guest.model_dump() | {"condition": condition(guest, entry).word, "age_seconds": entry.age_seconds}
        for guest, entry in found[offset : offset + limit]
    ]
    return jsonify(generated_at=inventory.generated_at, total=len(found), offset=offset, guests=page)


@blueprint.get("/runs/<int(max=4611686018427387904):run_id>")
@needs_role("viewer")
def run(run_id: int) -> Response:
    """A run and its progress; `?after=` a number of an event leaves out what the caller has."""
    found = find_run(run_id)
    after = max(0, request.args.get("after", default=0, type=int))
    events = services().store.runs.events(run_id, after_id=min(after, 2**62))
    return jsonify(run=_run(found), events=[{"id": event.id, "at": event.at, "text": event.text} for event in events])


def _run(run: ActionRun) -> dict[str, Any]:
    word, tone = RUN_WORDS[run.state]
    return {
        "id": run.id,
        "cluster": run.cluster,
        "guest": run.guest_id,
        "guest_name": run.guest_name,
        "action": run.action,
        "origin": run.origin,
        "requested_by": run.requested_by,
        "incident_id": run.incident_id,
        "state": run.state,
        "state_word": word,
        "tone": tone,
        "steps_reached": reached(run),
        "finished": run.finished,
        "created_at": run.created_at,
        "finished_at": run.finished_at,
        "node": run.node,
        "upid": run.upid,
        "reason_code": run.reason_code,
        "reason": run.reason,
        "outcome": run.outcome,
    }
