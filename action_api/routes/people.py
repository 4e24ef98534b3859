"""For administrators: the audit log, who may sign in, and the thresholds that were set at run time.

People are changed with `pvewatch user …`, thresholds with `pvewatch threshold …`.
"""

from __future__ import annotations

from flask import Blueprint, render_template, request

from action_api.auth.sessions import needs_role
from action_api.routes.runs import before_id
from action_api.routes.services import now, services

blueprint = Blueprint("people", __name__)

PAGE_ENTRIES = 100


@blueprint.get("/audit")
@needs_role("admin")
def audit() -> str:
    """Who did, asked for or was refused what."""
    actor, event = _asked_for("actor"), _asked_for("event")
    rows = services().store.audit.recent(
        PAGE_ENTRIES + 1, before_id=before_id(), actor=actor or None, event=event or None
    )
    return render_template(
        "audit.html",
        entries=rows[:PAGE_ENTRIES],
        older=rows[PAGE_ENTRIES - 1].id if len(rows) > PAGE_ENTRIES else None,
        actor=actor,
        event=event,
    )


@blueprint.get("/people")
@needs_role("admin")
def people() -> str:
    """Everybody who may sign in."""
    return render_template("people.html", people=services().store.users.list())


@blueprint.get("/thresholds")
@needs_role("admin")
def thresholds() -> str:
    """What counts instead of the configured thresholds now."""
    moment = now()
    present = services().store.threshold_overrides.present(now=moment)
    return render_template("thresholds.html", thresholds=present, now=moment)


def _asked_for(field: str) -> str:
    # PostgreSQL takes no NUL in a text, and no name or event has anything unprintable.
    value = request.args.get(field, "").strip()[:64]
    return value if value.isprintable() else ""
