"""Tasks: what a POST starts, and the lists and logs that tell how it went."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from pvewatch.simulator.figures import fraction

KEPT_PER_NODE = 1000
SHOWN_IN_CLUSTER = 25
_UPID = re.compile(r"UPID:[A-Za-z0-9-]+(:[0-9A-Fa-f]{8,9}){3}:[^:\s]+:[^:\s]*:[^:\s]+:")


@dataclass(slots=True, eq=False)
class Task:
    """One task. It waits until `wait_until`, if it must, then runs until `ends_at`, when `effect` happens."""

    node: str
    type: str
    id: str
    owner: str  # "root@pam" or "root@pam!token"
    started_at: float
    pid: int
    pstart: int
    ends_at: float | None = None
    wait_until: float | None = None
    begin: Callable[[float], None] | None = None
    effect: Callable[[float], None] | None = None
    outcome: str = "OK"
    exit_status: str | None = None
    ended_at: float | None = None
    log: list[str] = field(default_factory=list)

    @property
    def upid(self) -> str:
        """The unique id, with process id, start in clock ticks and start time in hexadecimal."""
        return (
            f"UPID:{self.node}:{self.pid:08X}:{self.pstart:08X}:{int(self.started_at):08X}:"
            f"{self.type}:{self.id}:{self.owner}:"
        )

    @property
    def running(self) -> bool:
        """Not ended yet."""
        return self.exit_status is None

    @property
    def due_at(self) -> float:
        """When something happens to it next (unix seconds)."""
        due = self.wait_until if self.wait_until is not None else self.ends_at
        return due if due is not None else float("inf")

    def end(self, now: float, exit_status: str) -> None:
        """It is over with `exit_status`: "OK" or what went wrong."""
        self.exit_status = exit_status
        self.ended_at = now
        self.log.append("TASK OK" if exit_status == "OK" else f"TASK ERROR: {exit_status}")

    def _user(self) -> dict[str, str]:
        user, _, token = self.owner.partition("!")
        return {"user": user, "tokenid": token} if token else {"user": user}

    def _what(self) -> dict[str, Any]:
        return {
            "upid": self.upid,
            "node": self.node,
            "pid": self.pid,
            "pstart": self.pstart,
            "starttime": int(self.started_at),
            "type": self.type,
            "id": self.id,
        }

    def status_answer(self) -> dict[str, Any]:
        """The answer of …/tasks/UPID/status; `exitstatus` only once it is over."""
        answer = self._what() | self._user() | {"status": "running" if self.running else "stopped"}
        if self.exit_status is not None:
            answer["exitstatus"] = self.exit_status
        return answer

    def node_row(self) -> dict[str, Any]:
        """A row of /nodes/N/tasks: a running one has status "RUNNING", its owner in one word and no end."""
        row = self._what()
        if self.exit_status is None:
            return row | {"user": self.owner, "status": "RUNNING", "saved": "0"}
        return row | self._user() | {"status": self.exit_status, "endtime": int(self.ended_at or self.started_at)}

    def cluster_row(self) -> dict[str, Any]:
        """A row of /cluster/tasks: a running one has neither status nor end."""
        row: dict[str, Any] = {
            "upid": self.upid,
            "node": self.node,
            "starttime": int(self.started_at),
            "type": self.type,
            "id": self.id,
            **self._user(),
        }
        if self.exit_status is None:
            return row | {"pid": self.pid}
        return row | {"status": self.exit_status, "endtime": int(self.ended_at or self.started_at), "saved": "1"}


def is_upid(text: str) -> bool:
    """Whether `text` has the form of a task id."""
    return _UPID.fullmatch(text) is not None


class TaskStore:
    """The tasks of all nodes, the newest `KEPT_PER_NODE` of each."""

    def __init__(self, nodes: Iterable[str], booted_at: float) -> None:
        self._by_node: dict[str, deque[Task]] = {node: deque(maxlen=KEPT_PER_NODE) for node in nodes}
        self._by_upid: dict[str, Task] = {}
        self._booted_at = booted_at
        self._pids = 2000

    def create(self, node: str, type_: str, id_: str, owner: str, now: float) -> Task:
        """A new running task, whose end somebody has still to plan."""
        self._pids += 3 + int(8 * fraction(self._pids, type_, id_))
        pstart = int(max(0.0, now - self._booted_at) * 100) & 0xFFFFFFFF
        task = Task(node=node, type=type_, id=id_, owner=owner, started_at=now, pid=self._pids, pstart=pstart)
        kept = self._by_node[node]
        if len(kept) == KEPT_PER_NODE:
            del self._by_upid[kept[0].upid]
        kept.append(task)
        self._by_upid[task.upid] = task
        return task

    def find(self, node: str, upid: str) -> Task | None:
        """The task, if it belongs to that node: each node knows its own only."""
        task = self._by_upid.get(upid)
        return task if task is not None and task.node == node else None

    def running(self, id_: str | None = None) -> list[Task]:
        """All tasks that are not over, or those of one guest, oldest first."""
        tasks = [task for tasks in self._by_node.values() for task in tasks if task.running]
        return sorted((task for task in tasks if id_ is None or task.id == id_), key=lambda task: task.started_at)

    def of_node(self, node: str, source: str) -> list[Task]:
        """One node's tasks as `source` (archive, active, all) asks for them: running first, then newest first."""
        chosen = [task for task in self._by_node[node] if source == "all" or task.running == (source == "active")]
        return sorted(chosen, key=lambda task: (not task.running, -(task.ended_at or task.started_at)))

    def of_cluster(self) -> list[Task]:
        """The newest tasks of every node: running first, then newest first."""
        newest = [task for tasks in self._by_node.values() for task in list(tasks)[-SHOWN_IN_CLUSTER:]]
        return sorted(newest, key=lambda task: (not task.running, -task.started_at))
