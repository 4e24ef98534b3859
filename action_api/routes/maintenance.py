"""Maintenance: what is silent, and the form that silences a guest, a node or a cluster for a time.

An operator with a second factor begins and ends it: whoever hides what happens to a guest changes something. The
single-use token that actions have is not needed besides: it ties a click to the state of one guest, and a silence
depends on no state, has an end, stands on this page under a name, and is ended with one click.
"""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for

from action_api import maintenance as periods
from action_api.alertmanager import Silence, SilenceNotFound
from action_api.auth.sessions import Visitor, needs_role, signed_in
from action_api.neighbours import NeighbourUnavailable
from action_api.routes.display import utc
from action_api.routes.errors import Refused
from action_api.routes.services import now, services
from pvewatch.inventory import InventoryUnavailable

blueprint = Blueprint("maintenance", __name__, url_prefix="/maintenance")

MAX_SHOWN = 200
DURATIONS = (
    ("30m", "30 minutes"),
    ("1h", "1 hour"),
    ("2h", "2 hours"),
    ("4h", "4 hours"),
    ("8h", "8 hours"),
    ("1d", "1 day"),
    ("3d", "3 days"),
    ("7d", "7 days"),
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What stands in the form's fields."""

    cluster: str
    node: str
    guest: str
    duration: str
    comment: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A silence, and what it is about where that is a cluster, node or guest."""

    silence: Silence
    scope: periods.Scope | None
    words: str


@blueprint.get("")
@needs_role("viewer")
def page() -> str:
    """What is silent now or will be. Links from alerts say in the address what the form begins with."""
    return _page(_wanted("id", default_duration="2h"))


@blueprint.post("")
@needs_role("operator")
def begin() -> Response:
    """Silence what the form says."""
    person = _who_may_change()
    wanted = _wanted("guest")
    moment = now()
    try:
        scope = _scope(wanted)
        seconds, comment = periods.seconds_of(wanted.duration), periods.comment_of(wanted.comment)
        silence_id = periods.start(
            services().settings.alertmanager_urls, scope,
            seconds=seconds, comment=comment, created_by=person.user.name, now=moment,
        )  # fmt: skip
    except periods.NotPossible as error:
        return make_response(_page(wanted, problem=f"{error}."), 422)
    except NeighbourUnavailable as error:
        return make_response(_page(wanted, problem=f"{error}."), 503)
    services().store.audit.write(
        "maintenance.started", actor=person.user.name, origin="person", now=moment, remote=request.remote_addr,
        cluster=scope.cluster, guest=scope.guest,
        detail={"silence": silence_id, "of": str(scope), "until": utc(moment + seconds), "comment": comment},
    )  # fmt: skip
    return make_response(redirect(url_for("maintenance.page", begun=silence_id), 303))


@blueprint.post("/<string(maxlength=64):silence_id>/end")
@needs_role("operator")
def end(silence_id: str) -> Response:
    """End a silence now."""
    person = _who_may_change()
    link = (url_for("maintenance.page"), "Back to maintenance")
    try:
        ended = periods.end(services().settings.alertmanager_urls, silence_id)
    except SilenceNotFound as error:
        raise Refused(404, "silence_not_found", "This has ended already, or never was.", link=link) from error
    except NeighbourUnavailable as error:
        remedy = "Start Alertmanager or look at its log, then try again."
        raise Refused(
            503, "alertmanager_unavailable", f"{error}. Nothing was changed.", remedy=remedy, link=link
        ) from error
    scope = periods.scope_of(ended.matchers)
    services().store.audit.write(
        "maintenance.ended", actor=person.user.name, origin="person", now=now(), remote=request.remote_addr,
        cluster=scope.cluster if scope else None, guest=scope.guest if scope else None,
        detail=periods.audit_detail(ended),
    )  # fmt: skip
    return make_response(redirect(url_for("maintenance.page", ended=1), 303))


def _who_may_change() -> Visitor:
    """Who is signed in, with a session that is strong enough. Raises Refused (403), and records it."""
    person = signed_in()
    if person.may_change:
        return person
    services().store.audit.write(
        "maintenance.refused", actor=person.user.name, origin="person", now=now(), remote=request.remote_addr,
        detail={"reason_code": "second_factor"},
    )  # fmt: skip
    services().store.counters.add("refusals", reason="second_factor")
    raise Refused(
        403,
        "second_factor",
        "A second factor is needed to change something. Nothing was changed.",
        link=(url_for("sign_in.enrolment", next=url_for("maintenance.page")), "Set it up"),
    )


def _scope(wanted: Wanted) -> periods.Scope:
    """What the form is about. Raises NotPossible, also when the exporter knows that there is no such thing."""
    clusters = [cluster.name for cluster in services().settings.clusters]
    scope = periods.Scope.of(wanted.cluster, wanted.node, wanted.guest, clusters=clusters)
    try:
        problem = periods.missing_in(scope, services().inventory.fetch())
    except InventoryUnavailable:
        return scope  # maintenance must be possible just when things do not answer
    if problem:
        raise periods.NotPossible(problem)
    return scope


def _wanted(guest_field: str, default_duration: str = "") -> Wanted:
    """The fields of the form, or of the address that fills it in, cut to what they may hold."""

    def field(name: str, characters: int, default: str = "") -> str:
        return request.values.get(name, default).strip()[:characters]

    return Wanted(
        cluster=field("cluster", 63),
        node=field("node", 63),
        guest=field(guest_field, 16),
        duration=field("duration", 32, default_duration),
        comment=field("comment", periods.MAX_COMMENT_CHARACTERS + 1),
    )


def _page(wanted: Wanted, *, problem: str | None = None) -> str:
    unavailable: str | None = None
    present: tuple[Silence, ...] = ()
    try:
        present = periods.present(services().settings.alertmanager_urls)
    except NeighbourUnavailable as error:
        unavailable = str(error)
    begun = request.args.get("begun")
    shown = [Shown(s, periods.scope_of(s.matchers), periods.described(s.matchers)) for s in present[:MAX_SHOWN]]
    return render_template(
        "maintenance.html",
        person=signed_in(),
        wanted=wanted,
        problem=problem,
        unavailable=unavailable,
        shown=shown,
        more=len(present) - len(shown),
        begun=next((one for one in shown if one.silence.id == begun), None),
        ended="ended" in request.args,
        clusters=[cluster.name for cluster in services().settings.clusters],
        durations=DURATIONS,
        alertmanager_url=services().settings.alertmanager_url,
        now=now(),
    )
