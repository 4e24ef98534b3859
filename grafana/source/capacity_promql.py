"""Ratios and forecasts over the series that prometheus/rules/planning.yml records."""

from __future__ import annotations

from grafana.source.promql import IN_CLUSTER

YOUNG = "a week, or a month, of figures is needed"


def recorded(name: str) -> str:
    """A recorded series of the chosen clusters."""
    return f"{name}{{{IN_CLUSTER}}}"


def _share(of: str, size: str) -> str:
    return f"({recorded(of)} / ({recorded(size)} > 0))"


_MEMORY = "cluster:pve_node_memory_size_bytes:sum"
# What is left without the largest node; nothing where there is no other.
_ONE_LESS = f"({recorded(_MEMORY)} - {recorded('cluster:pve_node_memory_size_bytes:max')} > 0)"

CPU_USED = _share("cluster:pve_node_cpus_used:sum", "cluster:pve_node_cpus:sum")
CPU_PROMISED = _share("cluster:pve_running_guest_cpus:sum", "cluster:pve_node_cpus:sum")
MEMORY_USED = _share("cluster:pve_node_memory_usage_bytes:sum", _MEMORY)
MEMORY_PROMISED = _share("cluster:pve_running_guest_memory_size_bytes:sum", _MEMORY)
MEMORY_LEFT_USED = f"({recorded('cluster:pve_node_memory_usage_bytes:sum')} / {_ONE_LESS})"
ONE_LEFT_PROMISED = f"({recorded('cluster:pve_running_guest_memory_size_bytes:sum')} / {_ONE_LESS})"
STORAGE_USED = _share("cluster:pve_storage_usage_bytes:sum", "cluster:pve_storage_size_bytes:sum")


def known_for(name: str, days: int) -> str:
    """The series of that name that were there so many days ago: a forecast out of an hour is worth nothing."""
    return f"last_over_time({recorded(name)}[1h] offset {days}d)"


def growth() -> str:
    """Bytes a second by which each storage has grown over a week; shrinking ones, and young ones, are left out."""
    usage = "storage:pve_disk_usage_bytes:max"
    return f"((deriv({recorded(usage)}[7d]) > 0) and {known_for(usage, 6)})"


def fills_up() -> str:
    """Seconds until each growing storage is full."""
    free = f"({recorded('storage:pve_disk_size_bytes:max')} - {recorded('storage:pve_disk_usage_bytes:max')})"
    return f"({free} / {growth()})"


def in_90_days(used: str, size: str) -> str:
    """The share in use in 90 days if the last 30 go on, at least 0; only with two weeks of figures."""
    ahead = f"clamp_min(predict_linear({recorded(used)}[30d], 90 * 86400), 0)"
    return f"({ahead} / ({recorded(size)} > 0) and {known_for(used, 14)})"
