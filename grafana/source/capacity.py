"""Proxmox VE / Capacity: how much there is, how it grows, what is promised, and who uses little of what it has."""

from __future__ import annotations

from grafana.source import house, limits, variables
from grafana.source.board import Built, Column, Panel, Query, Row
from grafana.source.capacity_promql import (
    CPU_PROMISED,
    CPU_USED,
    MEMORY_LEFT_USED,
    MEMORY_PROMISED,
    MEMORY_USED,
    ONE_LEFT_PROMISED,
    STORAGE_USED,
    YOUNG,
    fills_up,
    growth,
    in_90_days,
    recorded,
)
from grafana.source.drill import ratio
from grafana.source.listed import cluster_column
from grafana.source.right_sizing import right_sizing_row, unused_memory
from grafana.source.scenarios import SEEN, SEVERAL_NODES

UID = "pve-capacity"
LINES = 10
STORAGES_LISTED = 50
ALONE = SEVERAL_NODES.absent


def capacity() -> Built:
    """What there is and what is used of it, over three months; recorded by prometheus/rules/planning.yml."""
    return house.build(
        UID,
        "Capacity planning",
        "capacity",
        "Trends over 90 days, forecasts, overcommitment, what the loss of a node would leave, and right-sizing.",
        variables=[variables.cluster(several=True)],
        history="90d",
        rows=[
            Row([_cpu_promised(), _memory_promised(), _one_lost(), _storage_used(), _first_full(), _reclaimable()]),
            Row([_clusters()]),
            Row([_cpu(), _memory(), _storage(), _promises()], number=30, title="Trends"),
            Row([_filling()], number=31, title="Storage that fills up"),
            right_sizing_row(),
        ],
    )


def _of_cluster(name: str) -> str:
    """A recorded series as a column: a name of its own would keep it out of the other columns' rows."""
    return f"max by (cluster) ({recorded(name)})"


def _cpu_promised() -> Panel:
    return house.stat_panel(
        1,
        "CPUs promised",
        "CPUs of running guests for each CPU of the nodes, in the cluster where that is highest "
        "(pve_running_guest_cpus, pve_node_cpus). 1 to 4 is usual: few guests use all of theirs at once. Judge it by "
        "the CPU used beside it.",
        [Query(f"max({CPU_PROMISED})")],
        decimals=2,
    )


def _memory_promised() -> Panel:
    return house.stat_panel(
        2,
        "Memory promised",
        "Memory of running guests for each byte of the nodes, in the cluster where that is highest "
        "(pve_running_guest_memory_size_bytes, pve_node_memory_size_bytes). Above 1 the nodes swap, or end guests, "
        "once all guests use what they were given.",
        [Query(f"max({MEMORY_PROMISED})")],
        decimals=2,
        steps=limits.MEMORY_PROMISED,
    )


def _one_lost() -> Panel:
    return house.stat_panel(
        3,
        "Memory with one node less",
        "Memory in use on all nodes as a share of what would be there without the largest node, in the cluster where "
        "that is highest (pve_node_memory_usage_bytes, pve_node_memory_size_bytes). Above 100 % the guests of the "
        "largest node do not all fit on the others.",
        [Query(f"max({MEMORY_LEFT_USED})", needs=[SEEN, SEVERAL_NODES])],
        unit="percentunit",
        maximum=1,
        steps=limits.ONE_NODE_LESS,
        no_value=ALONE,
    )


def _storage_used() -> Panel:
    return house.stat_panel(
        4,
        "Storage used",
        "Used part of all storages together, in the cluster where that is highest, shared ones counted once "
        "(pve_storage_usage_bytes, pve_storage_size_bytes). Storages that share one file system or pool count each.",
        [Query(f"max({STORAGE_USED})")],
        unit="percentunit",
        maximum=1,
        steps=limits.STORAGE_RATIO,
        no_value="no storage is seen",
    )


def _first_full() -> Panel:
    return house.stat_panel(
        5,
        "First storage full",
        "Time until the first storage is full if it goes on growing as it did over the last seven days "
        "(pve_disk_usage_bytes). A straight line is a guess: backups that are pruned make a saw-tooth of it.",
        [Query(f"min({fills_up()})", may_be_empty=YOUNG)],
        unit="s",
        steps=limits.FULL_IN,
        no_value="nothing grows, or a week of figures is not there yet",
    )


def _reclaimable() -> Panel:
    return house.stat_panel(
        6,
        "Memory never used",
        "Memory that running guests were given and have not used in a week, of guests that used less than half of "
        "theirs (pve_memory_usage_bytes, five-minute averages). What could be given to others; the list is below.",
        [Query(f"sum({unused_memory()})", may_be_empty=YOUNG)],
        unit="bytes",
        decimals=1,
        no_value="none, or a week of figures is not there yet",
    )


