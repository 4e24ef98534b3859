"""Proxmox VE / Cluster: quorum, nodes, high availability, replication, tasks and versions of one cluster."""

from __future__ import annotations

from typing import Any

from grafana.source import house, limits, links, marks, variables
from grafana.source.board import Built, Column, Panel, Query, Row
from grafana.source.cluster_services import high_availability, replication, tasks, versions
from grafana.source.drill import code_texts, coded, node_column, of_node, ratio
from grafana.source.promql import (
    CLUSTERS,
    CPU_TOP,
    FIRING,
    GUESTS_SHOWN,
    IN_CLUSTER,
    INFO,
    MEMORY_TOP,
    NODE_MEMORY,
    NODES,
    ZERO,
    most,
    with_label,
)
from grafana.source.scenarios import CLUSTERED, HA, QDEVICE
from grafana.source.scenarios import FIRING as ALERT_FIRES
from grafana.source.states import HA_MANAGER_STATES, NODE_STATES, SEVERITIES

UID = links.CLUSTER
NODES_SHOWN = 20
HERE = links.chosen("cluster")


def cluster() -> Built:
    """One cluster, or one host that stands alone: what is about a cluster then says so."""
    return house.build(
        UID,
        "Cluster",
        "cluster",
        "One cluster: quorum, nodes, high availability, replication, tasks and versions.",
        variables=[variables.cluster()],
        annotations=[marks.alerts()],
        rows=[
            _first_row(),
            _nodes(),
            _figures(),
            high_availability(),
            replication(),
            tasks(),
            versions(),
        ],
    )


def _first_row() -> Row:
    online = most("pve_node_status", with_label("status", "online"))
    return Row(
        [
            house.stat_panel(
                1,
                "Nodes online",
                "Nodes that the cluster sees, and all that it has (pve_node_status). Equal is normal. Fewer: the table "
                "below says which one, the runbook of NodeDown what to do.",
                [
                    Query(
                        f"count({online} == 1) or {ZERO}",
                        "online",
                        values={"healthy": 3, "node-lost": 2, "standalone": 1},
                    ),
                    Query(f"count({online})", "all", values={"healthy": 3, "node-lost": 3, "standalone": 1}),
                ],
                links=[links.cluster_in_pve(HERE)],
            ),
            house.stat_panel(
                2,
                "Quorum",
                "Whether more than half of the votes are present (pve_up of the cluster). Without quorum guests cannot "
                "be started, and the configuration cannot be changed: bring nodes back. A standalone host has none to "
                "lose.",
                [
                    Query(
                        f"min({most('pve_up', CLUSTERS)})",
                        needs=[CLUSTERED],
                        values={"healthy": 1, "node-lost": 1},
                    )
                ],
                steps=limits.MUST_BE,
                maximum=1,
                mappings=house.value_map(
                    {"1": ("Quorate", limits.WELL), "0": ("No quorum", limits.ACT)}, ("Standalone or unseen", "text")
                ),
                no_value=CLUSTERED.absent,
            ),
            house.stat_panel(
                3,
                "Votes",
                "Votes of the nodes that are online, and of all nodes (pve_cluster_votes_present, "
                "pve_cluster_votes_expected), a quorum device not counted. Equal is normal; more than half must be "
                "present.",
                [
                    Query(
                        f"max(pve_cluster_votes_present{{{IN_CLUSTER}}})",
                        "present",
                        needs=[CLUSTERED],
                        values={"healthy": 3, "node-lost": 2},
                    ),
                    Query(
                        f"max(pve_cluster_votes_expected{{{IN_CLUSTER}}})",
                        "expected",
                        needs=[CLUSTERED],
                        values={"healthy": 3, "node-lost": 3},
                    ),
                ],
                no_value=CLUSTERED.absent,
            ),
            house.stat_panel(
                4,
                "Quorum device",
                "Whether the quorum device is connected (pve_qdevice_up). Its vote decides where half of the nodes are "
                "gone. Not connected: look at corosync-qdevice on the nodes and at the host that runs corosync-qnetd.",
                [Query(f"min({most('pve_qdevice_up')})", needs=[QDEVICE], values={"healthy": 1})],
                steps=limits.MUST_BE,
                maximum=1,
                mappings=house.value_map(
                    {"1": ("Connected", limits.WELL), "0": ("Not connected", limits.ACT)}, ("None", "text")
                ),
                no_value=QDEVICE.absent,
            ),
            house.stat_panel(
                5,
                "HA manager",
                "State of the HA manager in charge (pve_ha_manager_status). Active and idle are normal; dead means "
                "that it has not reported for two minutes, and that guests are not recovered: see pve-ha-crm on the "
                "nodes.",
                [Query(coded("pve_ha_manager_status", IN_CLUSTER, HA_MANAGER_STATES, "status", "cluster"), needs=[HA])],
                mappings=code_texts(HA_MANAGER_STATES),
                no_value=HA.absent,
            ),
            house.stat_panel(
                6,
                "Different versions",
                "How many versions of Proxmox VE the nodes have installed, and how many kernels they run "
                "(pve_cluster_versions, pve_cluster_kernels). 1 is normal, 2 during an upgrade. More kernels than "
                "versions: a node waits for its reboot.",
                [
                    Query(f"max(pve_cluster_versions{{{IN_CLUSTER}}})", "Proxmox VE", values={"healthy": 1}),
                    Query(f"max(pve_cluster_kernels{{{IN_CLUSTER}}})", "kernels"),
                ],
                steps=limits.MIXED,
                no_value="needs Sys.Audit on the nodes",
            ),
        ]
    )


