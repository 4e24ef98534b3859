"""Which guests a person has stopped since they last started, and when guests were booted: `GET /cluster/tasks`.

It has no series of its own: it decides pvewatch_guest_expected_running, and tells the action API which guests may still
be booting. By hand: `pvesh get /cluster/tasks`.
Needs Sys.Audit on /, else PVE shows only the token's own tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from exporter.collectors.definition import Collector, Request, every_poll, keep_poll
from exporter.exposition import Metric
from exporter.snapshot import PowerTasks
from pvewatch.pve.models import Guest, Task

START_TYPES = frozenset({"qmstart", "vzstart", "hastart", "qmresume", "vzresume", "qmreboot", "vzreboot"})
BOOT_TYPES = START_TYPES | {"qmreset", "qmrollback", "vzrollback"}
STOP_TYPES = frozenset({"qmstop", "vzstop", "qmshutdown", "vzshutdown", "hastop"})
HA_STOP = "hastop"


def read(request: Request) -> PowerTasks:
    """Bring the stored stops up to date with the newest tasks and with what runs; return them, and the boots."""
    resources = request.view.resources
    guests = {guest.vmid: guest for guest in resources.guests} if resources else {}
    stored = request.stops.of_cluster(request.cluster.name)
    power = request.cluster.power.token_id if request.cluster.power else None
    tasks = request.client.cluster_tasks()
    stopped, started = changes(tasks, guests, stored, power, request.now)
    request.stops.update(request.cluster.name, stopped, started)
    now_stopped = {vmid: at for vmid, at in stored.items() if vmid not in started}
    return PowerTasks(now_stopped | {vmid: at for vmid, (at, _) in stopped.items()}, boots(tasks))


def boots(tasks: Sequence[Task]) -> dict[int, float]:
    """VMID → the end (unix seconds) of the newest successful task that started, restarted or reset it. Pure."""
    found: dict[int, float] = {}
    for task in tasks:
        if task.ok and task.type in BOOT_TYPES and task.id.isascii() and task.id.isdigit():
            found[int(task.id)] = max(_moment(task)[0], found.get(int(task.id), 0.0))
    return found


def changes(
    tasks: Sequence[Task], guests: Mapping[int, Guest], stored: Mapping[int, float], power: str | None, now: float
) -> tuple[dict[int, tuple[float, str]], frozenset[int]]:
    """What is new: VMID → (time, task id) of stops, and the VMIDs that have started since their stored stop.

    `tasks` in any order; only finished, successful ones count. `guests` by VMID; `power` is the id of pvewatch's own
    power token. Pure.
    """
    newest: dict[int, Task] = {}
    for task in tasks:
        if task.ok and task.id.isascii() and task.id.isdigit() and _counts(task, guests, power):
            vmid = int(task.id)
            if vmid not in newest or _moment(task) > _moment(newest[vmid]):
                newest[vmid] = task
    stopped: dict[int, tuple[float, str]] = {}
    started: set[int] = set()
    for vmid, task in newest.items():
        if task.type in STOP_TYPES:
            if _moment(task)[0] > stored.get(vmid, 0.0) and not _started_after(guests.get(vmid), _moment(task)[0], now):
                stopped[vmid] = (_moment(task)[0], task.upid)
        elif vmid in stored and _moment(task)[0] >= stored[vmid]:
            started.add(vmid)
    # PVE keeps few tasks: a start may have left the list unseen, but a guest that runs has been started.
    started |= {
        vmid for vmid, at in stored.items() if vmid not in stopped and _started_after(guests.get(vmid), at, now)
    }
    return stopped, frozenset(started)


def _moment(task: Task) -> tuple[float, float]:
    return (task.ended if task.ended is not None else task.started, task.started)


def _counts(task: Task, guests: Mapping[int, Guest], power: str | None) -> bool:
    if task.type in START_TYPES:
        return True
    if task.type not in STOP_TYPES:
        return False
    guest = guests.get(int(task.id))
    if guest is not None and guest.ha_state is not None and task.type != HA_STOP:
        return False  # HA's own hands: only the request to HA is a person's.
    # pvewatch resets a container by stopping and starting it; should the start fail, the container is still missed.
    return not (task.type == "vzstop" and task.user == power)


def _started_after(guest: Guest | None, moment: float, now: float) -> bool:
    if guest is None or guest.status != "running" or not guest.uptime_seconds:
        return False
    # PVE's figures are up to 10 s old; a start within that time is seen at the next round.
    return now - guest.uptime_seconds > moment + 1


METRICS: tuple[Metric, ...] = ()

COLLECTOR = Collector("tasks", "cluster", read, METRICS, every_poll, keep_poll)
