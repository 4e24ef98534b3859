"""The agents inside guests: who reports, who does not, and what brings one into a guest.

A token lets its holder say "this guest is alive", also when it hangs. So one is given out to an operator with a second
factor only, in the answer to a POST, and the audit log says to whom. The exporter makes it: the secret behind the
tokens never gets here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from werkzeug.exceptions import NotFound

from action_api.auth.sessions import Visitor, needs_role, signed_in
from action_api.routes.errors import Refused
from action_api.routes.filters import Filter
from action_api.routes.services import now, services
from action_api.routes.states import Tone, find_guest
from pvewatch.enrolment import PLATFORMS, EnrolmentRefused, Platform
from pvewatch.inventory import GuestEntry, Inventory, InventoryUnavailable, agent_states

blueprint = Blueprint("agents", __name__, url_prefix="/agents")

PAGE_AGENTS = 100

# What `agent_states` says → how bad it is, and what it means. In the order of the list: worst first.
STATES: dict[str, tuple[Tone, str]] = {
    "shared identity": ("bad", "Two machines use this guest's token; what either says is not trusted."),
    "silent": ("bad", "The guest runs, and its agent does not report."),
    "outdated": ("warn", "This pvewatch has a newer agent."),
    "previous secret": ("warn", "Its token derives from the secret before the rotation and will be refused."),
    "no agent": ("idle", "No agent was ever heard from inside this guest."),
    "not running": ("idle", "The guest is off, and so is its agent."),
    "ok": ("good", "It reports."),
}
GIVEN = ("token", *PLATFORMS)
_FILES: dict[Platform, str] = {"linux": "sh", "windows": "ps1"}
_GUEST = "/<string(maxlength=63):cluster>/<any(qemu, lxc):kind>/<int(min=100, max=999999999):vmid>"


@dataclass(frozen=True, slots=True)
class AgentRow:
    """A guest of the table, and what is to be said of its agent."""

    guest: GuestEntry
    states: tuple[str, ...]

    @property
    def about(self) -> str:
        """What a search looks through."""
        guest, heartbeat = self.guest, self.guest.heartbeat
        agent = f"{heartbeat.agent_version} {heartbeat.agent_platform or ''}" if heartbeat else ""
        return f"{guest.id} {guest.name or ''} {guest.node} {guest.cluster} {agent} {' '.join(self.states)}"

    @property
    def order(self) -> tuple[object, ...]:
        """The worst first, then by place."""
        return (min(list(STATES).index(state) for state in self.states), self.guest.cluster, self.guest.vmid)


@blueprint.url_value_preprocessor
def _printable(_endpoint: str | None, values: dict[str, Any] | None) -> None:
    # PostgreSQL takes no NUL in a text, and the audit log gets these.
    if not all(str(value).isprintable() for value in (values or {}).values()):
        raise NotFound


@blueprint.get("")
@needs_role("viewer")
def page() -> str:
    """Every guest that could have an agent."""
    wanted = Filter.of_request(STATES)
    try:
        inventory = services().inventory.fetch()
    except InventoryUnavailable as error:
        return render_template("agents.html", unavailable=str(error), wanted=wanted)
    rows = [
        AgentRow(guest, agent_states(guest))
        for entry in inventory.clusters
        for guest in entry.guests
        if not guest.template
    ]
    found = sorted(
        (row for row in rows if wanted.takes(row.guest.cluster, row.states, row.about)), key=lambda row: row.order
    )
    pages = max(1, -(-len(found) // PAGE_AGENTS))
    first = (min(wanted.page, pages) - 1) * PAGE_AGENTS
    return render_template(
        "agents.html",
        unavailable=None,
        wanted=wanted,
        cluster_names=sorted(entry.name for entry in inventory.clusters),
        unread=[entry for entry in inventory.clusters if entry.error],
        rows=found[first : first + PAGE_AGENTS],
        found=len(found),
        total=len(rows),
        enrolled=sum(row.guest.heartbeat is not None for row in rows),
        first=first,
        page=first // PAGE_AGENTS + 1,
        pages=pages,
        counts={state: sum(state in row.states for row in rows) for state in STATES},
        states=STATES,
    )


@blueprint.get(_GUEST)
@needs_role("operator")
def enrol(cluster: str, kind: str, vmid: int) -> str | Response:
    """How an agent gets into this guest. Nothing is given out yet."""
    if not signed_in().may_change:
        return make_response(redirect(url_for("sign_in.enrolment", next=request.path), 303))
    return _enrol_page(_guest(cluster, kind, vmid))


@blueprint.post(_GUEST)
@needs_role("operator")
def give(cluster: str, kind: str, vmid: int) -> str | Response:
    """Give out the guest's token: by itself on the page, or in an installer to be saved."""
    person, given = signed_in(), request.form.get("give", "")
    if not person.may_change:
        _refuse(person, cluster, f"{kind}/{vmid}", 403, "second_factor", "A second factor is needed to get a token.")
    if given not in GIVEN:
        raise Refused(400, "bad_request", "Nothing is given out under that name.", remedy="Open the page again.")
    guest = _guest(cluster, kind, vmid)
    platform: Platform | None = next((each for each in PLATFORMS if each == given), None)
    try:
        enrolment = services().enrolment.ask(cluster, vmid, platform)
    except EnrolmentRefused as error:
        _refuse(person, cluster, guest.id, 503, "enrolment_refused", f"There is no token to give: {error}.")
    services().store.audit.write(
        "agent.token_given", actor=person.user.name, origin="person", now=now(), cluster=cluster, guest=guest.id,
        detail={"as": given}, remote=request.remote_addr,
    )  # fmt: skip
    if platform is None:
        return _enrol_page(guest, token=enrolment.token, url=enrolment.url)
    answer = make_response(enrolment.script or "")
    answer.headers["Content-Type"] = "text/plain; charset=utf-8"
    answer.headers["Content-Disposition"] = f'attachment; filename="{_file_name(guest, platform)}"'
    return answer