def _nodes() -> Row:
    running = most("pve_guest_status", with_label("status", "running"))
    guests = f"count by (cluster, node) (({running} == 1) * on (cluster, id) group_left (node) {INFO})"
    rootfs = f"{most('pve_node_rootfs_usage_bytes')} / ({most('pve_node_rootfs_size_bytes')} > 0)"
    return Row(
        title="Nodes and alerts",
        number=20,
        panels=[
            house.table_panel(
                7,
                "Nodes",
                "Every node: state as the cluster sees it, share of CPUs, memory and root file system in use, time in "
                "which CPUs waited for disks, guests that run, uptime, version and kernel (pve_node_status, "
                "pve_cpu_usage_ratio, pve_memory_usage_bytes, pve_memory_size_bytes, pve_guest_status, "
                "pve_node_kernel_info). Unknown means that the node's statistics daemon is dead, not the node. A "
                "node's name leads to its page.",
                [
                    Query(of_node(f"max by (cluster, id, status) (pve_node_status{{{NODES}}}) == 1")),
                    Query(most("pve_cpu_usage_ratio", NODES)),
                    Query(NODE_MEMORY),
                    Query(rootfs),
                    Query(most("pve_node_io_wait_ratio")),
                    Query(f'label_replace({guests}, "id", "node/$1", "node", "(.+)")'),
                    Query(most("pve_uptime_seconds", NODES)),
                    Query(f"max by (cluster, id, pve_version, kernel) (pve_node_kernel_info{{{IN_CLUSTER}}})"),
                ],
                [
                    node_column(acts=True),
                    Column(
                        "status", "State", mappings=house.value_map(NODE_STATES, ("Unknown", "purple")), colored=True
                    ),
                    ratio("Value #B", "CPU"),
                    ratio("Value #C", "Memory", limits.NODE_MEMORY_RATIO),
                    ratio("Value #D", "Root file system", limits.ROOT_DISK_RATIO),
                    Column(
                        "Value #E",
                        "IO wait",
                        unit="percentunit",
                        decimals=1,
                        maximum=1,
                        steps=limits.IO_WAIT_RATIO,
                        colored=True,
                    ),
                    Column("Value #F", "Guests running", unit="none", decimals=0),
                    Column("Value #G", "Uptime", unit="s", decimals=0),
                    Column("pve_version", "Version", may_be_absent="needs Sys.Audit on the nodes"),
                    Column("kernel", "Kernel", may_be_absent="needs Sys.Audit on the nodes"),
                ],
                hidden=["id", "cluster", "Value #A", "Value #H"],
                sort_by="Node",
                height=9,
            ),
            house.table_panel(
                8,
                "Needs attention",
                "Every alert about this cluster that fires now, silenced ones too (ALERTS of Prometheus). An empty "
                "table is normal. The alert's name links its runbook, a VMID the guest.",
                [
                    Query(
                        f"max by (alertname, severity, cluster, node, vmid, name) ({FIRING})",
                        needs=[ALERT_FIRES],
                    )
                ],
                [
                    Column("alertname", "Alert", links=[links.runbook(links.column("Alert"))]),
                    Column(
                        "severity", "Severity", mappings=house.value_map(SEVERITIES, ("None", "text")), colored=True
                    ),
                    Column("node", "Node", may_be_absent="an alert about a whole cluster"),
                    Column(
                        "vmid",
                        "VMID",
                        links=[links.to_guest(HERE, links.column("VMID"))],
                        may_be_absent="an alert about a node or a cluster",
                    ),
                    Column("name", "Guest", may_be_absent="an alert about a node or a cluster"),
                ],
                hidden=["cluster", "Value"],
                sort_by="Severity",
                no_value="nothing fires",
                height=6,
            ),
        ],
    )


