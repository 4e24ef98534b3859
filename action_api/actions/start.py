"""Start: one call for both kinds."""

from __future__ import annotations

from action_api.actions.calls import Call, Execution

START = Execution("start", {kind: (Call("start", wanted="running"),) for kind in ("qemu", "lxc")})
