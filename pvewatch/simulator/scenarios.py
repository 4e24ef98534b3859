"""What goes wrong by itself, as a plain table: scenario → (seconds after the start, fault)."""

from __future__ import annotations

from pvewatch.simulator.faults import Fault

SCENARIOS: dict[str, tuple[tuple[float, Fault], ...]] = {
    "healthy": (),
    "demo": ((60.0, Fault("hang", guest="qemu/101")),),
    "node-lost": ((60.0, Fault("node-offline", node="pve2")),),
    "disks": tuple(
        (0.0, Fault(kind, node="pve2")) for kind in ("disk-failed", "pool-degraded", "thin-metadata", "osd-down")
    ),
    "locked": ((0.0, Fault("lock", guest="qemu/101", lock="backup")),),
}
