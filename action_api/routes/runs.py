"""What was asked for and what became of it."""

from __future__ import annotations

from flask import Blueprint, render_template, request, url_for

from action_api.auth.sessions import needs_role
from action_api.routes.errors import Refused
from action_api.routes.services import services
from action_api.store import ActionRun

blueprint = Blueprint("runs", __name__, url_prefix="/runs")

PAGE_RUNS = 50
MAX_ID = 2**62

STEPS = (
    ("pending", "Asked for"),
    ("claimed", "Checked again"),
    ("executing", "Proxmox VE asked"),
    ("following", "Carried out"),
)
"""A run's way, in order; what it ends as comes after."""


@blueprint.get("")
@needs_role("viewer")
def recent() -> str:
    """The newest runs."""
    rows = services().store.runs.recent(PAGE_RUNS + 1, before_id=before_id())
    older = rows[PAGE_RUNS - 1].id if len(rows) > PAGE_RUNS else None
    return render_template("runs.html", runs=rows[:PAGE_RUNS], older=older)


@blueprint.get("/<int(max=4611686018427387904):run_id>")
@needs_role("viewer")
def page(run_id: int) -> str:
    """One run with its progress; /api/v1/runs/<id> has the same for the script that keeps the page current."""
    run = find_run(run_id)
    events = services().store.runs.events(run_id)
    return render_template("run.html", run=run, events=events, steps=STEPS, reached=reached(run))


def find_run(run_id: int) -> ActionRun:
    """The run. Raises Refused (404)."""
    run = services().store.runs.get(run_id)
    if run is None:
        link = (url_for("runs.recent"), "All runs")
        raise Refused(404, "run_not_found", f"There is no run {run_id}.", remedy="See the list of runs.", link=link)
    return run


def reached(run: ActionRun) -> int:
    """How many of STEPS the run has reached."""
    if not run.finished:
        return [state for state, _ in STEPS].index(run.state) + 1
    if run.state == "succeeded" or run.upid is not None:
        return len(STEPS)
    if run.intent_at is not None:
        return 3
    return 2 if run.claimed_at is not None else 1


def before_id() -> int | None:
    """Where the wanted page begins: below this number, or at the newest."""
    number = request.args.get("before", type=int)
    return number if number is not None and 0 < number < MAX_ID else None
