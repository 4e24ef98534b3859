"""Guests that needed help, what automation did about it, and what it refused to do and why."""

from __future__ import annotations

from flask import Blueprint, render_template, url_for

from action_api.auth.sessions import needs_role
from action_api.routes.errors import Refused
from action_api.routes.runs import before_id
from action_api.routes.services import services

blueprint = Blueprint("incidents", __name__, url_prefix="/incidents")

PAGE_INCIDENTS = 50
RUNS_SHOWN = 100


@blueprint.get("")
@needs_role("viewer")
def recent() -> str:
    """The newest incidents, lasting ones apart."""
    rows = services().store.incidents.recent(PAGE_INCIDENTS + 1, before_id=before_id())
    shown = rows[:PAGE_INCIDENTS]
    return render_template(
        "incidents.html",
        lasting=[incident for incident in shown if incident.closed_at is None],
        ended=[incident for incident in shown if incident.closed_at is not None],
        counts=services().store.incidents.count_by_state(),
        older=rows[PAGE_INCIDENTS - 1].id if len(rows) > PAGE_INCIDENTS else None,
        first_page=before_id() is None,
    )


@blueprint.get("/<int(max=4611686018427387904):incident_id>")
@needs_role("viewer")
def page(incident_id: int) -> str:
    """One incident with every attempt and refusal."""
    incident = services().store.incidents.get(incident_id)
    if incident is None:
        link = (url_for("incidents.recent"), "All incidents")
        words = f"There is no incident {incident_id}."
        raise Refused(404, "incident_not_found", words, remedy="See the list of incidents.", link=link)
    runs = services().store.runs.recent(RUNS_SHOWN, incident_id=incident_id)
    return render_template("incident.html", incident=incident, runs=runs)
