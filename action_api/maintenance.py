"""Maintenance: what is being worked on tells nobody, and is left alone by automation, for a time that has an end.

Underneath it is a silence of Alertmanager. Nothing else remembers it, so a silence made there counts as much as one
made here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from action_api.alertmanager import Alertmanager, Matcher, Silence
from action_api.neighbours import first_answer
from pvewatch.inventory import Inventory
from pvewatch.render import durations

MIN_SECONDS = 60
MAX_SECONDS = 30 * 86_400
MAX_COMMENT_CHARACTERS = 500

_NODE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_GUEST = re.compile(r"((qemu|lxc)/)?[1-9][0-9]{2,8}")
# A number alone is of one guest only, but whether of a VM or a container is the exporter's knowledge: it may be down.
_EITHER_KIND = "(qemu|lxc)/"


class NotPossible(ValueError):
    """It cannot be done like this; the message says why and what can."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What is worked on: a cluster, one node of it with the guests there, or one guest (``qemu/101``, or 101)."""

    cluster: str
    node: str | None = None
    guest: str | None = None

    @classmethod
    def of(cls, cluster: str, node: str | None, guest: str | None, *, clusters: Iterable[str]) -> Self:
        """The scope that was asked for; empty texts are nothing. Raises NotPossible."""
        known = list(clusters)
        if cluster not in known:
            names = ", ".join(known[:10]) or "none"
            raise NotPossible(f"{cluster[:63]!r} is not a cluster; known are: {names}")
        if node and guest:
            raise NotPossible("give a node or a guest, not both: a node's guests are silent with it")
        if node and not _NODE.fullmatch(node):
            raise NotPossible(f"{node[:63]!r} is not the name of a node")
        if guest and not _GUEST.fullmatch(guest):
            raise NotPossible(f"{guest[:63]!r} is not a guest: write its number such as 101, or qemu/101 or lxc/101")
        return cls(cluster, node or None, guest or None)

    @property
    def matchers(self) -> tuple[Matcher, ...]:
        """The labels of the alerts that are silenced."""
        cluster = Matcher(name="cluster", value=self.cluster)
        if self.node:
            return (cluster, Matcher(name="node", value=self.node))
        if self.guest and "/" not in self.guest:
            return (cluster, Matcher(name="id", value=f"{_EITHER_KIND}{self.guest}", isRegex=True))
        return (cluster, Matcher(name="id", value=self.guest)) if self.guest else (cluster,)

    def __str__(self) -> str:
        if self.node:
            return f"node {self.node} of {self.cluster} with its guests"
        if self.guest:
            return f"guest {self.guest} of {self.cluster}"
        return f"cluster {self.cluster}"


def described(matchers: Sequence[Matcher]) -> str:
    """What a silence is about, in words where it is maintenance as announced here, else its matchers."""
    scope = scope_of(matchers)
    return str(scope) if scope else ", ".join(map(str, matchers))


def scope_of(matchers: Sequence[Matcher]) -> Scope | None:
    """The scope that has these matchers; None for a silence of another kind."""
    values = {matcher.name: matcher.value for matcher in matchers}
    scope = Scope(
        values.get("cluster", ""), values.get("node"), values.get("id", "").removeprefix(_EITHER_KIND) or None
    )
    return scope if set(scope.matchers) == set(matchers) and len(matchers) == len(values) else None


def seconds_of(text: str, *, what: str = "maintenance", most: float = MAX_SECONDS) -> float:
    """The seconds of a duration such as 90m, 2h or 1d12h. Raises NotPossible when it is none, or too short or long."""
    try:
        seconds = durations.parse(text.strip()[:32])
    except ValueError as error:
        raise NotPossible(f"{text[:32]!r} is not a duration: write for example 30m, 2h or 1d12h") from error
    if not MIN_SECONDS <= seconds <= most:
        limits = f"{durations.written(MIN_SECONDS)} and {durations.written(most)}"
        raise NotPossible(f"{what} lasts between {limits}; {text[:32]} is not")
    return seconds


def comment_of(text: str) -> str:
    """The comment on one line. Raises NotPossible when it says nothing or too much."""
    comment = " ".join(text.split())
    if not comment:
        raise NotPossible("say why, in a comment: whoever wonders about it at night will read it")
    if len(comment) > MAX_COMMENT_CHARACTERS or not comment.isprintable():
        raise NotPossible(f"a comment has at most {MAX_COMMENT_CHARACTERS} printable characters")
    return comment


def missing_in(scope: Scope, inventory: Inventory) -> str | None:
    """Why nothing would be silenced, where the exporter knows better: a silence of a mistyped number silences nothing.

    None: it is there, or nothing is known of the cluster.
    """
    entry = next((entry for entry in inventory.clusters if entry.name == scope.cluster), None)
    if entry is None or not (entry.guests or entry.nodes):
        return None
    if scope.node and scope.node not in (names := [node.name for node in entry.nodes]):
        return f"{scope.cluster} has no node {scope.node}; its nodes are: {', '.join(names[:20]) or 'none'}"
    if scope.guest and not any(scope.guest in (guest.id, str(guest.vmid)) for guest in entry.guests):
        return f"{scope.cluster} has no guest {scope.guest}"
    return None


def start(
    alertmanager_urls: Sequence[str], scope: Scope, *, seconds: float, comment: str, created_by: str, now: float
) -> str:
    """Silence what is worked on; answers the silence's id. Raises NeighbourUnavailable.

    The first Alertmanager that answers takes it, and tells the others of its cluster.
    """
    return first_answer(
        alertmanager_urls,
        lambda url: Alertmanager(url).silence(
            scope.matchers, starts_at=now, ends_at=now + seconds, created_by=created_by, comment=comment
        ),
    )


def present(alertmanager_urls: Sequence[str]) -> tuple[Silence, ...]:
    """What is silent now or will be, as the first Alertmanager that answers says. Raises NeighbourUnavailable."""
    return first_answer(alertmanager_urls, lambda url: Alertmanager(url).silences())


def end(alertmanager_urls: Sequence[str], silence_id: str) -> Silence:
    """End a silence now; answers what it was. Raises SilenceNotFound, NeighbourUnavailable."""
    return first_answer(alertmanager_urls, lambda url: Alertmanager(url).end(silence_id))


def audit_detail(silence: Silence) -> dict[str, str]:
    """What the audit log says of a silence that was ended."""
    return {"silence": silence.id, "of": described(silence.matchers), "created_by": silence.createdBy}
