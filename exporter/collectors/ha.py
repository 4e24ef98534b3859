"""High Availability: its manager, each node's local manager, the guests under it, and its groups or rules.

    pve_ha_quorate{cluster="home"} 1
    pve_ha_manager_info{cluster="home",id="node/pve3"} 1
    pve_ha_lrm_status{cluster="home",id="node/pve1",status="idle"} 1
    pve_ha_resource_state{cluster="home",id="qemu/111",state="started"} 1
    pve_ha_placement_enabled{cluster="home",name="g1",type="group"} 1

By hand: `pvesh get /cluster/ha/status/current`; groups up to PVE 8: `pvesh get /cluster/ha/groups`; rules since PVE 9:
`pvesh get /cluster/ha/rules`. Needs Sys.Audit on /.

Where nothing was ever put under HA there are no series. Without quorum Proxmox VE repeats the last good states: they
are withheld then, only the time stamps stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from exporter.collectors.definition import (
    Collector,
    Incomplete,
    NothingHere,
    Request,
    every_node_interval,
    is_not_there,
    keep_node_interval,
)
from exporter.exposition import Metric, Number, Sample
from exporter.snapshot import View
from pvewatch.pve.client import PveClient
from pvewatch.pve.errors import PveError, Rejected
from pvewatch.pve.models_cluster import HaDaemon, HaPlacement, HaService, HaStatus

RULES_SINCE = 9
_MIGRATED = "migrated to rules"

MANAGER_STATES = ("active", "idle", "dead", "other")
LRM_STATES = ("active", "idle", "maintenance", "lost_agent_lock", "dead", "other")
# What the manager makes of a guest, and the words the API adds. Source: https://pve.proxmox.com/wiki/High_Availability
_RESOURCE_STATES = """
stopped request_stop request_start request_start_balance started fence recovery migrate relocate freeze error
queued starting disabled ignored deleting
"""
RESOURCE_STATES = frozenset(_RESOURCE_STATES.split())
WANTED_STATES = frozenset({"started", "stopped", "enabled", "disabled", "ignored"})
ARMED_STATES = frozenset({"armed", "standby", "disarming", "disarmed"})


@dataclass(frozen=True, slots=True)
class HighAvailability:
    """What is known of HA; `placements` are groups or rules."""

    status: HaStatus
    placements: tuple[HaPlacement, ...]


def read(request: Request) -> HighAvailability:
    """Ask for HA's state, and where it is in use for its groups or rules.

    When only the latter cannot be read, the state is shown all the same.
    """
    try:
        status = request.client.ha_status()
    except Rejected as error:
        if is_not_there(error):
            raise NothingHere from error
        raise
    if not status.in_use:
        raise NothingHere
    major = request.view.version.major if request.view.version else None
    try:
        return HighAvailability(status, _placements(request.client, major))
    except PveError as error:
        raise Incomplete(HighAvailability(status, ()), error) from error


def _placements(client: PveClient, major: int | None) -> tuple[HaPlacement, ...]:
    if major is not None and major >= RULES_SINCE:
        return client.ha_rules()
    try:
        return client.ha_groups()
    except Rejected as error:
        # The host that answers may be newer than the one that told its version.
        if _MIGRATED not in error.reason and not is_not_there(error):
            raise
        return client.ha_rules()


def _answers(view: View) -> list[HighAvailability]:
    return view.answers(COLLECTOR.name, HighAvailability)


def _live(view: View) -> Iterator[HighAvailability]:
    """Those whose states are of now: without quorum nobody can have written a newer one."""
    return (answer for answer in _answers(view) if answer.status.quorate is not False)


def _quorate(view: View) -> Iterator[Sample]:
    for answer in _answers(view):
        yield (), None if answer.status.quorate is None else int(answer.status.quorate)


def _manager_info(view: View) -> Iterator[Sample]:
    for answer in _live(view):
        if answer.status.master is not None:
            yield (f"node/{answer.status.master.node}",), 1


def _word(daemon: HaDaemon, known: tuple[str, ...]) -> str:
    """PVE's word for a daemon's state as one of `known`: `old timestamp - dead?`, `maintenance mode` are sentences."""
    word = daemon.status or ""
    if "dead" in word:
        return "dead"
    if "maintenance" in word:
        word = "maintenance"
    return word if word in known else "other"


def _manager_status(view: View) -> Iterator[Sample]:
    for answer in _live(view):
        if answer.status.master is not None:
            word = _word(answer.status.master, MANAGER_STATES)
            for state in MANAGER_STATES:
                yield (state,), int(state == word)


def _lrm_status(view: View) -> Iterator[Sample]:
    for answer in _live(view):
        for lrm in answer.status.lrms:
            word = _word(lrm, LRM_STATES)
            for state in LRM_STATES:
                yield (f"node/{lrm.node}", state), int(state == word)


def _manager_seen(view: View) -> Iterator[Sample]:
    for answer in _answers(view):
        if answer.status.master is not None:
            yield (), answer.status.master.timestamp


def _lrm_seen(view: View) -> Iterator[Sample]:
    for answer in _answers(view):
        for lrm in answer.status.lrms:
            yield (f"node/{lrm.node}",), lrm.timestamp


def _service(get: Callable[[HaService], str | None], known: frozenset[str]) -> Callable[[View], Iterator[Sample]]:
    def samples(view: View) -> Iterator[Sample]:
        for answer in _live(view):
            for service in answer.status.services:
                word = get(service)
                if word is not None:
                    yield (service.guest_id, word if word in known else "other"), 1

    return samples


def _armed(view: View) -> Iterator[Sample]:
    for answer in _live(view):
        word = answer.status.armed
        if word is not None:
            yield (word if word in ARMED_STATES else "other",), 1


def _placement_enabled(view: View) -> Iterator[Sample]:
    for answer in _answers(view):
        for placement in answer.placements:
            yield (placement.name, placement.type), int(placement.enabled)


def _resources(view: View) -> Iterator[Sample]:
    for answer in _live(view):
        counted: dict[str, Number] = {}
        for service in answer.status.services:
            word = service.state if service.state in RESOURCE_STATES else "other"
            counted[word or "other"] = counted.get(word or "other", 0) + 1
        for word in sorted(counted):
            yield (word,), counted[word]


METRICS = (
    Metric("pve_ha_quorate", "gauge", "Whether the HA manager sees a quorate cluster.", (), _quorate),
    Metric("pve_ha_manager_info", "gauge", "The node whose HA manager is in charge; always 1.", ("id",), _manager_info),
    Metric(
        "pve_ha_manager_status",
        "gauge",
        "State of the HA manager in charge, 1 for the present one; dead: it has not reported for two minutes.",
        ("status",),
        _manager_status,
    ),
    Metric(
        "pve_ha_manager_last_seen_timestamp_seconds",
        "gauge",
        "When the HA manager in charge last reported.",
        (),
        _manager_seen,
    ),
    Metric(
        "pve_ha_lrm_status",
        "gauge",
        "State of the node's local HA manager, 1 for the present one.",
        ("id", "status"),
        _lrm_status,
    ),
    Metric(
        "pve_ha_lrm_last_seen_timestamp_seconds",
        "gauge",
        "When the node's local HA manager last reported.",
        ("id",),
        _lrm_seen,
    ),
    Metric(
        "pve_ha_resource_state",
        "gauge",
        "What the HA manager says of a guest; only the present state is shown.",
        ("id", "state"),
        _service(lambda service: service.state, RESOURCE_STATES),
    ),
    Metric(
        "pve_ha_resource_requested_state",
        "gauge",
        "What was asked of HA for a guest; only the present request is shown.",
        ("id", "state"),
        _service(lambda service: service.request_state, WANTED_STATES),
    ),
    Metric("pve_ha_resources", "gauge", "Guests under HA, by state.", ("state",), _resources),
    Metric(
        "pve_ha_fencing_state",
        "gauge",
        "Whether HA is armed to fence nodes; only the present state is shown. Since Proxmox VE 9.",
        ("state",),
        _armed,
    ),
    Metric(
        "pve_ha_placement_enabled",
        "gauge",
        "Whether an HA group (up to Proxmox VE 8) or rule (since 9) is on.",
        ("name", "type"),
        _placement_enabled,
    ),
)

COLLECTOR = Collector(
    "ha",
    "cluster",
    read,
    METRICS,
    every_node_interval,
    keep_node_interval,
)
