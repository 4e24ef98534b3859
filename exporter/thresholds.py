"""What alerts compare figures with, and which guests nobody is told of, resolved for each guest, node and storage.

    pvewatch_threshold{cluster="home",id="qemu/100",figure="guest_memory_ratio"} 0.95
    pvewatch_alerting_mode{cluster="home",id="qemu/666",mode="off"} 1

The configuration says it for all, by tag and singly (`thresholds`, `alerting`); rules see one value. `figure` is the
name of the setting, and for heartbeats `heartbeat_age_seconds`. Templates have none. The mode `normal` is not shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from exporter.exposition import Metric, Sample
from exporter.snapshot import View
from pvewatch.config import Settings
from pvewatch.pve.models import Guest, Storage
from pvewatch.settings_alerting import (
    AlertingMode,
    AlertingSettings,
    GuestThresholds,
    NodeThresholds,
    StorageThresholds,
    Thresholds,
)
from pvewatch.settings_base import Section

HEARTBEAT_AGE = "heartbeat_age_seconds"
_STRICTEST: tuple[AlertingMode, ...] = ("off", "log", "normal")


def guest_thresholds(guest: Guest, cluster: str, thresholds: Thresholds) -> dict[str, float]:
    """Figure → threshold of a guest: its own, else that of the first tag that has one, else everybody's."""
    own = thresholds.by_guest.get(f"{cluster}/{guest.vmid}")
    tagged = [found for tag, found in thresholds.by_tag.items() if tag in guest.tag_list]
    return _resolved(GuestThresholds, thresholds, [own, *tagged])


def node_thresholds(node: str, cluster: str, thresholds: Thresholds) -> dict[str, float]:
    """Figure → threshold of a node."""
    return _resolved(NodeThresholds, thresholds, [thresholds.by_node.get(f"{cluster}/{node}")])


def storage_thresholds(storage: Storage, cluster: str, thresholds: Thresholds) -> dict[str, float]:
    """Figure → threshold of a storage, the same on every node."""
    return _resolved(StorageThresholds, thresholds, [thresholds.by_storage.get(f"{cluster}/{storage.storage}")])


def alerting_mode(guest: Guest, cluster: str, alerting: AlertingSettings) -> AlertingMode:
    """A guest's own mode, else the strictest of its tags', else normal."""
    own = alerting.mode_by_guest.get(f"{cluster}/{guest.vmid}")
    if own is not None:
        return own
    tagged = {mode for tag in guest.tag_list if (mode := alerting.mode_by_tag.get(tag)) is not None}
    return next((mode for mode in _STRICTEST if mode in tagged), "normal")


def metrics(settings: Callable[[], Settings]) -> tuple[Metric, ...]:
    """The families; `settings` gives the configuration that counts now."""

    def thresholds(view: View) -> Iterator[Sample]:
        if view.resources is None:
            return
        now = settings()
        for guest in view.resources.guests:
            if not guest.template:
                for figure, value in guest_thresholds(guest, view.cluster, now.thresholds).items():
                    yield (guest.id, figure), value
                yield (guest.id, HEARTBEAT_AGE), now.exporter.heartbeat_timeout_seconds
        for node in view.resources.nodes:
            for figure, value in node_thresholds(node.name, view.cluster, now.thresholds).items():
                yield (node.id, figure), value
        for storage in view.resources.storages:
            for figure, value in storage_thresholds(storage, view.cluster, now.thresholds).items():
                yield (storage.id, figure), value

    def modes(view: View) -> Iterator[Sample]:
        for guest in view.resources.guests if view.resources else ():
            mode = alerting_mode(guest, view.cluster, settings().alerting)
            if mode != "normal" and not guest.template:
                yield (guest.id, mode), 1

    def made_of(view: View) -> object:
        now, found = settings(), view.resources
        return (
            now.thresholds,
            now.alerting,
            [(guest.id, guest.tags, guest.template) for guest in found.guests] if found else (),
            [node.id for node in found.nodes] if found else (),
            [storage.id for storage in found.storages] if found else (),
        )

    return (
        Metric(
            "pvewatch_threshold",
            "gauge",
            "What alerts compare a figure with, as configured; heartbeat_age_seconds: older than this is silent.",
            ("id", "figure"),
            thresholds,
            made_of=made_of,
        ),
        Metric(
            "pvewatch_alerting_mode",
            "gauge",
            "How alerts of the guest are treated where that is not normal: log (nobody is told) or off; always 1.",
            ("id", "mode"),
            modes,
            made_of=made_of,
        ),
    )


def _resolved(kind: type[Section], everybody: Thresholds, parts: list[Section | None]) -> dict[str, float]:
    found = {}
    for figure in kind.model_fields:
        given = (value for part in parts if part is not None and (value := getattr(part, figure)) is not None)
        found[figure] = float(next(given, getattr(everybody, figure)))
    return found
