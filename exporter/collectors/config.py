"""What each guest's `GET /nodes/{node}/{kind}/{vmid}/config` says about starting at boot, its agent and protection.

    pve_onboot_status{cluster="home",id="qemu/100",node="pve1",type="qemu"} 1
    pve_guest_agent_enabled{cluster="home",id="qemu/100"} 0
    pve_guest_protection{cluster="home",id="qemu/100"} 0

By hand: `pvesh get /nodes/pve1/qemu/100/config --current 1`. Needs VM.Audit on the guest.

One call for each guest is the dearest thing the exporter does, so it is spread over time: soon for guests that are new,
or were started or stopped, because changes may have waited for that; the others again after config_interval_seconds;
and never more than a few at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from exporter.collectors.definition import Collector, Incomplete, NothingHere, Request, every_poll
from exporter.exposition import Metric, Sample
from exporter.snapshot import ConfigReading, GuestConfigs, View
from pvewatch.config import ExporterSettings
from pvewatch.pve.errors import AuthFailed, NotFound, PveError, Unreachable
from pvewatch.pve.models import Guest

# Whole cluster, each run: after a start a cluster of 5,000 guests is known within five minutes; afterwards its
# configurations cost no more than 180 calls a minute.
NEW_GUESTS_PER_RUN = 200
KNOWN_GUESTS_PER_RUN = 30


def read(request: Request) -> GuestConfigs:
    """Ask for the configurations of one node's guests that are new or due, oldest first.

    A guest that cannot be read keeps its last configuration; the others are read all the same.
    """
    resources = request.view.resources
    guests = resources.guests_on(request.node) if resources else ()
    if not guests:
        raise NothingHere
    previous = request.previous if isinstance(request.previous, GuestConfigs) else None
    known = _known(guests, previous, request.view)
    # Refused ones wait for their next turn like the others, or they would keep new ones from theirs.
    limit = _every(request.settings)
    refused = {key: at for key, at in previous.refused.items() if request.now - at < limit} if previous else {}
    problem: PveError | None = None
    for guest in _due([guest for guest in guests if guest.id not in refused], known, request):
        if request.stopping():
            break
        try:
            config = request.client.guest_config(guest.node, guest.kind, guest.vmid)
        except NotFound:
            continue  # Moved or removed since the list was made: the next list says where it is.
        except (Unreachable, AuthFailed) as error:
            problem = error
            break
        except PveError as error:
            problem = error
            refused[guest.id] = request.now
            continue
        known[guest.id] = ConfigReading(config, request.now, _uptime(guest))
    keep = keep_seconds(request.settings)
    answer = GuestConfigs(
        {key: reading for key, reading in known.items() if request.now - reading.read_at <= keep}, refused
    )
    if previous == answer:
        # The same object says that nothing has to be written again.
        answer = previous
    if problem is not None:
        raise Incomplete(answer, problem)
    return answer


def _known(guests: Sequence[Guest], previous: GuestConfigs | None, view: View) -> dict[str, ConfigReading]:
    """What is known of these guests: of one that has moved here, what the node before has told."""
    here = previous.by_id if previous else {}
    elsewhere = {} if all(guest.id in here for guest in guests) else view.configs
    return {
        guest.id: reading for guest in guests if (reading := here.get(guest.id) or elsewhere.get(guest.id)) is not None
    }


def _due(guests: Sequence[Guest], known: dict[str, ConfigReading], request: Request) -> list[Guest]:
    nodes = max(1, len(request.view.resources.nodes) if request.view.resources else 1)
    new = [guest for guest in guests if guest.id not in known or _was_switched(guest, known[guest.id])]
    soon = {guest.id for guest in new}
    limit = _every(request.settings)
    old = [guest for guest in guests if guest.id not in soon and request.now - known[guest.id].read_at >= limit]
    old.sort(key=lambda guest: known[guest.id].read_at)
    return new[: math.ceil(NEW_GUESTS_PER_RUN / nodes)] + old[: math.ceil(KNOWN_GUESTS_PER_RUN / nodes)]


def _was_switched(guest: Guest, reading: ConfigReading) -> bool:
    """Whether the guest was started or stopped since its configuration was read; figures that stand still say no."""
    uptime = _uptime(guest)
    if uptime > 0:
        return uptime < reading.uptime_seconds or reading.uptime_seconds == 0
    # Read while it is stopped, so that its next start is seen however soon that comes.
    return guest.status == "stopped" and reading.uptime_seconds > 0


def _uptime(guest: Guest) -> float:
    """Seconds since it was started; 0 for one that is stopped, or of which nothing is known now."""
    return 0.0 if guest.status == "stopped" else guest.uptime_seconds or 0.0


def _every(settings: ExporterSettings) -> float:
    return settings.collector("config").interval_seconds or settings.config_interval_seconds


def keep_seconds(settings: ExporterSettings) -> float:
    """How long a configuration counts: it is no figure and seldom changes, and a sweep of many guests takes a while."""
    return max(settings.figures_expire_seconds, 6 * _every(settings))


def _onboot(view: View) -> Iterator[Sample]:
    configs = view.configs
    for guest in view.resources.guests if view.resources else ():
        known = configs.get(guest.id)
        if known is not None and known.config.onboot is not None:
            yield (guest.id, guest.node, guest.kind), int(known.config.onboot)


def _agent(view: View) -> Iterator[Sample]:
    configs = view.configs
    for guest in view.resources.guests if view.resources else ():
        known = configs.get(guest.id)
        if known is not None and guest.kind == "qemu":
            yield (guest.id,), int(known.config.agent)


def _protection(view: View) -> Iterator[Sample]:
    configs = view.configs
    for guest in view.resources.guests if view.resources else ():
        known = configs.get(guest.id)
        if known is not None:
            yield (guest.id,), int(known.config.protection)


def _told(view: View) -> object:
    """All that the samples come out of: configurations are read all the time and hardly ever say anything new."""
    configs = view.configs
    return [
        (guest.id, guest.node, known.config.onboot, known.config.agent, known.config.protection)
        for guest in (view.resources.guests if view.resources else ())
        if (known := configs.get(guest.id)) is not None
    ]


METRICS = (
    Metric(
        "pve_onboot_status",
        "gauge",
        "Whether the guest starts at boot; absent where its configuration does not say.",
        ("id", "node", "type"),
        _onboot,
        reads=("resources",),
        made_of=_told,
    ),
    Metric(
        "pve_guest_agent_enabled",
        "gauge",
        "Whether the VM's configuration switches the QEMU guest agent on.",
        ("id",),
        _agent,
        reads=("resources",),
        made_of=_told,
    ),
    Metric(
        "pve_guest_protection",
        "gauge",
        "Whether the guest is protected against removal.",
        ("id",),
        _protection,
        reads=("resources",),
        made_of=_told,
    ),
)

COLLECTOR = Collector(
    "config",
    "node",
    read,
    METRICS,
    every_poll,
    keep_seconds,
    sweeps=True,
)
