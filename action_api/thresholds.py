"""Thresholds set at run time: which figure of what may be compared with which value.

The exporter tells the configured ones as `pvewatch_threshold`, the action API those set at run time as
`pvewatch_threshold_override`, with the same ids and figures; rules take the second where there is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import ValidationError

from action_api.maintenance import NotPossible
from pvewatch.inventory import ClusterEntry, Inventory
from pvewatch.settings_alerting import GuestThresholds, NodeThresholds, StorageThresholds
from pvewatch.settings_base import Seconds, Section

MAX_SECONDS = 365 * 86_400

_NODE = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_STORAGE = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


class GuestFigures(GuestThresholds):
    """What can be set of a guest at run time: the same, and how old its newest heartbeat may be."""

    heartbeat_age_seconds: Seconds | None = None


@dataclass(frozen=True, slots=True)
class _Kind:
    word: str
    pattern: re.Pattern[str]
    model: type[Section]


_KINDS = (
    _Kind("guest", re.compile(r"(?:qemu|lxc)/[1-9][0-9]{2,8}"), GuestFigures),
    _Kind("node", re.compile(rf"node/{_NODE}"), NodeThresholds),
    _Kind("storage", re.compile(rf"storage/{_NODE}/{_STORAGE}"), StorageThresholds),
)
FIGURES = tuple(figure for kind in _KINDS for figure in kind.model.model_fields)


def check(cluster: str, id: str, figure: str, value: float, *, clusters: Iterable[str]) -> None:
    """Raises NotPossible with what is wrong, and what would be right."""
    known = list(clusters)
    if cluster not in known:
        names = ", ".join(known[:10]) or "none"
        raise NotPossible(f"{cluster[:63]!r} is not a cluster; known are: {names}")
    kind = next((kind for kind in _KINDS if kind.pattern.fullmatch(id)), None)
    if kind is None:
        raise NotPossible(
            f"{id[:100]!r} is not an id: write for example qemu/101, lxc/200, node/pve1 or storage/pve1/local"
        )
    if figure not in kind.model.model_fields:
        figures = ", ".join(kind.model.model_fields)
        raise NotPossible(f"a {kind.word} has no threshold {figure[:64]!r}; it has: {figures}")
    try:
        kind.model.model_validate({figure: value})
    except ValidationError as error:
        wrong = error.errors()[0]["msg"].removeprefix("Input should be ")
        raise NotPossible(f"{figure} has to be {wrong}; {value:g} is not") from error


def missing_in(cluster: str, id: str, inventory: Inventory) -> str | None:
    """Why nothing would be compared with it, where the exporter knows better. None: it is there, or unknown."""
    entry = _entry(cluster, inventory)
    if entry is None or not (entry.guests or entry.nodes):
        return None
    known = {guest.id for guest in entry.guests} | {f"node/{node.name}" for node in entry.nodes}
    if id.startswith("storage/"):
        known = {storage.id for storage in entry.storages}
    return None if id in known or not known else f"{cluster} has no {id}"


def same_storage(cluster: str, id: str, inventory: Inventory) -> tuple[str, ...]:
    """The other ids of a shared storage, which has one for each node; none for anything else."""
    entry = _entry(cluster, inventory)
    mine = next((one for one in entry.storages if one.id == id and one.shared), None) if entry else None
    if entry is None or mine is None:
        return ()
    return tuple(one.id for one in entry.storages if one.storage == mine.storage and one.id != id)


def _entry(cluster: str, inventory: Inventory) -> ClusterEntry | None:
    return next((entry for entry in inventory.clusters if entry.name == cluster), None)
