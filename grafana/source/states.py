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
SEVERITIES = {
    "critical": ("Critical", limits.ACT),
    "warning": ("Warning", limits.LOOK),
    "info": ("Info", "text"),
}
# What the HA manager says of a guest: exporter/collectors/ha.py has the same list.
HA_RESOURCE_STATES = {
    "started": ("Started", limits.WELL),
    "stopped": ("Stopped", "text"),
    "disabled": ("Disabled", "text"),
    "ignored": ("Ignored", "text"),
    "queued": ("Queued", limits.LOOK),
    "starting": ("Starting", limits.LOOK),
    "request_start": ("Start asked for", limits.LOOK),
    "request_start_balance": ("Start asked for (balancing)", limits.LOOK),
    "request_stop": ("Stop asked for", limits.LOOK),
    "migrate": ("Migrating", limits.LOOK),
    "relocate": ("Relocating", limits.LOOK),
    "freeze": ("Frozen", limits.LOOK),
    "deleting": ("Being removed from HA", limits.LOOK),
    "fence": ("Waits for fencing", limits.ACT),
    "recovery": ("In recovery", limits.ACT),
    "error": ("Error", limits.ACT),
    "other": ("Other", "purple"),
}
HA_REQUESTS = {
    "started": ("Started", limits.WELL),
    "enabled": ("Enabled", limits.WELL),
    "stopped": ("Stopped", "text"),
    "disabled": ("Disabled", "text"),
    "ignored": ("Ignored", "text"),
    "other": ("Other", "purple"),
}
HA_MANAGER_STATES = {
    "active": ("Active", limits.WELL),
    "idle": ("Idle", "text"),
    "dead": ("Dead", limits.ACT),
    "other": ("Other", "purple"),
}
HA_LRM_STATES = {
    "active": ("Active", limits.WELL),
    "idle": ("Idle", "text"),
    "maintenance": ("Maintenance", limits.LOOK),
    "lost_agent_lock": ("Lost its lock", limits.ACT),
    "dead": ("Dead", limits.ACT),
    "other": ("Other", "purple"),
}
SERVICE_STATES = {
    "active": ("Active", limits.WELL),
    "inactive": ("Inactive", "text"),
    "failed": ("Failed", limits.ACT),
    "other": ("Other", "purple"),
}
# In the order in which two exporters that disagree are believed: the worse. exporter/collectors has the same lists.
DISK_HEALTH = {
    "unknown": ("Says nothing", "text"),
    "passed": ("Sound", limits.WELL),
    "failed": ("Failing", limits.ACT),
}
ZFS_HEALTH = {
    "ONLINE": ("Online", limits.WELL),
    "other": ("Other", "purple"),
    "DEGRADED": ("Degraded", limits.LOOK),
    "OFFLINE": ("Offline", limits.ACT),
    "REMOVED": ("Removed", limits.ACT),
    "SUSPENDED": ("Suspended", limits.ACT),
    "UNAVAIL": ("Unavailable", limits.ACT),
    "FAULTED": ("Faulted", limits.ACT),
}
CEPH_HEALTH = {
    "HEALTH_OK": ("OK", limits.WELL),
    "other": ("Other", "purple"),
    "HEALTH_WARN": ("Warning", limits.LOOK),
    "HEALTH_ERR": ("Error", limits.ACT),
}
SUBSCRIPTION_STATES = {
    "active": ("Active", limits.WELL),
    "new": ("New", limits.WELL),
    "notfound": ("None", "text"),
    "invalid": ("Invalid", limits.LOOK),
    "suspended": ("Suspended", limits.LOOK),
    "expired": ("Expired", limits.LOOK),
}
YES_NO = {"1": ("Yes", limits.WELL), "0": ("No", "text")}
# As a number from promql.guest_health.
GUEST_HEALTH = {"0": ("Healthy", limits.WELL), "1": ("Warning", limits.LOOK), "2": ("Down", limits.ACT)}
# exporter/heartbeats/schema.py has the same lists.
AGENT_SERVICE_STATES = {
    "running": ("Running", limits.WELL),
    "starting": ("Starting", limits.LOOK),
    "stopping": ("Stopping", limits.LOOK),
    "stopped": ("Stopped", limits.LOOK),
    "failed": ("Failed", limits.ACT),
    "missing": ("Not installed", limits.LOOK),
    "unknown": ("Unknown", "purple"),
}
REPAIR_OUTCOMES = {
    "succeeded": ("Succeeded", limits.WELL),
    "failed": ("Failed", limits.ACT),
    "given_up": ("Was given up", limits.ACT),
}
AVAILABLE = {"1": ("Available", limits.WELL), "0": ("Not available", limits.ACT)}
ALERT_STATES = {"firing": ("Firing", limits.ACT), "pending": ("Pending", limits.LOOK)}
COLLECTOR_SUCCESS = {"1": ("Reads", limits.WELL), "0": ("Fails", limits.ACT)}
ANSWERS = {"1": ("Answers", limits.WELL), "0": ("Does not answer", limits.ACT)}
