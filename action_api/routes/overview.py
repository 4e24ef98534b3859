"""The first page: clusters and guests, worst first, filtered and paged by the server."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, render_template

from action_api.auth.sessions import needs_role
from action_api.routes.filters import Filter
from action_api.routes.services import services
from action_api.routes.states import TONES, Condition, condition, figures_are_old
from action_api.store import Incident
from pvewatch.inventory import ClusterEntry, GuestEntry, Inventory, InventoryUnavailable

blueprint = Blueprint("overview", __name__)

PAGE_GUESTS = 100
MAX_CLUSTER_CARDS = 12
MAX_INCIDENTS = 500

TONE_WORDS = {
    "bad": "Need help",
    "warn": "Other states",
    "unknown": "Unknown",
    "good": "Running",
    "idle": "Off",
}


@dataclass(frozen=True, slots=True)
class GuestRow:
    """A guest of the table."""

    guest: GuestEntry
    condition: Condition
    incident: Incident | None

    @property
    def about(self) -> str:
        """What a search looks through."""
        guest = self.guest
        place = f"{guest.id} {guest.name or ''} {guest.node} {guest.cluster} {guest.pool or ''} {self.condition.word}"
        return f"{place} {' '.join(guest.tags)} {guest.lock or ''}"

    @property
    def order(self) -> tuple[object, ...]:
        """Open incidents first, then the worst states, then by place."""
        return (self.incident is None, self.condition.rank, self.guest.cluster, self.guest.vmid)


@dataclass(frozen=True, slots=True)
class ClusterCard:
    """A cluster in figures. `problems` are sentences."""

    cluster: ClusterEntry
    nodes_online: int
    guests_running: int
    guests_bad: int
    problems: tuple[str, ...]

    @property
    def order(self) -> tuple[object, ...]:
        """Clusters with problems first."""
        return (not self.problems, -self.guests_bad, self.cluster.name)


@blueprint.get("/")
@needs_role("viewer")
def page() -> str:
    """Clusters and guests."""
    wanted = Filter.of_request(TONES)
    try:
        inventory = services().inventory.fetch()
    except InventoryUnavailable as error:
        return render_template("overview.html", unavailable=str(error), wanted=wanted)
    rows = _rows(inventory)
    counts = {tone: sum(row.condition.tone == tone for row in rows) for tone in TONES}
    found = sorted(
        (row for row in rows if wanted.takes(row.guest.cluster, (row.condition.tone,), row.about)),
        key=lambda row: row.order,
    )
    pages = max(1, -(-len(found) // PAGE_GUESTS))
    first = (min(wanted.page, pages) - 1) * PAGE_GUESTS
    cards = sorted((_card(entry) for entry in inventory.clusters), key=lambda card: card.order)
    return render_template(
        "overview.html",
        unavailable=None,
        wanted=wanted,
        inventory=inventory,
        cards=cards[:MAX_CLUSTER_CARDS],
        more_clusters=max(0, len(cards) - MAX_CLUSTER_CARDS),
        cluster_names=sorted(entry.name for entry in inventory.clusters),
        rows=found[first : first + PAGE_GUESTS],
        found=len(found),
        total=len(rows),
        first=first,
        page=first // PAGE_GUESTS + 1,
        pages=pages,
        counts=counts,
        tone_words=TONE_WORDS,
    )


def _rows(inventory: Inventory) -> list[GuestRow]:
    lasting = {
        (incident.cluster, incident.vmid): incident
        for incident in services().store.incidents.recent(MAX_INCIDENTS)
        if incident.closed_at is None
    }
    return [
        GuestRow(guest, condition(guest, entry), lasting.get((guest.cluster, guest.vmid)))
        for entry in inventory.clusters
        for guest in entry.guests
    ]


def _card(entry: ClusterEntry) -> ClusterCard:
    offline = sorted(node.name for node in entry.nodes if node.status != "online")
    problems = []
    if entry.error:
        problems.append(f"Cannot be read: {entry.error}")
    elif figures_are_old(entry, expire_seconds=services().settings.exporter.figures_expire_seconds):
        problems.append("Nothing is known of it at the moment.")
    if entry.quorate is False:
        problems.append("No quorum: Proxmox VE changes nothing in it.")
    if offline:
        problems.append(f"Not online: {', '.join(offline[:5])}{' …' if len(offline) > 5 else ''}")
    states = [condition(guest, entry) for guest in entry.guests]
    return ClusterCard(
        cluster=entry,
        nodes_online=len(entry.nodes) - len(offline),
        guests_running=sum(guest.status == "running" for guest in entry.guests),
        guests_bad=sum(state.tone == "bad" for state in states),
        problems=tuple(problems),
    )
