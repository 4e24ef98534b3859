"""Reset. Proxmox VE has none for containers (501): they are stopped, seen stopped, and started."""

from __future__ import annotations

from action_api.actions.calls import Call, Execution

RESET = Execution(
    "reset",
    {
        "qemu": (Call("reset", wanted="running"),),
        "lxc": (Call("stop", wanted="stopped"), Call("start", wanted="running")),
    },
)
