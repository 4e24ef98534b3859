"""Counters of each disk and network card, ballooning, swap and pressure, out of the lists that each node keeps.

    pve_guest_disk_read_bytes_total{cluster="home",id="qemu/100",device="scsi0"} 5120
    pve_guest_network_receive_bytes_total{cluster="home",id="lxc/200",device="net0"} 9452
    pve_guest_pressure_ratio{cluster="home",id="qemu/100",resource="cpu",stall="some"} 0.2843

By hand: `pvesh get /nodes/pve1/qemu --full 1`, `pvesh get /nodes/pve1/lxc`, `pvesh get /nodes/pve1/netstat`. Needs
VM.Audit on the guests, and Sys.Audit on the node for containers' network cards.

Two or three calls for all guests of a node. The same figures stand in each guest's status/current, one call per guest.
`full` is what makes PVE ask each QEMU for its counters; it waits 2 s at most for one that is silent. PSI is PVE 9's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TypeVar

from exporter.collectors.definition import (
    Collector,
    Incomplete,
    NothingHere,
    Request,
    every_node_interval,
    keep_node_interval,
)
from exporter.exposition import Metric, MetricType, Number, Sample
from exporter.snapshot import View
from pvewatch.pve.errors import AuthFailed, PveError, Unreachable
from pvewatch.pve.models_guests import DiskCounters, GuestActivity, NicCounters

NAME = "guest_activity"
_Key = TypeVar("_Key")
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class NodeActivities:
    """What one node counts for its guests, by id, and when it was asked (unix seconds)."""

    at: float
    by_id: dict[str, GuestActivity]


def read(request: Request) -> NodeActivities:
    """Ask one node for its lists. What one of them refuses is told, and the others are shown all the same."""
    client, node = request.client, request.node
    resources = request.view.resources
    kinds = {guest.kind for guest in resources.guests_on(node)} if resources else set()
    if not kinds:
        raise NothingHere
    found: dict[str, GuestActivity] = {}
    problems: list[PveError] = []

    def ask(call: Callable[[], dict[_Key, _Answer]]) -> dict[_Key, _Answer]:
        try:
            return call()
        except (Unreachable, AuthFailed):
            raise  # The next call would end the same way, only later.
        except PveError as error:
            problems.append(error)
            return {}

    if "qemu" in kinds:
        found |= ask(lambda: client.guest_activities(node, "qemu"))
        if problems:
            # Without QEMU's counters there are still pressure and the balloon's floor.
            found |= ask(lambda: client.guest_activities(node, "qemu", full=False))
    if "lxc" in kinds:
        containers = ask(lambda: client.guest_activities(node, "lxc"))
        if any(container.running for container in containers.values()):
            # Their list has the sum of their cards, netstat has each.
            cards = ask(lambda: client.node_netstat(node))
            containers = {key: _with_cards(container, cards) for key, container in containers.items()}
        found |= containers
    if problems and not found:
        raise problems[0]
    answer = NodeActivities(request.now, found)
    if problems:
        raise Incomplete(answer, problems[0])
    return answer


def _with_cards(container: GuestActivity, cards: Mapping[int, tuple[NicCounters, ...]]) -> GuestActivity:
    vmid = int(container.id.partition("/")[2])
    return replace(container, nics=cards.get(vmid, ())) if container.running else container


def _running(view: View) -> list[GuestActivity]:
    """The newest of each guest that runs as far as can be known: a guest that has just moved stands in two lists.

    Those of a node that is gone or only repeats itself are left out, as their figures in resources are.
    """
    newest: dict[str, tuple[float, GuestActivity]] = {}
    for answer in view.answers(NAME, NodeActivities):
        for guest_id, activity in answer.by_id.items():
            if guest_id not in newest or answer.at > newest[guest_id][0]:
                newest[guest_id] = (answer.at, activity)
    return [
        found[1]
        for guest in (view.resources.guests if view.resources else ())
        if (found := newest.get(guest.id)) is not None
        and found[1].running
        and guest.status not in ("unknown", "stopped")
    ]


def _figure(attribute: str) -> Callable[[View], Iterator[Sample]]:
    get: Callable[[GuestActivity], Number | None] = attrgetter(attribute)
    return lambda view: (((guest.id,), get(guest)) for guest in view.once(_running))


def _disk(attribute: str) -> Callable[[View], Iterator[Sample]]:
    get: Callable[[DiskCounters], Number | None] = attrgetter(attribute)
    return lambda view: (((guest.id, disk.device), get(disk)) for guest in view.once(_running) for disk in guest.disks)


def _nic(attribute: str) -> Callable[[View], Iterator[Sample]]:
    get: Callable[[NicCounters], Number | None] = attrgetter(attribute)
    return lambda view: (((guest.id, nic.device), get(nic)) for guest in view.once(_running) for nic in guest.nics)


def _pressure(view: View) -> Iterator[Sample]:
    for guest in view.once(_running):
        for pressure in guest.pressures:
            yield (guest.id, pressure.resource, pressure.stall), pressure.ratio


_ID = ("id",)
_DEVICE = ("id", "device")


def _metric(
    name: str,
    kind: MetricType,
    text: str,
    samples: Callable[[View], Iterator[Sample]],
    labels: tuple[str, ...] = _ID,
) -> Metric:
    # Which guests are gone, and which have stopped meanwhile, is what resources knows.
    return Metric(name, kind, text, labels, samples, reads=("resources",))


METRICS = (
    _metric(
        "pve_guest_disk_read_bytes_total",
        "counter",
        "Bytes read from one virtual disk since the VM started; containers' disks are not counted singly.",
        _disk("read_bytes"),
        _DEVICE,
    ),
    _metric(
        "pve_guest_disk_written_bytes_total",
        "counter",
        "Bytes written to one virtual disk since the VM started.",
        _disk("written_bytes"),
        _DEVICE,
    ),
    _metric(
        "pve_guest_disk_reads_total",
        "counter",
        "Read operations on one virtual disk since the VM started.",
        _disk("reads"),
        _DEVICE,
    ),
    _metric(
        "pve_guest_disk_writes_total",
        "counter",
        "Write operations on one virtual disk since the VM started.",
        _disk("writes"),
        _DEVICE,
    ),
    _metric(
        "pve_guest_network_receive_bytes_total",
        "counter",
        "Bytes received by the guest through one network card since it started.",
        _nic("received_bytes"),
        _DEVICE,
    ),
    _metric(
        "pve_guest_network_transmit_bytes_total",
        "counter",
        "Bytes sent by the guest through one network card since it started.",
        _nic("sent_bytes"),
        _DEVICE,
    ),
    _metric(
        "pve_guest_balloon_bytes",
        "gauge",
        "Memory that the balloon leaves to the VM now; the limit is pve_memory_size_bytes.",
        _figure("balloon_bytes"),
    ),
    _metric(
        "pve_guest_balloon_minimum_bytes",
        "gauge",
        "Memory that the balloon always leaves to the VM; absent where none is configured.",
        _figure("balloon_minimum_bytes"),
    ),
    _metric(
        "pve_guest_memory_free_bytes",
        "gauge",
        "Memory that the VM itself calls free, without its caches; absent without the balloon driver inside.",
        _figure("memory_free_bytes"),
    ),
    _metric("pve_guest_swap_usage_bytes", "gauge", "Used swap of the container.", _figure("swap_used_bytes")),
    _metric("pve_guest_swap_size_bytes", "gauge", "The container's limit of swap.", _figure("swap_limit_bytes")),
    _metric(
        "pve_guest_pressure_ratio",
        "gauge",
        "Share of the last 10 s in which some, or all (full), tasks of the guest waited for the resource; since PVE 9.",
        _pressure,
        ("id", "resource", "stall"),
    ),
)

COLLECTOR = Collector(
    NAME,
    "node",
    read,
    METRICS,
    every_node_interval,
    keep_node_interval,
)
