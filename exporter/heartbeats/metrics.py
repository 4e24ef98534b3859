"""Heartbeats as metric families.

A guest has series only while Proxmox VE has the guest; while it cannot be asked, for a set time. What an agent measured
is shown only while its heartbeat is fresh: a figure that nobody measures any more is absent, not frozen. When it was
last seen, how often, and what its agent is stay, because an alert needs them exactly then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

from exporter.heartbeats.record import Guest, Record, is_outdated, is_silent
from exporter.heartbeats.schema import Filesystem, Heartbeat, Interface
from pvewatch import __version__

Part = TypeVar("Part")

# Configured cluster -> what Proxmox VE has there, VMID -> id such as "qemu/101"; None while that is not known.
GuestIds = Mapping[str, Mapping[int, str] | None]

Sample = tuple[tuple[str, ...], float]


class HeartbeatFamily(NamedTuple):
    """One metric family; each sample is (label values in the order of `labels`, value)."""

    name: str
    type: Literal["gauge", "counter"]
    help: str
    labels: tuple[str, ...]
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class _Figure:
    """A gauge of a fresh heartbeat; `value(heartbeat, last_seen)` is None when the agent could not measure it."""

    name: str
    help: str
    value: Callable[[Heartbeat, float], float | None]


def gone(records: Mapping[Guest, Record], guest_ids: GuestIds, oldest: float) -> frozenset[Guest]:
    """The guests that Proxmox VE does not list any more, and last heard of before `oldest` (unix seconds)."""
    return frozenset(
        (cluster, vmid)
        for (cluster, vmid), record in records.items()
        if (ids := guest_ids.get(cluster)) is not None and vmid not in ids and record.last_seen < oldest
    )


def _of(part: Part | None, figure: Callable[[Part], float | None]) -> float | None:
    return None if part is None else figure(part)


FIGURES = (
    _Figure(
        "pvewatch_agent_cpu_usage_ratio",
        "Share of all cores in use inside the guest since the heartbeat before, 0 to 1.",
        lambda heartbeat, _: _of(heartbeat.cpu, lambda cpu: cpu.usage_ratio),
    ),
    _Figure(
        "pvewatch_agent_load1",
        "Load average of one minute inside the guest.",
        lambda heartbeat, _: _of(heartbeat.load, lambda load: load.one),
    ),
    _Figure(
        "pvewatch_agent_memory_size_bytes",
        "Memory as the guest itself sees it.",
        lambda heartbeat, _: _of(heartbeat.memory, lambda memory: memory.size_bytes),
    ),
    _Figure(
        "pvewatch_agent_memory_available_bytes",
        "Memory that programs inside the guest could still get; the page cache counts as available.",
        lambda heartbeat, _: _of(heartbeat.memory, lambda memory: memory.available_bytes),
    ),
    _Figure(
        "pvewatch_agent_swap_size_bytes",
        "Swap space inside the guest, 0 when there is none.",
        lambda heartbeat, _: _of(heartbeat.swap, lambda swap: swap.size_bytes),
    ),
    _Figure(
        "pvewatch_agent_swap_free_bytes",
        "Unused swap space inside the guest.",
        lambda heartbeat, _: _of(heartbeat.swap, lambda swap: swap.free_bytes),
    ),
    _Figure(
        "pvewatch_agent_uptime_seconds",
        "Seconds since the guest's operating system started.",
        lambda heartbeat, _: heartbeat.uptime_seconds,
    ),
    _Figure(
        "pvewatch_agent_clock_offset_seconds",
        "The guest's clock minus the exporter's when the heartbeat arrived; positive when the guest's is ahead.",
        lambda heartbeat, last_seen: heartbeat.time - last_seen,
    ),
    _Figure(
        "pvewatch_agent_pending_reboot",
        "Whether the guest's system waits for a restart, 1 or 0; absent where it does not say.",
        lambda heartbeat, _: heartbeat.pending_reboot,
    ),
)


@dataclass(frozen=True, slots=True)
class _Series:
    """A family with one more label or two; `samples(heartbeat)` gives their values, each label set once."""

    name: str
    type: Literal["gauge", "counter"]
    help: str
    labels: tuple[str, ...]
    samples: Callable[[Heartbeat], Iterable[Sample]]


def _per_filesystem(value: Callable[[Filesystem], float]) -> Callable[[Heartbeat], Iterable[Sample]]:
    return lambda heartbeat: (((each.mountpoint,), value(each)) for each in heartbeat.filesystems)


def _per_interface(value: Callable[[Interface], float]) -> Callable[[Heartbeat], Iterable[Sample]]:
    return lambda heartbeat: (((each.interface,), value(each)) for each in heartbeat.network)


def _service_states(heartbeat: Heartbeat) -> Iterable[Sample]:
    # By name first: a service sent twice has one state, the later one.
    states = {service.name: service.state for service in heartbeat.services}
    return (((name, state), 1.0) for name, state in states.items())


def _last_repair(heartbeat: Heartbeat) -> Iterable[Sample]:
    repair = heartbeat.last_repair
    return () if repair is None else [((repair.service, repair.outcome), repair.time)]


SERIES = (
    _Series(
        "pvewatch_agent_filesystem_size_bytes",
        "gauge",
        "Size of a filesystem inside the guest.",
        ("mountpoint",),
        _per_filesystem(lambda filesystem: filesystem.size_bytes),
    ),
    _Series(
        "pvewatch_agent_filesystem_available_bytes",
        "gauge",
        "Bytes an ordinary user inside the guest may still write to a filesystem.",
        ("mountpoint",),
        _per_filesystem(lambda filesystem: filesystem.available_bytes),
    ),
    _Series(
        "pvewatch_agent_network_received_bytes_total",
        "counter",
        "Bytes that an interface inside the guest has received since the guest's boot.",
        ("interface",),
        _per_interface(lambda interface: interface.received_bytes),
    ),
    _Series(
        "pvewatch_agent_network_sent_bytes_total",
        "counter",
        "Bytes that an interface inside the guest has sent since the guest's boot.",
        ("interface",),
        _per_interface(lambda interface: interface.sent_bytes),
    ),
    _Series(
        "pvewatch_agent_service_state",
        "gauge",
        "The state of a watched service; always 1, only the state that it is in.",
        ("service", "state"),
        _service_states,
    ),
    _Series(
        "pvewatch_agent_service_restarts_total",
        "counter",
        "How often the agent has restarted a watched service.",
        ("service",),
        lambda heartbeat: (((service.name,), service.restarts) for service in heartbeat.services),
    ),
    _Series(
        "pvewatch_agent_last_repair_timestamp_seconds",
        "gauge",
        "When the agent last restarted a service, by the guest's clock.",
        ("service", "outcome"),
        _last_repair,
    ),
)

_GUEST = ("cluster", "id")


def families(
    records: Mapping[Guest, Record],
    guest_ids: GuestIds,
    rejected: Mapping[str, int],
    *,
    now: float,
    timeout: float,
    keep: float = math.inf,
) -> list[HeartbeatFamily]:
    """All families of heartbeats at `now` (server's clock, unix seconds), in a fixed order, samples sorted.

    `timeout` is the age in seconds at which a guest counts as silent. A cluster that `guest_ids` lacks gives no series;
    one whose value is None (not read yet, or unreachable) gives those of guests whose kind was known before, until
    their newest heartbeat is older than `keep` seconds.
    """
    known = list(_identified(records, guest_ids, now - keep))
    read = [(labels, record, record.payload.heartbeat()) for labels, record in known if record.payload is not None]
    fresh = [
        (labels, heartbeat, record.last_seen)
        for labels, record, heartbeat in read
        if not is_silent(record, now, timeout)
    ]
    return [
        HeartbeatFamily(
            "pvewatch_heartbeat_last_seen_timestamp_seconds",
            "gauge",
            "When the newest heartbeat of the guest arrived, by the exporter's clock.",
            _GUEST,
            tuple((labels, record.last_seen) for labels, record in known),
        ),
        HeartbeatFamily(
            "pvewatch_heartbeats_received_total",
            "counter",
            "Heartbeats of the guest that were accepted and are on disk.",
            _GUEST,
            tuple((labels, float(record.count)) for labels, record in known),
        ),
        HeartbeatFamily(
            "pvewatch_heartbeats_late_total",
            "counter",
            "Heartbeats of the guest that were held up on their way, and so did not count as a sign of life.",
            _GUEST,
            tuple((labels, float(record.progress.late)) for labels, record in known),
        ),
        HeartbeatFamily(
            "pvewatch_heartbeats_missed_total",
            "counter",
            "Heartbeats that the guest's agent counted and that did not arrive in time: the gaps in its numbers.",
            _GUEST,
            tuple((labels, float(record.progress.missed)) for labels, record in known),
        ),
        HeartbeatFamily(
            "pvewatch_heartbeat_identity_shared",
            "gauge",
            "Whether two machines send heartbeats with the guest's token, as a clone does; 1 or 0.",
            _GUEST,
            tuple((labels, float(record.progress.is_shared(now))) for labels, record in known),
        ),
        HeartbeatFamily(
            "pvewatch_heartbeats_rejected_total",
            "counter",
            "Requests to the heartbeat listener that were refused, by reason.",
            ("reason",),
            tuple(((reason,), float(count)) for reason, count in rejected.items()),
        ),
        HeartbeatFamily(
            "pvewatch_agent_info",
            "gauge",
            "The guest's agent and operating system; always 1.",
            (*_GUEST, "version", "platform", "os"),
            tuple(
                ((*labels, heartbeat.agent.version, heartbeat.agent.platform, _os_name(heartbeat)), 1.0)
                for labels, _, heartbeat in read
            ),
        ),
        HeartbeatFamily(
            "pvewatch_agent_outdated",
            "gauge",
            "Whether the guest's agent is older than the one that this pvewatch has, 1 or 0.",
            _GUEST,
            tuple(
                (labels, float(is_outdated(record.payload.agent_version, __version__) if record.payload else True))
                for labels, record in known
            ),
        ),
        *(
            HeartbeatFamily(
                figure.name,
                "gauge",
                figure.help,
                _GUEST,
                tuple(
                    (labels, float(value))
                    for labels, heartbeat, last_seen in fresh
                    if (value := figure.value(heartbeat, last_seen)) is not None
                ),
            )
            for figure in FIGURES
        ),
        *(
            HeartbeatFamily(
                family.name,
                family.type,
                family.help,
                (*_GUEST, *family.labels),
                tuple(
                    ((*labels, *more), float(value))
                    for labels, heartbeat, _ in fresh
                    # Of two with equal labels the later one: two equal series would make the whole page invalid.
                    for more, value in dict(family.samples(heartbeat)).items()
                ),
            )
            for family in SERIES
        ),
    ]


def shown_id(record: Record, guest_ids: GuestIds, oldest: float) -> str | None:
    """The id under which a guest's series are shown, None while it has none.

    While Proxmox VE cannot be asked that is its last known id, until its newest heartbeat came before `oldest`
    (unix seconds). A container that took a removed VM's number is another guest, which has never spoken.
    """
    if record.cluster not in guest_ids:
        return None
    last_known = f"{record.kind}/{record.vmid}" if record.kind else None
    ids = guest_ids[record.cluster]
    if ids is None:
        return last_known if record.last_seen >= oldest else None
    present = ids.get(record.vmid)
    return present if last_known in (None, present) else None


def _identified(
    records: Mapping[Guest, Record], guest_ids: GuestIds, oldest: float
) -> Iterator[tuple[tuple[str, str], Record]]:
    for guest in sorted(records):
        record = records[guest]
        guest_id = shown_id(record, guest_ids, oldest)
        if guest_id is not None:
            yield (record.cluster, guest_id), record


def _os_name(heartbeat: Heartbeat) -> str:
    if heartbeat.os is None:
        return ""
    return f"{heartbeat.os.name} {heartbeat.os.version or ''}".strip()