def _enrol_page(guest: GuestEntry, *, token: str | None = None, url: str | None = None) -> str:
    return render_template(
        "enrol.html",
        guest=guest,
        states=agent_states(guest),
        about=STATES,
        files={platform: _file_name(guest, platform) for platform in PLATFORMS},
        token=token,
        url=url,
    )


def _file_name(guest: GuestEntry, platform: Platform) -> str:
    # Letters and digits only: the configuration gives clusters their names so, and the number is one.
    return f"pvewatch-agent-{guest.cluster}-{guest.vmid}.{_FILES[platform]}"


def _guest(cluster: str, kind: str, vmid: int) -> GuestEntry:
    """The guest now. Raises Refused when there is none, when it is a template, and when nothing is known now."""
    try:
        inventory: Inventory = services().inventory.fetch(fresh=True)
    except InventoryUnavailable as error:
        raise Refused(
            503, "inventory_unavailable", f"The guests are not known now: {error}", remedy="Try again in a moment."
        ) from error
    found = find_guest(inventory, cluster, kind, vmid)
    if found is None:
        raise Refused(
            404,
            "guest_not_found",
            f"There is no guest {kind}/{vmid} in cluster {cluster}.",
            remedy="Look for it in the list.",
            link=(url_for("agents.page", q=vmid), "Agents"),
        )
    if found[0].template:
        raise Refused(
            409,
            "is_template",
            f"{found[0].id} is a template.",
            remedy="Every guest cloned from it would speak as the same one; give each clone its own token.",
        )
    return found[0]


def _refuse(person: Visitor, cluster: str, guest: str, status: int, code: str, message: str) -> NoReturn:
    services().store.audit.write(
        "agent.token_refused", actor=person.user.name, origin="person", now=now(), cluster=cluster, guest=guest,
        detail={"reason_code": code, "reason": message[:500]}, remote=request.remote_addr,
    )  # fmt: skip
    raise Refused(status, code, message, remedy="Nothing was given out.", link=(request.path, "Back"))
