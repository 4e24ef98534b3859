"""The addresses of running guests, for the lists of service discovery and for probes; no figure of /metrics.

By hand: `pvesh get /nodes/pve1/lxc/200/interfaces`, `pvesh get /nodes/pve1/qemu/100/agent/network-get-interfaces`.

Containers need VM.Audit. VMs need VM.GuestAgent.Audit, which exists since PVE 9: before, the same call needs VM.Monitor
which also permits commands inside the guest. There VMs are asked only when `collectors: {addresses: {enabled: true}}`
wants it, and have their configuration's addresses otherwise. One call for each guest, see `sweep`.
"""

from __future__ import annotations

from exporter.collectors.definition import Collector, Request, every_node_interval
from exporter.collectors.guest_agent import has_agent, may_ask_agents
from exporter.collectors.sweep import Plan, Swept, answers, sweep
from exporter.snapshot import View
from pvewatch.config import ExporterSettings
from pvewatch.pve.errors import Rejected
from pvewatch.pve.models import Guest

NAME = "addresses"


def read(request: Request) -> Swept[tuple[str, ...]]:
    """Ask those of one node's running guests whose turn it is."""
    return sweep(request, _PLAN)


def reported(view: View) -> dict[str, tuple[str, ...]]:
    """By id the addresses that guests' own systems reported; none where it did not answer."""
    return answers(view, NAME, tuple)


def _is_asked(request: Request, guest: Guest) -> bool:
    if guest.kind == "lxc":
        return guest.status == "running"
    return has_agent(request, guest) and may_ask_agents(request, NAME)


def _ask(request: Request, guest: Guest) -> tuple[str, ...]:
    try:
        return request.client.guest_addresses(guest.node, guest.kind, guest.vmid)
    except Rejected:
        # No agent answers, or the guest has just stopped: it reports nothing, which is no failure.
        return ()


_PLAN = Plan(NAME, wanted=_is_asked, ask=_ask, every_seconds=300.0, per_minute=300)


def keep_seconds(settings: ExporterSettings) -> float:
    """How long addresses count: they seldom change, and a sweep of many guests takes a while."""
    return max(settings.figures_expire_seconds, 900.0, 2 * _PLAN.every(settings))


COLLECTOR = Collector(NAME, "node", read, (), every_node_interval, keep_seconds, sweeps=True)
