"""What happens when a guest is started, stopped, shut down, rebooted, reset, suspended or resumed.

A POST only promises: most refusals come out in the task. Which are refused at once, and in which words, was recorded
from running servers (tests/fixtures/recorded-8.4, life-*.json).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pvewatch.simulator.answers import Refusal, failed
from pvewatch.simulator.figures import fraction
from pvewatch.simulator.permissions import Token
from pvewatch.simulator.tasks import Task, TaskStore
from pvewatch.simulator.world import USERLAND_BOOT_SECONDS, Guest, Kind, World, config_file

LOCK_WAIT_SECONDS = 10.0
SHUTDOWN_TIMEOUT_SECONDS = 60.0
HA_REACTION_SECONDS = 12.0
ACTIONS: dict[Kind, tuple[str, ...]] = {
    "qemu": ("start", "stop", "shutdown", "reboot", "reset", "suspend", "resume"),
    "lxc": ("start", "stop", "shutdown", "reboot", "suspend", "resume"),  # a container has no reset
}
_HA_ACTIONS = {"start": "hastart", "stop": "hastop", "shutdown": "hastop"}
_SECONDS = {"start": 1.5, "stop": 1.0, "shutdown": 4.0, "reboot": 5.0, "reset": 0.3, "suspend": 0.3, "resume": 0.3}


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked of one guest: the action with its parameters (seconds before `speed` is applied)."""

    action: str
    timeout_seconds: float = SHUTDOWN_TIMEOUT_SECONDS
    force_stop: bool = False
    overrule_shutdown: bool = False


