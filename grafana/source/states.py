"""Text and colour of every state that a panel shows. A colour never stands alone."""

from __future__ import annotations

from grafana.source import limits

GUEST_STATES = {
    "running": ("Running", limits.WELL),
    "stopped": ("Stopped", "text"),
    "paused": ("Paused", limits.LOOK),
    "suspended": ("Suspended", limits.LOOK),
    "prelaunch": ("Starting (prelaunch)", limits.LOOK),
    "io-error": ("I/O error", limits.ACT),
    "guest-panicked": ("Guest panicked", limits.ACT),
    "internal-error": ("Internal error", limits.ACT),
    "unknown": ("Unknown", "purple"),
    "other": ("Other", "purple"),
}
NODE_STATES = {
    "online": ("Online", limits.WELL),
    "offline": ("Offline", limits.ACT),
    "unknown": ("Unknown", "purple"),
}
SEVERITIES = {"critical": ("Critical", limits.ACT), "warning": ("Warning", limits.LOOK)}
