"""One call for each guest: the dearest way to ask, for some things the only one, and so spread over time.

Each guest is asked again after a while of its own, so many a minute in the whole cluster and no more, those that have
never been asked first. A guest that cannot be read keeps its last answer, does not hold up the others, and is not asked
again before its next turn.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from exporter.collectors.definition import Incomplete, NothingHere, Request
from exporter.snapshot import View
from pvewatch.config import ExporterSettings
from pvewatch.pve.errors import AuthFailed, NotFound, PveError, Unreachable
from pvewatch.pve.models import Guest

# The collectors of a node that come afterwards wait as long: one silent guest agent costs 3 s.
RUN_SECONDS = 10.0
# After a pause a run may do the work of so many minutes.
MAX_MINUTES_AT_ONCE = 5.0

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Answered(Generic[_T]):
    """One guest's newest answer, None before the first; times are unix seconds. `problem`: why the last try failed."""

    value: _T | None
    read_at: float
    tried_at: float
    problem: PveError | None = None


@dataclass(frozen=True, slots=True)
class Swept(Generic[_T]):
    """What is known of one node's guests, by id such as `qemu/100`."""

    at: float
    by_id: Mapping[str, Answered[_T]]


@dataclass(frozen=True, slots=True)
class Plan(Generic[_T]):
    """What to ask whom how often: `per_minute` in the whole cluster at most, each guest every `every_seconds`.

    The collector's interval_seconds in the settings goes before `every_seconds`.
    """

    collector: str
    wanted: Callable[[Request, Guest], bool]
    ask: Callable[[Request, Guest], _T]
    every_seconds: float
    per_minute: int

    def every(self, settings: ExporterSettings) -> float:
        """Seconds after which a guest is asked again."""
        return settings.collector(self.collector).interval_seconds or self.every_seconds


def sweep(request: Request, plan: Plan[_T]) -> Swept[_T]:
    """Ask those of the node's guests whose turn it is. Raises NothingHere when there are none to ask about."""
    resources = request.view.resources
    here = resources.guests_on(request.node) if resources else ()
    # What is not known for a moment, as after a restart of PVE's daemons, is not forgotten.
    guests = [guest for guest in here if guest.status == "unknown" or plan.wanted(request, guest)]
    previous = request.previous if isinstance(request.previous, Swept) else None
    known = _known(request, plan, guests, previous) | _moved_away(request, plan, previous)
    if not guests and not known:
        raise NothingHere
    outage: PveError | None = None
    begun = time.monotonic()
    for guest in _due(request, plan, guests, known, previous):
        if request.stopping() or time.monotonic() - begun > RUN_SECONDS:
            break
        before: Answered[_T] = known.get(guest.id, Answered(None, 0.0, 0.0))
        try:
            known[guest.id] = Answered(plan.ask(request, guest), request.now, request.now)
        except NotFound:
            # Moved or removed since the list was made: the next list says where it is.
            known[guest.id] = replace(before, tried_at=request.now)
        except (Unreachable, AuthFailed) as error:
            outage = error
            break
        except PveError as error:
            known[guest.id] = replace(before, tried_at=request.now, problem=_bare(error))
    answer = Swept(request.now, known)
    if previous is not None and previous.by_id == known:
        # The same object says that nothing has to be written again.
        answer = previous
    problem = outage or next((item.problem for item in known.values() if item.problem is not None), None)
    if problem is not None:
        raise Incomplete(answer, problem)
    return answer


def answers(view: View, collector: str, kind: type[_T]) -> dict[str, _T]:
    """By id the newest answer of each guest: one that has just moved is known to two nodes."""
    newest: dict[str, tuple[float, _T]] = {}
    for swept in view.answers(collector, Swept):
        for guest_id, item in swept.by_id.items():
            if isinstance(item.value, kind) and (guest_id not in newest or item.read_at > newest[guest_id][0]):
                newest[guest_id] = (item.read_at, item.value)
    return {guest_id: value for guest_id, (_, value) in newest.items()}


def _known(
    request: Request, plan: Plan[_T], guests: list[Guest], previous: Swept[_T] | None
) -> dict[str, Answered[_T]]:
    """The answers there are and not too old; those of guests that have moved here come from where they were."""
    all_guests = len(request.view.resources.guests) if request.view.resources else 0
    limit = max(3 * plan.every(request.settings), 2 * 60 * all_guests / plan.per_minute)
    elsewhere: list[Swept[_T]] | None = None
    known: dict[str, Answered[_T]] = {}
    for guest in guests:
        found = previous.by_id.get(guest.id) if previous is not None else None
        if found is None:
            if elsewhere is None:
                elsewhere = request.view.answers(plan.collector, Swept)
            found = next((swept.by_id[guest.id] for swept in elsewhere if guest.id in swept.by_id), None)
        if found is not None:
            old = found.value is not None and request.now - found.read_at > limit
            known[guest.id] = replace(found, value=None) if old else found
    return known


def _moved_away(request: Request, plan: Plan[_T], previous: Swept[_T] | None) -> dict[str, Answered[_T]]:
    """What is known of guests that are on another node now, until that node's own run has taken it over."""
    if previous is None or request.view.resources is None:
        return {}
    kept: dict[str, Answered[_T]] = {}
    for guest_id, found in previous.by_id.items():
        guest = request.view.resources.guest(guest_id)
        if guest is None or guest.node == request.node:
            continue
        there = request.view.readings.get((plan.collector, guest.node))
        taken_over = there is not None and isinstance(there.value, Swept) and guest_id in there.value.by_id
        if not taken_over:
            kept[guest_id] = found
    return kept


def _due(
    request: Request,
    plan: Plan[_T],
    guests: list[Guest],
    known: Mapping[str, Answered[_T]],
    previous: Swept[_T] | None,
) -> list[Guest]:
    nodes = sum(node.status == "online" for node in request.view.resources.nodes) if request.view.resources else 1
    minutes = (request.now - previous.at) / 60 if previous is not None else 1.0
    limit = math.ceil(plan.per_minute / max(1, nodes) * min(max(minutes, 1.0), MAX_MINUTES_AT_ONCE))
    every = plan.every(request.settings)
    due = [
        guest
        for guest in guests
        if guest.status != "unknown"
        and (guest.id not in known or request.now - known[guest.id].tried_at >= every * _share(guest.id))
    ]
    due.sort(key=lambda guest: known[guest.id].tried_at if guest.id in known else 0.0)
    return due[:limit]


def _share(guest_id: str) -> float:
    """0.75 to 1, always the same for a guest: what was asked together after a start drifts apart."""
    return 0.75 + 0.25 * (zlib.crc32(guest_id.encode()) % 1000) / 1000


def _bare(error: PveError) -> PveError:
    """The error without the calls that led to it: it is kept for a while, and they would be kept with it."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
