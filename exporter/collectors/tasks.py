"""Tasks: how many ended well or badly, what runs, and which guests a person has stopped, out of `GET /cluster/tasks`.

    pve_tasks_finished_total{cluster="home",type="vzdump",result="error"} 2
    pve_tasks_running{cluster="home",type="vzdump"} 1
    pve_task_last_failure_timestamp_seconds{cluster="home",type="vzdump"} 1795252644
    pve_task_last_success_timestamp_seconds{cluster="home",type="vzdump"} 1795166400
    pve_guest_last_start_task_timestamp_seconds{cluster="home",id="qemu/100"} 1795252611

By hand: `pvesh get /cluster/tasks`. Needs Sys.Audit on /: without it Proxmox VE shows only the token's own tasks, and
nothing is told rather than half of it.

Counted is what ended since pvewatch first saw the node, each task once, also across restarts (`StopStore.count_tasks`).
Proxmox VE keeps about 25 finished tasks of each node in this list: what a burst pushes out between two polls is missed.
Stops by a person decide pvewatch_guest_expected_running; boots tell the action API which guests may still be booting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from exporter.collectors.definition import Collector, Request, every_poll, keep_poll
from exporter.exposition import Metric, Sample
from exporter.snapshot import TaskReport, View
from exporter.stops import FinishedTask
from pvewatch.pve.errors import Forbidden
from pvewatch.pve.models import Guest, Task

# The types that Proxmox VE itself starts; anything else is counted as `other`. Source: task_desc_table in Utils.js of
# https://git.proxmox.com/?p=proxmox-widget-toolkit.git and of https://git.proxmox.com/?p=pve-manager.git
_TYPES = """
acmedeactivate acmenewcert acmerefresh acmeregister acmerenew acmerevoke acmeupdate aptupdate auth-realm-sync
auth-realm-sync-test bulkmigrate bulkshutdown bulkstart bulksuspend cephcreatemds cephcreatemgr cephcreatemon
cephcreateosd cephcreatepool cephdestroyfs cephdestroymds cephdestroymgr cephdestroymon cephdestroyosd
cephdestroypool cephfscreate cephsetflags cephsetpool clustercreate clusterjoin delete dircreate dirremove diskinit
download hamigrate harelocate hashutdown hastart hastop imgcopy imgdel imgdelvol lvmcreate lvmremove lvmthincreate
lvmthinremove migrateall move_volume pbs-download pull_file push_file qmclone qmconfig qmcreate qmdelsnapshot
qmdestroy qmigrate qmmove qmpause qmreboot qmreset qmrestore qmresume qmrollback qmshutdown qmsnapshot qmstart
qmstop qmsuspend qmtemplate reloadnetworkall resize spiceproxy spiceshell srvreload srvrestart srvstart srvstop
startall stopall suspendall termproxy unknownimgdel upload vncproxy vncshell vzclone vzcreate vzdelsnapshot
vzdestroy vzdump vzmigrate vzmount vzreboot vzrestore vzresume vzrollback vzshutdown vzsnapshot vzstart vzstop
vzsuspend vztemplate vzumount wipedisk zfscreate zfsremove
"""
KNOWN_TYPES = frozenset(_TYPES.split())
OTHER = "other"

START_TYPES = frozenset({"qmstart", "vzstart", "hastart", "qmresume", "vzresume", "qmreboot", "vzreboot"})
BOOT_TYPES = START_TYPES | {"qmreset", "qmrollback", "vzrollback"}
STOP_TYPES = frozenset({"qmstop", "vzstop", "qmshutdown", "vzshutdown", "hastop"})
HA_STOP = "hastop"


def read(request: Request) -> TaskReport:
    """Count what has ended, and bring the stored stops up to date with the newest tasks and with what runs.

    Raises Forbidden while /cluster/status, which needs the same privilege, is refused: the list would be a short one.
    """
    status = request.view.readings.get(("status", ""))
    if status is not None and status.failure is not None and status.failure.error_class == Forbidden.error_class:
        raise Forbidden(
            "the token lacks Sys.Audit on /, so it sees only its own tasks; `pvewatch check` prints the commands that "
            "mend it",
            host=str(request.cluster.hosts[0]),
            path="/cluster/tasks",
        )
    tasks = request.client.cluster_tasks()
    resources = request.view.resources
    guests = {guest.vmid: guest for guest in resources.guests} if resources else {}
    stored = request.stops.of_cluster(request.cluster.name)
    power = request.cluster.power.token_id if request.cluster.power else None
    stopped, started = changes(tasks, guests, stored, power, request.now)
    request.stops.update(request.cluster.name, stopped, started)
    now_stopped = {vmid: at for vmid, at in stored.items() if vmid not in started}
    online = frozenset(node.name for node in resources.nodes if node.status == "online") if resources else frozenset()
    report = TaskReport(
        person_stops=now_stopped | {vmid: at for vmid, (at, _) in stopped.items()},
        boots=boots(tasks),
        totals=request.stops.count_tasks(
            request.cluster.name, finished(tasks), frozenset(map(kind, tasks)), online, request.now
        ),
        running=Counter(kind(task) for task in tasks if task.running),
    )
    # The same object says that nothing has to be written again.
    return request.previous if isinstance(request.previous, TaskReport) and request.previous == report else report


def kind(task: Task) -> str:
    """What the task is counted under: its type, or `other` for one that Proxmox VE does not start by itself."""
    return task.type if task.type in KNOWN_TYPES else OTHER


def finished(tasks: Sequence[Task]) -> list[FinishedTask]:
    """The tasks that have ended and say how. Pure."""
    found = []
    for task in tasks:
        if task.running or task.ended is None or task.ok is None:
            continue
        warned = task.ok and task.exit_status is not None and task.exit_status.strip() != "OK"
        result = "warning" if warned else "ok" if task.ok else "error"
        found.append(FinishedTask(task.upid, task.node, kind(task), result, task.ended))
    return found


def boots(tasks: Sequence[Task]) -> dict[int, float]:
    """VMID → the end (unix seconds) of the newest successful task that started, restarted or reset it. Pure."""
    found: dict[int, float] = {}
    for task in tasks:
        if task.ok and task.type in BOOT_TYPES and task.vmid is not None:
            found[task.vmid] = max(_moment(task)[0], found.get(task.vmid, 0.0))
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
        vmid = task.vmid
        if not task.ok or vmid is None or not _counts(task, guests.get(vmid), power):
            continue
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


def _counts(task: Task, guest: Guest | None, power: str | None) -> bool:
    if task.type in START_TYPES:
        return True
    if task.type not in STOP_TYPES:
        return False
    if guest is not None and guest.ha_state is not None and task.type != HA_STOP:
        return False  # HA's own hands: only the request to HA is a person's.
    # pvewatch resets a container by stopping and starting it; should the start fail, the container is still missed.
    return not (task.type == "vzstop" and task.user == power)


def _started_after(guest: Guest | None, moment: float, now: float) -> bool:
    if guest is None or guest.status != "running" or not guest.uptime_seconds:
        return False
    # PVE's figures are up to 10 s old; a start within that time is seen at the next round.
    return now - guest.uptime_seconds > moment + 1


def _reports(view: View) -> list[TaskReport]:
    return view.answers(COLLECTOR.name, TaskReport)


def _finished(view: View) -> Iterator[Sample]:
    for report in _reports(view):
        for key in sorted(report.totals):
            yield key, report.totals[key][0]


def _running(view: View) -> Iterator[Sample]:
    for report in _reports(view):
        for name in sorted({kind for kind, _ in report.totals} | set(report.running)):
            yield (name,), report.running.get(name, 0)


def _newest(*results: str) -> Callable[[View], Iterator[Sample]]:
    def samples(view: View) -> Iterator[Sample]:
        for report in _reports(view):
            for name in sorted({kind for kind, _ in report.totals}):
                known = [report.totals.get((name, result), (0, None))[1] for result in results]
                yield (name,), max((at for at in known if at is not None), default=None)

    return samples


def _booted(view: View) -> list[tuple[str, float]]:
    """Guests that a task has started lately, and when."""
    guests = view.resources.guests if view.resources else ()
    return [(guest.id, view.boots[guest.vmid]) for guest in guests if guest.vmid in view.boots]


METRICS = (
    Metric(
        "pve_tasks_finished_total",
        "counter",
        "Tasks that have ended since pvewatch first saw their node, by type and result (ok, warning, error).",
        ("type", "result"),
        _finished,
    ),
    Metric("pve_tasks_running", "gauge", "Tasks that run at present, by type.", ("type",), _running),
    Metric(
        "pve_task_last_failure_timestamp_seconds",
        "gauge",
        "When a task of this type last ended with an error; absent when none was seen.",
        ("type",),
        _newest("error"),
    ),
    Metric(
        "pve_task_last_success_timestamp_seconds",
        "gauge",
        "When a task of this type last ended well, warnings included; absent when none was seen.",
        ("type",),
        _newest("ok", "warning"),
    ),
    Metric(
        "pve_guest_last_start_task_timestamp_seconds",
        "gauge",
        "When a task last started, restarted or reset the guest; absent once the task has left Proxmox VE's list.",
        ("id",),
        lambda view: (((guest,), at) for guest, at in _booted(view)),
        reads=("resources",),
        made_of=_booted,
    ),
)

COLLECTOR = Collector(
    "tasks",
    "cluster",
    read,
    METRICS,
    every_poll,
    keep_poll,
)
