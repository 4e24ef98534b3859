"""The cluster as time passes: one lock, one clock, and everything that is due done before anybody is answered."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from pvewatch.simulator.faults import MOST_FAULTS, BadFault, Fault
from pvewatch.simulator.lifecycle import Lifecycle
from pvewatch.simulator.permissions import Token
from pvewatch.simulator.scenarios import SCENARIOS
from pvewatch.simulator.tasks import TaskStore
from pvewatch.simulator.world import STATISTICS_EXPIRE_SECONDS, Guest, Node, World

Clock = Callable[[], float]


class Cluster:
    """A world with its tasks and faults. Hold `lock` and call `advance` before reading or changing it."""

    def __init__(
        self,
        world: World,
        tokens: tuple[Token, ...],
        clock: Clock,
        *,
        refresh_seconds: float = 10.0,
        speed: float = 1.0,
        scenario: str = "healthy",
        fingerprint: str = "",
    ) -> None:
        self.world = world
        self.tokens = tokens
        self.fingerprint = fingerprint
        self.lock = threading.RLock()
        self.clock = clock
        self.now = clock()
        self.refresh_seconds = refresh_seconds
        self.tasks = TaskStore(world.nodes, min(node.booted_at for node in world.nodes.values()))
        self.lifecycle = Lifecycle(world, self.tasks, speed)
        # How often each path of the routes was asked, refusals included.
        self.requests: Counter[str] = Counter()
        self._faults: list[Fault] = []
        for _, fault in SCENARIOS[scenario]:
            self._check(fault)
        self._plan = [(self.now + after, fault) for after, fault in SCENARIOS[scenario]]
        self._refreshed_at = self._refresh_before(self.now)
        self._write_history()
        self._publish(self._refreshed_at)

    def advance(self) -> float:
        """Let everything happen that is due, in its order; returns the time (unix seconds)."""
        now = max(self.now, self.clock())
        for _ in range(100_000):  # an end for a clock that jumped by years
            due = min([self.lifecycle.next_due(), *(moment for moment, _ in self._plan)])
            refresh = self._refresh_before(min(now, due))
            if refresh > self._refreshed_at:
                self._publish(refresh)
            if due > now:
                break
            for moment, fault in [entry for entry in self._plan if entry[0] <= due]:
                self._plan.remove((moment, fault))
                self._apply(fault, due)
            self.lifecycle.settle(due)
        self.now = now
        return now

    # Statistics: what lists show is as old as the last refresh.

    def published_at(self, node: Node) -> float:
        """The moment that the statistics of a node and its guests show: the last refresh it took part in."""
        if node.frozen_since is None:
            return self._refreshed_at
        return self._refresh_before(node.frozen_since)

    def expired(self, node: Node) -> bool:
        """Whether a node's last statistics have been dropped: its guests and storages are unknown."""
        return node.frozen_since is not None and self.now - self.published_at(node) > STATISTICS_EXPIRE_SECONDS

    def alive(self, guest: Guest) -> bool:
        """Whether the inside of a guest runs and can reach anybody."""
        power = guest.power
        return (
            power.running
            and not power.paused
            and power.hung_at is None
            and self.now >= power.alive_at
            and self.world.nodes[guest.node].offline_since is None
        )

    # Faults

    def add_fault(self, fault: Fault) -> None:
        """Put a fault in; raises BadFault when its guest or node does not exist or there are too many."""
        if len(self._faults) >= MOST_FAULTS:
            raise BadFault(f"there are {MOST_FAULTS} faults already: take some out with DELETE /faults")
        self._check(fault)
        self._apply(fault, self.now)

    def remove_faults(self, fault: Fault | None = None) -> int:
        """Take out one fault, or all, those still planned included; returns how many."""
        gone = [present for present in self._faults if fault in (None, present)]
        for present in gone:
            self._faults.remove(present)
            self._revert(present)
        planned = [entry for entry in self._plan if fault in (None, entry[1])]
        self._plan = [entry for entry in self._plan if entry not in planned]
        return len(gone) + len(planned)

    def faults(self) -> list[dict[str, Any]]:
        """The present faults in their JSON form."""
        return [fault.description() for fault in self._faults]

    def forced_status(self, path: str) -> Fault | None:
        """The fault that decides the answer for an API path, if there is one."""
        return next((fault for fault in self._faults if fault.kind == "status" and fault.hits(path)), None)

    def spoilt_body(self, path: str) -> bytes | None:
        """What is sent in the place of the answer for an API path, None when the answer is left alone."""
        found = (fault for fault in self._faults if fault.kind in ("garbage", "large") and fault.hits(path))
        return next((fault.spoilt_body for fault in found), None)

    def has_fault(self, kind: str, node: str | None = None) -> bool:
        """Whether a fault of that kind is there, on that node if it is of a node."""
        return any((fault.kind, fault.node) == (kind, node) for fault in self._faults)

    def wait_seconds(self, path: str) -> int:
        """How long an answer for an API path is held back."""
        return sum(fault.seconds or 0 for fault in self._faults if fault.kind == "slow" and fault.hits(path))

    def _check(self, fault: Fault) -> None:
        guest = self.world.guest(fault.guest) if fault.guest else None
        if fault.guest is not None and guest is None:
            raise BadFault(f"guest: there is no {fault.guest}; GET /guests lists them")
        if guest is not None and fault.kind == "hang" and not guest.power.running:
            raise BadFault(f"guest: {guest.id} does not run, so it cannot hang")
        if fault.node is not None and fault.node not in self.world.nodes:
            raise BadFault(f"node: there is no {fault.node}; there are {', '.join(self.world.nodes)}")

    def _apply(self, fault: Fault, now: float) -> None:
        if fault in self._faults:
            if fault.kind != "hang":
                return
            self._faults.remove(fault)  # it was reset since: hang again
        self._faults.append(fault)
        guest = self.world.guest(fault.guest) if fault.guest else None
        if guest is not None and fault.kind == "hang":
            guest.hang(now)
        elif guest is not None:
            guest.lock = fault.lock
        elif fault.kind == "statistics-stopped":
            self.world.nodes[str(fault.node)].statistics_stopped_at = now
        elif fault.kind == "node-offline":
            node = self.world.nodes[str(fault.node)]
            node.offline_since = now
            self.lifecycle.forget(node.name, now)

    def _revert(self, fault: Fault) -> None:
        guest = self.world.guest(fault.guest) if fault.guest else None
        if guest is not None and fault.kind == "hang":
            guest.unhang(self.now)
        elif guest is not None:
            guest.lock = None
        elif fault.kind == "statistics-stopped":
            self.world.nodes[str(fault.node)].statistics_stopped_at = None
        elif fault.kind == "node-offline":
            self.world.nodes[str(fault.node)].offline_since = None

    def _publish(self, moment: float) -> None:
        self._refreshed_at = moment
        for node in self.world.nodes.values():
            node.shown_offline = node.offline_since is not None
        for guest in self.world.guests.values():
            if self.world.nodes[guest.node].frozen_since is None:
                guest.published = guest.power

    def _refresh_before(self, moment: float) -> float:
        return math.floor(moment / self.refresh_seconds) * self.refresh_seconds

    def _write_history(self) -> None:
        """Tasks from before the start: who started what, and who stopped a guest on purpose."""
        for guest in sorted(self.world.guests.values(), key=lambda guest: guest.power.started_at):
            prefix = "qm" if guest.kind == "qemu" else "vz"
            if guest.power.running:
                task = self.tasks.create(
                    guest.node, f"{prefix}start", str(guest.vmid), "root@pam", guest.power.started_at
                )
                task.end(guest.power.started_at + 2, "OK")
            elif guest.stopped_on_purpose:
                stopped_at = self.now - 3 * 86400
                task = self.tasks.create(guest.node, f"{prefix}shutdown", str(guest.vmid), "operator@pve", stopped_at)
                task.end(stopped_at + 9, "OK")
