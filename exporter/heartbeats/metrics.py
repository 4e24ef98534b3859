"""Heartbeats as metric families.

A guest has series only while Proxmox VE has the guest. What an agent measured is shown only while its heartbeat is
fresh: a figure that nobody measures any more is absent, not frozen. When it was last seen, how often, and what its
agent is stay, because an alert needs them exactly then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from exporter.heartbeats.schema import Filesystem, Heartbeat
from exporter.heartbeats.store import Guest, Record, is_silent

Part = TypeVar("Part")

# Configured cluster -> what Proxmox VE has there, VMID -> id such as "qemu/101"; None while that is not known.
GuestIds = Mapping[str, Mapping[int, str] | None]

Sample = tuple[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class HeartbeatFamily:
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
)

_FILESYSTEM_FIGURES: tuple[tuple[str, str, Callable[[Filesystem], float]], ...] = (
    (
        "pvewatch_agent_filesystem_size_bytes",
        "Size of a filesystem inside the guest.",
        lambda filesystem: filesystem.size_bytes,
    ),
    (
        "pvewatch_agent_filesystem_available_bytes",
        "Bytes an ordinary user inside the guest may still write to a filesystem.",
        lambda filesystem: filesystem.available_bytes,
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
) -> list[HeartbeatFamily]:
    """All families of heartbeats at `now` (server's clock, unix seconds), in a fixed order, samples sorted.

    `timeout` is the age in seconds at which a guest counts as silent. A cluster that `guest_ids` lacks gives no series;
    one whose value is None (not read yet, or unreachable) gives those of guests whose kind was known before.
    """
    known = list(_identified(records, guest_ids))
    fresh = [
        (labels, record.heartbeat, record.last_seen)
        for labels, record in known
        if record.heartbeat is not None and not is_silent(record, now, timeout)
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
            "pvewatch_threshold",
            "gauge",
            "The limit that alerts compare a figure with; heartbeat_age_seconds: older than this is silent.",
            (*_GUEST, "figure"),
            tuple(((*labels, "heartbeat_age_seconds"), timeout) for labels, _ in known),
        ),
        HeartbeatFamily(
            "pvewatch_heartbeats_received_total",
            "counter",
            "Heartbeats of the guest that were accepted and are on disk.",
            _GUEST,
            tuple((labels, float(record.count)) for labels, record in known),
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
                for labels, heartbeat in ((labels, record.heartbeat) for labels, record in known)
                if heartbeat is not None
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
                name,
                "gauge",
                text,
                (*_GUEST, "mountpoint"),
                tuple(
                    ((*labels, filesystem.mountpoint), float(value(filesystem)))
                    for labels, heartbeat, _ in fresh
                    for filesystem in _visible(heartbeat.filesystems)
                ),
            )
            for name, text, value in _FILESYSTEM_FIGURES
        ),
    ]


def _identified(records: Mapping[Guest, Record], guest_ids: GuestIds) -> Iterator[tuple[tuple[str, str], Record]]:
    for cluster, vmid in sorted(records):
        if cluster not in guest_ids:
            continue
        record = records[cluster, vmid]
        ids = guest_ids[cluster]
        last_known = f"{record.kind}/{vmid}" if record.kind else None
        guest_id = last_known if ids is None else ids.get(vmid)
        # A container that took a removed VM's number is another guest, which has never spoken.
        if guest_id is not None and last_known in (None, guest_id):
            yield (cluster, guest_id), record


def _visible(filesystems: Iterable[Filesystem]) -> Iterable[Filesystem]:
    # Of two mounted on one another only the later one is seen; two equal series would make the whole page invalid.
    return {filesystem.mountpoint: filesystem for filesystem in filesystems}.values()


def _os_name(heartbeat: Heartbeat) -> str:
    if heartbeat.os is None:
        return ""
    return f"{heartbeat.os.name} {heartbeat.os.version or ''}".strip()
