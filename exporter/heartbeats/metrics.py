"""Heartbeats as metric families.

A guest has series only while Proxmox VE has the guest; while it cannot be asked, for a set time. What an agent measured
is shown only while its heartbeat is fresh: a figure that nobody measures any more is absent, not frozen. When it was
last seen, how often, and what its agent is stay, because an alert needs them exactly then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from exporter.exposition import escape, format_value, line_template
from exporter.heartbeats.record import Guest, Record, is_outdated, is_silent
from exporter.heartbeats.schema import Filesystem, Heartbeat, Interface
from pvewatch import __version__

# Configured cluster -> what Proxmox VE has there, VMID -> id such as "qemu/101"; None while that is not known.
GuestIds = Mapping[str, Mapping[int, str] | None]

Sample = tuple[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Told:
    """What a guest's samples come out of.

    `heartbeat` is the newest one, None where an older pvewatch wrote it in a form that is not read any more; `fresh` is
    the same as long as the guest is not silent.
    """

    record: Record
    heartbeat: Heartbeat | None
    fresh: Heartbeat | None
    shared: bool


@dataclass(frozen=True, slots=True)
class HeartbeatMetric:
    """A row of METRICS: one family about guests that send heartbeats.

    `labels` are those after `cluster` and `id`, which every series has; `samples` gives their values in that order with
    a figure, each set of values once.
    """

    name: str
    type: Literal["gauge", "counter"]
    help: str
    labels: tuple[str, ...]
    samples: Callable[[Told], Iterable[Sample]]


def told(record: Record, now: float, timeout: float) -> Told:
    """What a record tells at `now` (unix seconds); after `timeout` seconds without a heartbeat the guest is silent."""
    heartbeat = record.payload.heartbeat() if record.payload else None
    silent = is_silent(record, now, timeout)
    return Told(record, heartbeat, None if silent else heartbeat, record.progress.is_shared(now))


def written(cluster: str, guest_id: str, known: Told) -> tuple[bytes, ...]:
    """The sample lines of one guest, one text for each of METRICS in their order."""
    about = (escape(cluster), escape(guest_id))
    return tuple(
        [
            "".join(
                [line % (*about, *map(escape, values), format_value(value)) for values, value in metric.samples(known)]
            ).encode()
            for line, metric in _LINES
        ]
    )


def gone(records: Mapping[Guest, Record], guest_ids: GuestIds, oldest: float) -> frozenset[Guest]:
    """The guests that Proxmox VE does not list any more, and last heard of before `oldest` (unix seconds)."""
    return frozenset(
        (cluster, vmid)
        for (cluster, vmid), record in records.items()
        if (ids := guest_ids.get(cluster)) is not None and vmid not in ids and record.last_seen < oldest
    )


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


def _always(value: Callable[[Record], float]) -> Callable[[Told], Iterable[Sample]]:
    """One figure of a guest that is known, silent or not."""
    return lambda known: (((), value(known.record)),)


def _figure(value: Callable[[Heartbeat, float], float | None]) -> Callable[[Told], Iterable[Sample]]:
    """One figure of a fresh heartbeat; `value(heartbeat, last_seen)` is None when the agent could not measure it."""

    def samples(known: Told) -> Iterable[Sample]:
        found = None if known.fresh is None else value(known.fresh, known.record.last_seen)
        return () if found is None else (((), found),)

    return samples


def _fresh(samples: Callable[[Heartbeat], Iterable[Sample]]) -> Callable[[Told], Iterable[Sample]]:
    """Several figures of a fresh heartbeat."""
    return lambda known: () if known.fresh is None else samples(known.fresh)


def _info(known: Told) -> Iterable[Sample]:
    heartbeat = known.heartbeat
    if heartbeat is None:
        return ()
    return (((heartbeat.agent.version, heartbeat.agent.platform, _os_name(heartbeat)), 1.0),)


def _shared(known: Told) -> Iterable[Sample]:
    return (((), float(known.shared)),)


def _outdated(record: Record) -> float:
    return float(is_outdated(record.payload.agent_version, __version__) if record.payload else True)


# What a guest sends twice is one series with the later value: two equal series would make the whole page invalid.


def _per_filesystem(value: Callable[[Filesystem], float]) -> Callable[[Heartbeat], Iterable[Sample]]:
    return lambda heartbeat: {(each.mountpoint,): value(each) for each in heartbeat.filesystems}.items()


def _per_interface(value: Callable[[Interface], float]) -> Callable[[Heartbeat], Iterable[Sample]]:
    return lambda heartbeat: {(each.interface,): value(each) for each in heartbeat.network}.items()


def _service_states(heartbeat: Heartbeat) -> Iterable[Sample]:
    # By name: a service is in one state.
    states = {service.name: service.state for service in heartbeat.services}
    return (((name, state), 1.0) for name, state in states.items())


def _service_restarts(heartbeat: Heartbeat) -> Iterable[Sample]:
    return {(service.name,): service.restarts for service in heartbeat.services}.items()


def _last_repair(heartbeat: Heartbeat) -> Iterable[Sample]:
    repair = heartbeat.last_repair
    return () if repair is None else [((repair.service, repair.outcome), repair.time)]


def _os_name(heartbeat: Heartbeat) -> str:
    if heartbeat.os is None:
        return ""
    return f"{heartbeat.os.name} {heartbeat.os.version or ''}".strip()


METRICS = (
    HeartbeatMetric(
        "pvewatch_heartbeat_last_seen_timestamp_seconds",
        "gauge",
        "When the newest heartbeat of the guest arrived, by the exporter's clock.",
        (),
        _always(lambda record: record.last_seen),
    ),
    HeartbeatMetric(
        "pvewatch_heartbeats_received_total",
        "counter",
        "Heartbeats of the guest that were accepted and are on disk.",
        (),
        _always(lambda record: record.count),
    ),
    HeartbeatMetric(
        "pvewatch_heartbeats_late_total",
        "counter",
        "Heartbeats of the guest that were held up on their way, and so did not count as a sign of life.",
        (),
        _always(lambda record: record.progress.late),
    ),
    HeartbeatMetric(
        "pvewatch_heartbeats_missed_total",
        "counter",
        "Heartbeats that the guest's agent counted and that did not arrive in time: the gaps in its numbers.",
        (),
        _always(lambda record: record.progress.missed),
    ),
    HeartbeatMetric(
        "pvewatch_heartbeat_identity_shared",
        "gauge",
        "Whether two machines send heartbeats with the guest's token, as a clone does; 1 or 0.",
        (),
        _shared,
    ),
    HeartbeatMetric(
        "pvewatch_agent_info",
        "gauge",
        "The guest's agent and operating system; always 1.",
        ("version", "platform", "os"),
        _info,
    ),
    HeartbeatMetric(
        "pvewatch_agent_outdated",
        "gauge",
        "Whether the guest's agent is older than the one that this pvewatch has, 1 or 0.",
        (),
        _always(_outdated),
    ),
    HeartbeatMetric(
        "pvewatch_agent_cpu_usage_ratio",
        "gauge",
        "Share of all cores in use inside the guest since the heartbeat before, 0 to 1.",
        (),
        _figure(lambda heartbeat, _: heartbeat.cpu.usage_ratio if heartbeat.cpu else None),
    ),
    HeartbeatMetric(
        "pvewatch_agent_load1",
        "gauge",
        "Load average of one minute inside the guest.",
        (),
        _figure(lambda heartbeat, _: heartbeat.load.one if heartbeat.load else None),
    ),
    HeartbeatMetric(
        "pvewatch_agent_memory_size_bytes",
        "gauge",
        "Memory as the guest itself sees it.",
        (),
        _figure(lambda heartbeat, _: heartbeat.memory.size_bytes if heartbeat.memory else None),
    ),
    HeartbeatMetric(
        "pvewatch_agent_memory_available_bytes",
        "gauge",
        "Memory that programs inside the guest could still get; the page cache counts as available.",
        (),
        _figure(lambda heartbeat, _: heartbeat.memory.available_bytes if heartbeat.memory else None),
    ),
    HeartbeatMetric(
        "pvewatch_agent_swap_size_bytes",
        "gauge",
        "Swap space inside the guest, 0 when there is none.",
        (),
        _figure(lambda heartbeat, _: heartbeat.swap.size_bytes if heartbeat.swap else None),
    ),
    HeartbeatMetric(
        "pvewatch_agent_swap_free_bytes",
        "gauge",
        "Unused swap space inside the guest.",
        (),
        _figure(lambda heartbeat, _: heartbeat.swap.free_bytes if heartbeat.swap else None),
    ),
    HeartbeatMetric(
        "pvewatch_agent_uptime_seconds",
        "gauge",
        "Seconds since the guest's operating system started.",
        (),
        _figure(lambda heartbeat, _: heartbeat.uptime_seconds),
    ),
    HeartbeatMetric(
        "pvewatch_agent_clock_offset_seconds",
        "gauge",
        "The guest's clock minus the exporter's when the heartbeat arrived; positive when the guest's is ahead.",
        (),
        _figure(lambda heartbeat, last_seen: heartbeat.time - last_seen),
    ),
    HeartbeatMetric(
        "pvewatch_agent_pending_reboot",
        "gauge",
        "Whether the guest's system waits for a restart, 1 or 0; absent where it does not say.",
        (),
        _figure(lambda heartbeat, _: heartbeat.pending_reboot),
    ),
    HeartbeatMetric(
        "pvewatch_agent_filesystem_size_bytes",
        "gauge",
        "Size of a filesystem inside the guest.",
        ("mountpoint",),
        _fresh(_per_filesystem(lambda filesystem: filesystem.size_bytes)),
    ),
    HeartbeatMetric(
        "pvewatch_agent_filesystem_available_bytes",
        "gauge",
        "Bytes an ordinary user inside the guest may still write to a filesystem.",
        ("mountpoint",),
        _fresh(_per_filesystem(lambda filesystem: filesystem.available_bytes)),
    ),
    HeartbeatMetric(
        "pvewatch_agent_network_received_bytes_total",
        "counter",
        "Bytes that an interface inside the guest has received since the guest's boot.",
        ("interface",),
        _fresh(_per_interface(lambda interface: interface.received_bytes)),
    ),
    HeartbeatMetric(
        "pvewatch_agent_network_sent_bytes_total",
        "counter",
        "Bytes that an interface inside the guest has sent since the guest's boot.",
        ("interface",),
        _fresh(_per_interface(lambda interface: interface.sent_bytes)),
    ),
    HeartbeatMetric(
        "pvewatch_agent_service_state",
        "gauge",
        "The state of a watched service; always 1, only the state that it is in.",
        ("service", "state"),
        _fresh(_service_states),
    ),
    HeartbeatMetric(
        "pvewatch_agent_service_restarts_total",
        "counter",
        "How often the agent has restarted a watched service.",
        ("service",),
        _fresh(_service_restarts),
    ),
    HeartbeatMetric(
        "pvewatch_agent_last_repair_timestamp_seconds",
        "gauge",
        "When the agent last restarted a service, by the guest's clock.",
        ("service", "outcome"),
        _fresh(_last_repair),
    ),
)

_LINES = tuple((line_template(metric.name, ("cluster", "id", *metric.labels)), metric) for metric in METRICS)

# Of the listener itself, about no guest: its one label is `reason`.
REJECTED_NAME = "pvewatch_heartbeats_rejected_total"
REJECTED_HELP = "Requests to the heartbeat listener that were refused, by reason."