class Lifecycle:
    """Turns orders into tasks, and tasks into changes of guests, as time passes."""

    def __init__(self, world: World, tasks: TaskStore, speed: float) -> None:
        self._world = world
        self._tasks = tasks
        self._speed = speed
        self._holders: dict[int, Task] = {}  # the running task that holds a guest's configuration lock
        self._ha_requests: list[tuple[float, int, str]] = []

    def submit(self, node: str, kind: Kind, vmid: int, order: Order, token: Token, now: float) -> str:
        """Accept an order and return its UPID, or raise the refusal that comes at once."""
        guest = self._world.guests.get(vmid)
        if guest is not None and (guest.kind != kind or guest.node != node):
            guest = None
        self._refuse_at_once(guest, node, kind, vmid, order)
        if guest is not None and guest.ha_state is not None and order.action in _HA_ACTIONS:
            return self._ask_ha(guest, order, token.id, now).upid
        prefix = "qm" if kind == "qemu" else "vz"
        # The task of QEMU's suspend is called qmpause.
        word = "pause" if (kind, order.action) == ("qemu", "suspend") else order.action
        task = self._tasks.create(node, prefix + word, str(vmid), token.id, now)
        if guest is None:
            self._plan(task, now, 0.1, _unknown_guest(order.action, node, kind, vmid))
            return task.upid
        if order.overrule_shutdown:
            self._overrule(task, guest, now)
        self._queue(task, guest, order, now)
        return task.upid

    def next_due(self) -> float:
        """When something changes next (unix seconds), infinity when nothing is under way."""
        due = [task.due_at for task in self._tasks.running()]
        return min([*due, *(moment for moment, _, _ in self._ha_requests)], default=float("inf"))

    def settle(self, now: float) -> None:
        """Do whatever is due at `now`."""
        for moment, vmid, action in [request for request in self._ha_requests if request[0] <= now]:
            self._ha_requests.remove((moment, vmid, action))
            guest = self._world.guests[vmid]
            task = self._tasks.create(guest.node, f"qm{action}", str(vmid), "root@pam", now)
            self._queue(task, guest, Order(action), now)
        for task in [task for task in self._tasks.running() if task.due_at <= now]:
            if not task.running:  # ended by an earlier one of this round
                continue
            if task.wait_until is not None:
                self._finish(task, now, f"can't lock file '{_lock_file(task)}' - got timeout")
                continue
            if task.effect is not None and task.outcome == "OK":
                task.effect(now)
            self._finish(task, now, task.outcome)

    def abort(self, task: Task, now: float) -> None:
        """End a running task early, as DELETE on it does."""
        if task.running:
            self._finish(task, now, "received interrupt")

    def forget(self, node: str, now: float) -> None:
        """The node is gone: nothing that runs there is ever finished by it."""
        for task in self._tasks.running():
            if task.node == node:
                self._finish(task, now, "unexpected status")

    # The rules, in the order in which the real one looks.

    def _refuse_at_once(self, guest: Guest | None, node: str, kind: Kind, vmid: int, order: Order) -> None:
        action = order.action
        running = guest is not None and guest.power.running
        if action == "start":
            if not self._world.quorate:
                raise failed("cluster not ready - no quorum?")
            if kind == "lxc" and running:
                raise failed(f"CT {vmid} already running")
        elif kind == "lxc" and not running:
            # The reboot of a container really says VM.
            raise failed(f"{'VM' if action == 'reboot' else 'CT'} {vmid} not running")
        elif kind == "qemu" and action in ("reboot", "reset", "suspend", "resume"):
            if guest is None:
                raise failed(f"unable to find configuration file for VM {vmid} on node '{node}'")
            if not running:
                raise failed(f"VM {vmid} not running")
        if action == "shutdown" and guest is not None and guest.power.paused and not order.force_stop:
            raise failed("VM is paused - cannot shutdown")

    def _refusal_in_task(self, guest: Guest, order: Order) -> str | None:
        what = "VM" if guest.kind == "qemu" else "CT"
        running = guest.power.running
        if order.action == "start" and guest.template:
            return f"you can't start a {'vm' if guest.kind == 'qemu' else 'CT'} if it's a template"
        # Stopping a stopped machine is done before its lock is looked at.
        idle = order.action in ("stop", "shutdown") and not running
        if guest.lock is not None and not idle:
            return f"{what} is locked ({guest.lock})"
        if order.action == "start" and running:
            return f"{what} {guest.vmid} already running"
        if guest.kind == "lxc" and order.action in ("suspend", "resume"):
            return f"{order.action} of containers is not simulated"
        return None

    def _queue(self, task: Task, guest: Guest, order: Order, now: float) -> None:
        holder = self._holders.get(guest.vmid)
        task.begin = lambda moment: self._begin(task, guest, order, moment)
        if holder is not None and holder.running:
            task.log.append("trying to acquire lock...")
            task.wait_until = now + LOCK_WAIT_SECONDS / self._speed
            return
        task.begin(now)

    def _begin(self, task: Task, guest: Guest, order: Order, now: float) -> None:
        task.wait_until = None
        self._holders[guest.vmid] = task
        refusal = self._refusal_in_task(guest, order)
        if refusal is not None:
            self._plan(task, now, 0.1, refusal)
            return
        power = guest.power
        seconds = _SECONDS[order.action] * (0.7 + 0.6 * fraction(guest.vmid, int(now), order.action))
        if order.action in ("stop", "shutdown") and not power.running:
            self._plan(task, now, 0.1, "OK")
            return
        # A hung guest does not follow the polite request; the task waits for the whole time-out.
        if order.action in ("shutdown", "reboot") and power.hung_at is not None and not order.force_stop:
            text = "VM quit/powerdown failed - got timeout"
            if guest.kind == "lxc":
                command = f"lxc-stop -n {guest.vmid} --nokill --timeout {order.timeout_seconds:.0f}"
                text = f"command '{command}' failed: exit code 1"
            self._plan(task, now, order.timeout_seconds, text)
            return
        if power.hung_at is not None and order.action == "shutdown":
            seconds = order.timeout_seconds
        self._plan(task, now, seconds, "OK", self._effect(guest, order.action, task))

    def _effect(self, guest: Guest, action: str, task: Task) -> Callable[[float], None]:
        boot_seconds = USERLAND_BOOT_SECONDS / self._speed

        def start(now: float) -> None:
            guest.start(now, task.pid + 7, boot_seconds)

        def reset(now: float) -> None:
            guest.reset(now, boot_seconds)

        def stop(_now: float) -> None:
            guest.stop()

        def pause(paused: bool) -> Callable[[float], None]:
            def change(_now: float) -> None:
                guest.power = replace(guest.power, paused=paused)

            return change

        effects: dict[str, Callable[[float], None]] = {
            "start": start,
            "reboot": start,  # a stop and a start: a new process, counters from zero
            "stop": stop,
            "shutdown": stop,
            "reset": reset,
            "suspend": pause(True),
            "resume": pause(False),
        }
        return effects[action]

    def _ask_ha(self, guest: Guest, order: Order, owner: str, now: float) -> Task:
        word = _HA_ACTIONS[order.action]
        task = self._tasks.create(guest.node, word, str(guest.vmid), owner, now)
        task.log.append(f"Requesting HA {word.removeprefix('ha')} for VM {guest.vmid}")
        self._plan(task, now, 1.0, "OK")
        guest.ha_state = "started" if order.action == "start" else "stopped"
        change = "start" if order.action == "start" else "shutdown"
        if guest.power.running != (order.action == "start"):
            self._ha_requests.append((now + HA_REACTION_SECONDS / self._speed, guest.vmid, change))
        return task

    def _overrule(self, task: Task, guest: Guest, now: float) -> None:
        for other in self._tasks.running(str(guest.vmid)):
            if other.type in ("qmshutdown", "vzshutdown"):
                task.log.append(f"overruled {other.type} tasks: {other.upid}")
                self._finish(other, now, "received interrupt")

    def _plan(
        self, task: Task, now: float, seconds: float, outcome: str, effect: Callable[[float], None] | None = None
    ) -> None:
        task.ends_at = now + seconds / self._speed
        task.outcome = outcome
        task.effect = effect

    def _finish(self, task: Task, now: float, exit_status: str) -> None:
        task.end(now, exit_status)
        for vmid in [vmid for vmid, holder in self._holders.items() if holder is task]:
            del self._holders[vmid]
            waiting = [other for other in self._tasks.running(task.id) if other.wait_until is not None]
            if waiting and waiting[0].begin is not None:
                waiting[0].begin(now)


def _lock_file(task: Task) -> str:
    if task.type.startswith("qm"):
        return f"/var/lock/qemu-server/lock-{task.id}.conf"
    return f"/run/lock/lxc/pve-config-{task.id}.lock"


def _unknown_guest(action: str, node: str, kind: Kind, vmid: int) -> str:
    if kind == "qemu" and action in ("stop", "shutdown"):
        return f"unable to find configuration file for VM {vmid} on node '{node}'"
    return f"Configuration file '{config_file(node, kind, vmid)}' does not exist"


def order_from(action: str, parameters: dict[str, int | str]) -> Order:
    """An order out of a request's parameters; raises the 400 for what only root may use."""
    if parameters.get("skiplock"):
        raise Refusal(400, "Parameter verification failed.", errors={"skiplock": "Only root may use this option."})
    timeout = parameters.get("timeout", SHUTDOWN_TIMEOUT_SECONDS)
    return Order(
        action=action,
        timeout_seconds=float(timeout),
        force_stop=bool(parameters.get("forceStop", 0)),
        overrule_shutdown=bool(parameters.get("overrule-shutdown", 0)),
    )
