"""What Proxmox VE is asked for, one call at a time, and what must be seen afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Verb = Literal["start", "stop", "shutdown", "reset"]

# The task that PVE makes of a verb, per kind; the name is in the task's UPID. A guest under HA gets another one.
_TASK_PREFIX = {"qemu": "qm", "lxc": "vz"}
_HA_TASKS = {"start": "hastart", "stop": "hastop", "shutdown": "hastop"}


@dataclass(frozen=True, slots=True)
class Call:
    """One POST to …/status/<verb>. Success is its task's OK *and* the guest seen in the ``wanted`` state."""

    verb: Verb
    wanted: Literal["running", "stopped"]

    def task_types(self, kind: str) -> frozenset[str]:
        """The types of task that this call can have become, e.g. qmreset; hastop for a guest under HA."""
        types = {f"{_TASK_PREFIX[kind]}{self.verb}"}
        if self.verb in _HA_TASKS:
            types.add(_HA_TASKS[self.verb])
        return frozenset(types)


@dataclass(frozen=True, slots=True)
class Execution:
    """How an action of the catalogue is carried out: its calls in order, per kind of guest."""

    name: str
    calls: Mapping[str, tuple[Call, ...]]

    def call_named(self, kind: str, verb: str) -> int:
        """The position of the call with that verb. Raises ValueError when the action has no such call."""
        return [call.verb for call in self.calls[kind]].index(verb)  # type: ignore[arg-type]  # any text is looked for
