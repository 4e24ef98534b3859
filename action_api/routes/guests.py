"""One guest, and the page between a link and an action.

`GET …/act/<action>` shows what would happen and grants nothing: links to it may stand in dashboards and chats. Its form
carries a single-use token, and only the POST of that form, by the person whose page it was, asks for anything.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, NoReturn

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from werkzeug.exceptions import NotFound

from action_api.auth.sessions import Visitor, hash_of, needs_role, refuse_role, signed_in
from action_api.catalogue import Action, Offer, Refusal, find, may, obstacle, offered
from action_api.routes.errors import Refused
from action_api.routes.probe_results import probe_results
from action_api.routes.services import now, services
from action_api.routes.states import Condition, condition, figures_are_old, find_guest, state_shown
from action_api.store import ActionRun, GuestBusy
from pvewatch.inventory import ClusterEntry, GuestEntry, InventoryUnavailable

blueprint = Blueprint("guests", __name__, url_prefix="/guests")

CONFIRM_FIELD = "confirmation"
RUNS_SHOWN = 10

_GUEST = "/<string(maxlength=63):cluster>/<any(qemu, lxc):kind>/<int(max=999999999):vmid>"


@dataclass(frozen=True, slots=True)
class Seen:
    """A guest as the exporter saw it last."""

    guest: GuestEntry
    cluster: ClusterEntry
    condition: Condition
    last_run: ActionRun | None

    @property
    def state_shown(self) -> str:
        """What a confirmation is bound to."""
        return state_shown(self.guest, self.last_run.id if self.last_run else None)


@blueprint.url_value_preprocessor
def _printable(_endpoint: str | None, values: dict[str, Any] | None) -> None:
    # PostgreSQL takes no NUL in a text; nothing unprintable is the name of a cluster or an action.
    if not all(str(value).isprintable() for value in (values or {}).values()):
        raise NotFound


@blueprint.get(_GUEST)
@needs_role("viewer")
def page(cluster: str, kind: str, vmid: int) -> str:
    """Everything known of one guest, and what can be asked for."""
    person, store = signed_in(), services().store
    seen: Seen | None = None
    unavailable: str | None = None
    offers: tuple[Offer, ...] = ()
    try:
        seen = _look(cluster, kind, vmid)
        offers = _offers(seen, person)
    except InventoryUnavailable as error:
        unavailable = str(error)
    probes, probes_unknown = probe_results(services().settings.prometheus_url, seen.guest) if seen else ((), None)
    return render_template(
        "guest.html",
        cluster=cluster,
        kind=kind,
        vmid=vmid,
        guest_id=f"{kind}/{vmid}",
        seen=seen,
        unavailable=unavailable,
        offers=offers,
        why_nothing=_shared_refusal(offers),
        probes=probes,
        probes_unknown=probes_unknown,
        runs=store.runs.recent(RUNS_SHOWN, cluster=cluster, vmid=vmid),
        incidents=store.incidents.recent(5, cluster=cluster, vmid=vmid),
    )


@blueprint.get(f"{_GUEST}/act/<string(maxlength=32):action>")
@needs_role("viewer")
def confirm(cluster: str, kind: str, vmid: int, action: str) -> str | Response:
    """What would happen. Nothing happens."""
    person, wanted = signed_in(), _action(action)
    try:
        seen = _look(cluster, kind, vmid)
    except InventoryUnavailable as error:
        _refuse_unavailable(error)
    if not may(person.user.role, wanted):
        refuse_role(person, wanted.role_required)
    if not person.may_change:
        return make_response(redirect(url_for("sign_in.enrolment", next=request.path), 303))
    refusal = _standing_against(wanted, seen)
    token = None
    if refusal is None:
        token = secrets.token_urlsafe(32)
        services().store.confirmations.issue(
            hash_of(token), person.session.id_hash, cluster=cluster, kind=kind, vmid=vmid, action=action,
            state_shown=seen.state_shown, now=now(),
        )  # fmt: skip
    return render_template(
        "confirm.html", action=wanted, seen=seen, refusal=refusal, token=token, warnings=_warnings(wanted, seen)
    )


@blueprint.post(f"{_GUEST}/act/<string(maxlength=32):action>")
@needs_role("viewer")
def ask(cluster: str, kind: str, vmid: int, action: str) -> Response:
    """Write down that this person asks for the action; a worker does it."""
    person, wanted, store = signed_in(), _action(action), services().store
    place = {"cluster": cluster, "guest": f"{kind}/{vmid}"}
    if not may(person.user.role, wanted):
        refuse_role(person, wanted.role_required)
    if not person.may_change:
        _refuse(person, place, wanted, 403, Refusal("second_factor", "A second factor is needed to change something."))
    token = request.form.get(CONFIRM_FIELD, "")
    shown = store.confirmations.redeem(
        hash_of(token), person.session.id_hash, cluster=cluster, kind=kind, vmid=vmid, action=action, now=now()
    )
    if shown is None:
        words = "This confirmation was used before, is older than five minutes, or was made for something else."
        _refuse(person, place, wanted, 409, Refusal("confirmation_invalid", words))
    try:
        seen = _look(cluster, kind, vmid, fresh=True)
    except InventoryUnavailable as error:
        _refuse_unavailable(error)
    refusal = _standing_against(wanted, seen)
    if refusal is None and shown.state_shown != seen.state_shown:
        refusal = Refusal("state_changed", "The guest has changed since the page was shown.")
    if refusal is not None:
        _refuse(person, place, wanted, 409, refusal)
    try:
        run = store.runs.request(
            cluster=cluster, kind=kind, vmid=vmid, guest_name=seen.guest.name, action=action,
            requested_by=person.user.name, now=now(), remote=request.remote_addr,
        )  # fmt: skip
    except GuestBusy as error:
        _refuse(person, place, wanted, 409, Refusal("busy", f"Run {error.run_id} of this guest has not ended yet."))
    return make_response(redirect(url_for("runs.page", run_id=run.id), 303))


def _look(cluster: str, kind: str, vmid: int, *, fresh: bool = False) -> Seen:
    """The guest now. Raises InventoryUnavailable, and Refused (404) when there is no such guest."""
    inventory = services().inventory.fetch(fresh=fresh)
    found = find_guest(inventory, cluster, kind, vmid)
    if found is None:
        names = [entry.name for entry in inventory.clusters]
        remedy = "It may have been removed or have another number now; look for its name in the overview."
        if cluster not in names:
            remedy = f"There is no cluster {cluster!r} in the configuration; known: {', '.join(names[:10]) or 'none'}."
        raise Refused(
            404,
            "guest_not_found",
            f"There is no guest {kind}/{vmid} in cluster {cluster}.",
            remedy=remedy,
            link=(url_for("overview.page", q=vmid), "Look for it in the overview"),
        )
    guest, entry = found
    runs = services().store.runs.recent(1, cluster=cluster, vmid=vmid)
    return Seen(guest, entry, condition(guest, entry), runs[0] if runs else None)


def _action(name: str) -> Action:
    action = find(name)
    if action is None:
        raise Refused(404, "action_not_found", f"There is no action {name!r}.", remedy="See the guest's page.")
    return action


def _standing_against(action: Action, seen: Seen) -> Refusal | None:
    """Why the action cannot be asked for now, whoever asks."""
    settings, cluster = services().settings, seen.cluster
    if action.name not in settings.automation.permitted_actions:
        words = f"{action.title} is switched off in the configuration (automation.permitted_actions)."
        return Refusal("not_permitted", words)
    if figures_are_old(cluster, expire_seconds=settings.exporter.figures_expire_seconds):
        return Refusal("figures_old", f"What is known of cluster {cluster.name} is too old to act upon.")
    if cluster.quorate is False:
        return Refusal("no_quorum", f"Cluster {cluster.name} has no quorum.")
    if seen.last_run is not None and not seen.last_run.finished:
        return Refusal("busy", f"Run {seen.last_run.id} of this guest has not ended yet.")
    return obstacle(action, seen.guest)


def _offers(seen: Seen, person: Visitor) -> tuple[Offer, ...]:
    """The catalogue's offers, with what stands against them besides the guest's own state."""
    return tuple(
        Offer(offer.action, _standing_against(offer.action, seen)) if may(person.user.role, offer.action) else offer
        for offer in offered(seen.guest, person.user.role)
    )


def _shared_refusal(offers: tuple[Offer, ...]) -> str | None:
    """The one reason, where the same stands against every action: said once instead of three times."""
    reasons = {offer.refusal.message if offer.refusal else None for offer in offers}
    return reasons.pop() if len(reasons) == 1 else None


def _warnings(action: Action, seen: Seen) -> tuple[str, ...]:
    """What the person should know and could overlook."""
    guest, cluster, warnings = seen.guest, seen.cluster, []
    if guest.ha_state:
        warnings.append(
            f"It is managed by HA (state {guest.ha_state}): Proxmox VE's HA manager carries the action out, may move "
            "it to another node, and may undo it."
        )
    if action.name == "reset" and guest.heartbeat is not None and not guest.heartbeat.silent:
        warnings.append("Its agent reports: the guest is alive inside. Shut down would be gentler.")
    if cluster.error:
        warnings.append(f"The newest try to read the cluster failed ({cluster.error}); this may be out of date.")
    if action.name == "shutdown" and guest.heartbeat is not None and guest.heartbeat.silent:
        warnings.append("Its agent is silent: a hung guest does not obey a shutdown. Reset does not ask it.")
    return tuple(warnings)


def _refuse(person: Visitor, place: dict[str, str], action: Action, status: int, refusal: Refusal) -> NoReturn:
    """Record that an action was refused, and say so."""
    services().store.audit.write(
        "action.refused",
        actor=person.user.name,
        origin="person",
        now=now(),
        cluster=place["cluster"],
        guest=place["guest"],
        detail={"action": action.name, "reason_code": refusal.code, "reason": refusal.message},
        remote=request.remote_addr,
    )
    services().store.counters.add("refusals", reason=refusal.code)
    raise Refused(
        status,
        refusal.code,
        f"{refusal.message} Nothing was done.",
        remedy="Look at the guest again and decide anew.",
        link=(request.path, "Show what would happen now"),
    )


def _refuse_unavailable(error: InventoryUnavailable) -> NoReturn:
    raise Refused(
        503,
        "inventory_unavailable",
        f"The state of the guests is not known now, so no action is offered: {error}",
        remedy="Start the exporter or look at its log, then open this page again.",
        link=(request.path, "Try again"),
    )
