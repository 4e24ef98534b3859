"""Whether the QEMU guest agent answers, and the file systems inside VMs, which only it knows.

    pve_guest_agent_up{cluster="home",id="qemu/100"} 1
    pve_guest_filesystem_size_bytes{cluster="home",id="qemu/100",mountpoint="/"} 1916223488
    pve_guest_filesystem_usage_bytes{cluster="home",id="qemu/100",mountpoint="/"} 275972096

By hand: `pvesh get /nodes/pve1/qemu/100/agent/get-fsinfo`, `pvesh create /nodes/pve1/qemu/100/agent/ping`.

Needs VM.GuestAgent.Audit on the guest since PVE 9. Before, the same calls need VM.Monitor, which also permits commands
inside the guest: there they are made only when `collectors: {guest_agent: {enabled: true}}` asks for it. Only running
VMs whose configuration switches the agent on are asked, one call for each, see `sweep`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from exporter.collectors.definition import Collector, NothingHere, Request, every_node_interval
from exporter.collectors.sweep import Plan, Swept, answers, sweep
from exporter.exposition import Metric, Sample
from exporter.snapshot import View
from pvewatch.config import ExporterSettings
from pvewatch.pve.errors import Rejected
from pvewatch.pve.models import Guest
from pvewatch.pve.models_guests import Filesystem

NAME = "guest_agent"

# The words of PVE/QemuServer/Agent.pm, assert_agent_available.
_SILENT = "guest agent is not running"
_NOT_MEANT_TO = ("No QEMU guest agent configured", "is not running")


@dataclass(frozen=True, slots=True)
class AgentAnswer:
    """Whether the agent answers (None: nobody can say, the VM has just stopped), and what it tells."""

    up: bool | None
    filesystems: tuple[Filesystem, ...] = ()


def read(request: Request) -> Swept[AgentAnswer]:
    """Ask those of one node's agents whose turn it is; NothingHere where they are not to be asked."""
    if not _allowed(request):
        raise NothingHere
    return sweep(request, _PLAN)


def _allowed(request: Request) -> bool:
    chosen = request.settings.collector(NAME).enabled
    if chosen is not None:
        return chosen
    # A cluster in the middle of an upgrade has nodes of both kinds.
    detail = next((detail for detail in request.view.node_details if detail.node == request.node), None)
    known = detail.pve_version if detail is not None else None
    if known is None:
        known = request.view.version.version if request.view.version is not None else ""
    major = known.partition(".")[0]
    return major.isascii() and major.isdigit() and int(major) >= 9


def _has_agent(request: Request, guest: Guest) -> bool:
    known = request.view.configs.get(guest.id)
    return guest.kind == "qemu" and guest.status == "running" and known is not None and known.config.agent


def _ask(request: Request, guest: Guest) -> AgentAnswer:
    """PVE itself pings the agent before it hands on a question: a ping of our own only when that one was refused."""
    try:
        return AgentAnswer(True, request.client.guest_filesystems(guest.node, guest.vmid))
    except Rejected as error:
        if _SILENT in error.reason:
            return AgentAnswer(False)
        if any(words in error.reason for words in _NOT_MEANT_TO):
            return AgentAnswer(None)
    try:
        request.client.guest_agent_ping(guest.node, guest.vmid)
    except Rejected:
        return AgentAnswer(False)
    return AgentAnswer(True)


_PLAN = Plan(NAME, wanted=_has_agent, ask=_ask, every_seconds=300.0, per_minute=300)


def _answers(view: View) -> Iterator[tuple[str, AgentAnswer]]:
    """Of guests that run as far as can be known: what was inside a stopped one, or one out of sight, is past."""
    found = answers(view, NAME, AgentAnswer)
    for guest in view.resources.guests if view.resources else ():
        if guest.status == "running" and guest.id in found:
            yield guest.id, found[guest.id]


def _up(view: View) -> Iterator[Sample]:
    for guest_id, answer in _answers(view):
        yield (guest_id,), None if answer.up is None else int(answer.up)


def _size(view: View) -> Iterator[Sample]:
    for guest_id, answer in _answers(view):
        for filesystem in answer.filesystems:
            yield (guest_id, filesystem.mountpoint), filesystem.size_bytes


def _usage(view: View) -> Iterator[Sample]:
    for guest_id, answer in _answers(view):
        for filesystem in answer.filesystems:
            yield (guest_id, filesystem.mountpoint), filesystem.used_bytes


METRICS = (
    Metric(
        "pve_guest_agent_up",
        "gauge",
        "Whether the VM's guest agent answers; absent where its configuration does not switch it on.",
        ("id",),
        _up,
        reads=("resources",),
    ),
    Metric(
        "pve_guest_filesystem_size_bytes",
        "gauge",
        "Size of a file system inside the VM, as its guest agent tells.",
        ("id", "mountpoint"),
        _size,
        reads=("resources",),
    ),
    Metric(
        "pve_guest_filesystem_usage_bytes",
        "gauge",
        "Used part of a file system inside the VM.",
        ("id", "mountpoint"),
        _usage,
        reads=("resources",),
    ),
)


def keep_seconds(settings: ExporterSettings) -> float:
    """How long a node's answers count without a newer one; runs in trouble come five minutes apart."""
    return max(settings.figures_expire_seconds, 600.0, 2 * _PLAN.every(settings))


COLLECTOR = Collector(
    NAME,
    "node",
    read,
    METRICS,
    every_node_interval,
    keep_seconds,
    sweeps=True,
)
