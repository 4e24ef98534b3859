"""Shut down: one call for both kinds. Nothing is forced: a guest that does not obey makes the task fail."""

from __future__ import annotations

from action_api.actions.calls import Call, Execution

SHUTDOWN = Execution("shutdown", {kind: (Call("shutdown", wanted="stopped"),) for kind in ("qemu", "lxc")})