def _clusters() -> Panel:
    several = [SEEN, SEVERAL_NODES]
    return house.table_panel(
        7,
        "Clusters",
        "Each cluster: what its nodes have, what is used, what running guests were promised for each CPU and byte, "
        "what would be used with the largest node lost, and what will be used in 90 days if the last 30 go on "
        "(recorded: pve_node_cpus, pve_node_memory_size_bytes, pve_running_guest_cpus and others). A single node "
        "has no column for the loss of one.",
        [
            Query(_of_cluster("cluster:pve_node_cpus:sum")),
            Query(CPU_USED),
            Query(CPU_PROMISED),
            Query(_of_cluster("cluster:pve_node_memory_size_bytes:sum")),
            Query(MEMORY_USED),
            Query(MEMORY_PROMISED),
            Query(MEMORY_LEFT_USED, needs=several),
            Query(ONE_LEFT_PROMISED, needs=several),
            Query(STORAGE_USED),
            Query(
                in_90_days("cluster:pve_node_memory_usage_bytes:sum", "cluster:pve_node_memory_size_bytes:sum"),
                may_be_empty=YOUNG,
            ),
            Query(
                in_90_days("cluster:pve_storage_usage_bytes:sum", "cluster:pve_storage_size_bytes:sum"),
                may_be_empty=YOUNG,
            ),
        ],
        [
            cluster_column(),
            Column("Value #A", "CPUs", unit="none", decimals=0),
            ratio("Value #B", "CPU used"),
            Column("Value #C", "CPUs promised", unit="none", decimals=2),
            Column("Value #D", "Memory", unit="bytes", decimals=0),
            ratio("Value #E", "Memory used", limits.NODE_MEMORY_RATIO),
            Column("Value #F", "Memory promised", unit="none", decimals=2, steps=limits.MEMORY_PROMISED, colored=True),
            ratio("Value #G", "Used with one node less", limits.ONE_NODE_LESS),
            Column(
                "Value #H",
                "Promised with one node less",
                unit="none",
                decimals=2,
                steps=limits.MEMORY_PROMISED,
                colored=True,
            ),
            ratio("Value #I", "Storage used", limits.STORAGE_RATIO),
            ratio("Value #J", "Memory in 90 days", limits.NODE_MEMORY_RATIO),
            ratio("Value #K", "Storage in 90 days", limits.STORAGE_RATIO),
        ],
        sort_by="Used with one node less",
        descending=True,
        height=8,
    )


def _cpu() -> Panel:
    return house.time_panel(
        8,
        "CPU used",
        f"Share of all CPUs of a cluster's nodes that is used, the {LINES} highest (pve_node_cpus_used, "
        "pve_node_cpus). Steadily above 70 % there is no room for a lost node.",
        [Query(f"topk({LINES}, {CPU_USED})", "{{cluster}}")],
        unit="percentunit",
        maximum=1,
        many=True,
    )


def _memory() -> Panel:
    return house.time_panel(
        9,
        "Memory used",
        f"Share of the memory of a cluster's nodes that is used, the {LINES} highest (pve_node_memory_usage_bytes, "
        "pve_node_memory_size_bytes). The cache of ZFS counts as used.",
        [Query(f"topk({LINES}, {MEMORY_USED})", "{{cluster}}")],
        unit="percentunit",
        maximum=1,
        steps=limits.NODE_MEMORY_RATIO,
        many=True,
    )


def _storage() -> Panel:
    return house.time_panel(
        10,
        "Storage used over time",
        f"Used part of all storages of a cluster together, the {LINES} highest (pve_storage_usage_bytes, "
        "pve_storage_size_bytes), shared ones counted once. Which one grows is in the table below.",
        [Query(f"topk({LINES}, {STORAGE_USED})", "{{cluster}}")],
        unit="percentunit",
        maximum=1,
        steps=limits.STORAGE_RATIO,
        many=True,
        no_value="no storage is seen",
    )


def _promises() -> Panel:
    return house.time_panel(
        11,
        "Promised to running guests",
        f"CPUs and memory of running guests for each CPU and byte of the nodes, the {LINES} highest of either "
        "(pve_running_guest_cpus, pve_running_guest_memory_size_bytes). A step up is a node lost or guests started.",
        [
            Query(f"topk({LINES}, {CPU_PROMISED})", "CPUs of {{cluster}}"),
            Query(f"topk({LINES}, {MEMORY_PROMISED})", "memory of {{cluster}}"),
        ],
        unit="none",
        many=True,
    )


def _filling() -> Panel:
    usage, size = recorded("storage:pve_disk_usage_bytes:max"), recorded("storage:pve_disk_size_bytes:max")
    soonest = f"bottomk({STORAGES_LISTED}, {fills_up()})"
    on = "on (cluster, node, storage)"
    return house.table_panel(
        12,
        "Storages by time left",
        f"Storages that have grown over the last seven days, the {STORAGES_LISTED} that are full first if that goes on "
        "(pve_disk_usage_bytes). A shared storage is there once, without a node. Make room, or add some, before the "
        "time is less than it takes to buy disks.",
        [
            Query(soonest, may_be_empty=YOUNG),
            Query(f"{usage} / ({size} > 0) and {on} {soonest}", may_be_empty=YOUNG),
            Query(f"max by (cluster, node, storage) ({size}) and {on} {soonest}", may_be_empty=YOUNG),
            Query(f"86400 * {growth()} and {on} {soonest}", may_be_empty=YOUNG),
        ],
        [
            Column("storage", "Storage"),
            cluster_column(),
            Column("node", "Node", may_be_absent="a shared storage is of no node"),
            ratio("Value #B", "Used", limits.STORAGE_RATIO),
            Column("Value #C", "Size", unit="bytes", decimals=1),
            Column("Value #D", "Growth in a day", unit="bytes", decimals=1),
            Column("Value #A", "Full in", unit="s", decimals=0, steps=limits.FULL_IN, colored=True),
        ],
        sort_by="Full in",
        no_value="nothing grows, or a week of figures is not there yet",
        height=8,
    )
