"""The addresses of running guests, for the lists of service discovery and for probes; no figure of /metrics.

By hand: `pvesh get /nodes/pve1/lxc/200/interfaces`, `pvesh get /nodes/pve1/qemu/100/agent/network-get-interfaces`.

Containers need VM.Audit. VMs need VM.GuestAgent.Audit, which exists since PVE 9: before, the same call needs VM.Monitor
which also permits commands inside the guest, so VMs are not asked there and have their configuration's addresses only.
One call for each guest, so spread over time like the configurations.
"""

from __future__ import annotations

import math
import time

from exporter.collectors.definition import Collector, Incomplete, NothingHere, Request, every_node_interval
from exporter.snapshot import AddressReading, GuestAddresses
from pvewatch.config import ExporterSettings
from pvewatch.pve.errors import AuthFailed, NotFound, PveError, Rejected, Unreachable
from pvewatch.pve.models import Guest

NAME = "addresses"
EVERY_SECONDS = 300.0
# Whole cluster, each run: 1,000 guests in five minutes. A silent agent costs 3 s, and others wait behind it.
GUESTS_PER_RUN = 200
RUN_SECONDS = 10.0


def read(request: Request) -> GuestAddresses:
    """Ask those of one node's running guests whose turn it is, oldest first; the others keep what is known."""
    resources = request.view.resources
    guests = [guest for guest in resources.guests if guest.node == request.node] if resources else []
    guests = [guest for guest in guests if _is_asked(request, guest)]
    if not guests:
        raise NothingHere
    # From the whole cluster's view: a guest that has moved here is known already.
    known = {guest.id: request.view.addresses[guest.id] for guest in guests if guest.id in request.view.addresses}
    problem: PveError | None = None
    begun = time.monotonic()
    for guest in _due(guests, known, request):
        if request.stopping() or time.monotonic() - begun > RUN_SECONDS:
            break
        found: tuple[str, ...] = ()
        try:
            found = request.client.guest_addresses(guest.node, guest.kind, guest.vmid)
        except NotFound:
            continue  # Moved or removed since the list was made: the next list says where it is.
        except Rejected:
            pass  # No agent answers, or the guest has just stopped: it reports nothing, which is no failure.
        except (Unreachable, AuthFailed) as error:
            problem = error
            break
        except PveError as error:
            problem = error
        known[guest.id] = AddressReading(found, request.now)
    answer = GuestAddresses(known)
    if isinstance(request.previous, GuestAddresses) and request.previous == answer:
        # The same object says that nothing has to be written again.
        answer = request.previous
    if problem is not None:
        raise Incomplete(answer, problem)
    return answer


def _is_asked(request: Request, guest: Guest) -> bool:
    if guest.status != "running" or guest.template:
        return False
    if guest.kind == "lxc":
        return True
    version = request.view.version
    known = request.view.configs.get(guest.id)
    return version is not None and (version.major or 0) >= 9 and known is not None and known.config.agent


def _due(guests: list[Guest], known: dict[str, AddressReading], request: Request) -> list[Guest]:
    nodes = max(1, len(request.view.resources.nodes) if request.view.resources else 1)
    due = [g for g in guests if g.id not in known or request.now - known[g.id].read_at >= EVERY_SECONDS]
    due.sort(key=lambda guest: known[guest.id].read_at if guest.id in known else 0.0)
    return due[: math.ceil(GUESTS_PER_RUN / nodes)]


def keep_seconds(settings: ExporterSettings) -> float:
    """How long addresses count: they seldom change, and a sweep of many guests takes a while."""
    return max(settings.figures_expire_seconds, 3 * EVERY_SECONDS, 3 * settings.node_interval_seconds)


COLLECTOR = Collector(NAME, "node", read, (), every_node_interval, keep_seconds)
