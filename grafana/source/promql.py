"""The PromQL that several panels share.

Every expression takes `max by` or `topk by … (1, …)`, so that an exporter scraped twice counts once.
"""

from __future__ import annotations

GUESTS_SHOWN = 10
STORAGES_SHOWN = 15

IN_CLUSTER = 'cluster=~"$cluster"'
GUESTS = f'{IN_CLUSTER}, id=~"(qemu|lxc)/.+"'
NODES = f'{IN_CLUSTER}, id=~"node/.+"'
STORAGES = f'{IN_CLUSTER}, id=~"storage/.+"'
CLUSTERS = f'{IN_CLUSTER}, id=~"cluster/.+"'


def most(metric: str, selector: str = IN_CLUSTER) -> str:
    """One sample per cluster and id, also when two exporters are scraped."""
    return f"max by (cluster, id) ({metric}{{{selector}}})"


def with_label(name: str, value: str) -> str:
    """The chosen clusters' series with that label."""
    return f'{IN_CLUSTER}, {name}="{value}"'


def heartbeat_limit(selector: str) -> str:
    """After how many seconds a guest counts as silent; nothing for a guest that never had an agent."""
    return (
        f'max by (cluster, id) (pvewatch:threshold{{{selector}, figure="heartbeat_age_seconds"}}) '
        f"and on (cluster, id) {most('pvewatch_heartbeat_last_seen_timestamp_seconds', selector)}"
    )


# Zero only while the cluster can be seen: an exporter that is blind must not read as "nothing wrong".
ZERO = f'0 * max(pve_collector_success{{{IN_CLUSTER}, collector="resources"}} == 1)'
INFO = f"topk by (cluster, id) (1, pvewatch_guest_info{{{IN_CLUSTER}}})"
NAMED = f"* on (cluster, id) group_left (name, vmid) {INFO}"
TEMPLATES = f'pve_guest_info{{{IN_CLUSTER}, template="1"}}'
# ExporterDown has no cluster: the second half of the alternative keeps it.
FIRING = 'ALERTS{alertstate="firing", severity!="none", cluster=~"$cluster|"}'

# Recorded by prometheus/rules/recording.yml.
GUEST_MEMORY = most("guest:pve_memory_usage:ratio")
NODE_MEMORY = most("node:pve_memory_usage:ratio")
STORAGE_RATIO = most("storage:pve_disk_usage:ratio")
HEARTBEAT_AGE = f"(time() - {most('pvewatch_heartbeat_last_seen_timestamp_seconds')})"
HEARTBEAT_LIMIT = f"({heartbeat_limit(IN_CLUSTER)})"
STORAGE_INFO = f"topk by (cluster, id) (1, pve_storage_info{{{IN_CLUSTER}}})"


# What does not change from step to step is looked up once, at the end of the range: of 5,000 guests that is what costs.
NAMES_AT_END = f"(topk by (cluster, id) (1, pvewatch_guest_info{{{IN_CLUSTER}}} @ end()))"


def _top_over_the_range(metric: str) -> str:
    """The guests that had most over the whole range, named: the same few lines from left to right."""
    average = f"max by (cluster, id) (avg_over_time({metric}{{{GUESTS}}}[$__range] @ end()))"
    chosen = f"max by (cluster, id) ({metric}{{{GUESTS}}} and on (cluster, id) topk({GUESTS_SHOWN}, {average}))"
    return f"{chosen} * on (cluster, id) group_left (name, vmid) {NAMES_AT_END}"


CPU_TOP = _top_over_the_range("pve_cpu_usage_ratio")
MEMORY_TOP = _top_over_the_range("guest:pve_memory_usage:ratio")


def not_templates(expr: str) -> str:
    """`expr` without templates."""
    return f"({expr}) unless on (cluster, id) {TEMPLATES}"


def fullest_storages(shared: int, by: str) -> str:
    """The fullest storages, those that are shared (1) or of one node (0), one series per `by`."""
    chosen = f"and on (cluster, id) ({most('pve_storage_shared')} == {shared})"
    named = f"({STORAGE_RATIO} {chosen}) * on (cluster, id) group_left (storage, node) {STORAGE_INFO}"
    return f"topk({STORAGES_SHOWN}, max by ({by}) ({named}))"


def guest_health() -> str:
    """Health per cluster and id: 0 healthy, 1 warning, 2 down. Guests that are off and may be are left out."""
    return most("pvewatch:guest_health")