def _figures() -> Row:
    to_guest = [links.to_guest(links.label("cluster"), links.label("vmid"))]
    to_node = [links.to_node(links.label("cluster"), links.label("node"))]
    return Row(
        title="CPU and memory",
        number=21,
        panels=[
            _of_nodes(
                9,
                "CPU of nodes",
                "Share of all cores of each node that is used (pve_cpu_usage_ratio). A gap means that the node or the "
                "exporter was not there. A node that stays above 90 % makes its guests slow: move some.",
                most("pve_cpu_usage_ratio", NODES),
                None,
                to_node,
            ),
            _of_nodes(
                10,
                "Memory of nodes",
                "Share of each node's memory that is used (pve_memory_usage_bytes / pve_memory_size_bytes), the cache "
                "of ZFS included. Above 95 % the kernel soon ends a guest: move one, or give guests less.",
                NODE_MEMORY,
                limits.NODE_MEMORY_RATIO,
                to_node,
            ),
            house.time_panel(
                11,
                "CPU of the busiest guests",
                f"The {GUESTS_SHOWN} guests that used most of their own CPUs over the range shown "
                "(pve_cpu_usage_ratio; 1 is all CPUs it was given). A busy guest is not a fault; a line that falls to "
                "nothing may be one.",
                [Query(CPU_TOP, "{{name}} ({{vmid}})")],
                unit="percentunit",
                maximum=1,
                many=True,
                links=to_guest,
            ),
            house.time_panel(
                12,
                "Memory of the fullest guests",
                f"The {GUESTS_SHOWN} guests that used most of their memory over the range shown "
                "(pve_memory_usage_bytes / pve_memory_size_bytes). Without a balloon driver Proxmox VE counts the "
                "guest's caches as used.",
                [Query(MEMORY_TOP, "{{name}} ({{vmid}})")],
                unit="percentunit",
                maximum=1,
                steps=limits.GUEST_MEMORY_RATIO,
                many=True,
                links=to_guest,
            ),
        ],
    )


def _of_nodes(number: int, title: str, description: str, expr: str, steps: Any, ways: list[Any]) -> Panel:
    return house.time_panel(
        number,
        title,
        f"{description} The {NODES_SHOWN} highest.",
        [Query(of_node(f"topk({NODES_SHOWN}, {expr})"), "{{node}}")],
        unit="percentunit",
        maximum=1,
        steps=steps,
        many=True,
        links=ways,
    )
