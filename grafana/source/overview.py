"""Proxmox VE / Overview: what needs attention in all clusters, then clusters, guests, nodes and storage."""

from __future__ import annotations

from grafana.source import house, limits, links, marks, variables
from grafana.source.alerts import subject_columns
from grafana.source.board import Built, Column, Query, Row
from grafana.source.drill import ratio
from grafana.source.listed import cluster_column, node_column
from grafana.source.overview_guests import UNKNOWN, all_guests, not_well
from grafana.source.promql import (
    CLUSTERS,
    FIRING,
    HEARTBEAT_AGE,
    HEARTBEAT_LIMIT,
    NODE_MEMORY,
    NODES,
    STORAGE_RATIO,
    STORAGES_SHOWN,
    ZERO,
    fullest_storages,
    most,
    with_label,
)
from grafana.source.scenarios import ACTED, CLUSTERED, NOTHING_YET
from grafana.source.states import NODE_STATES, SEVERITIES

NO_STORAGE = "a token without Datastore.Audit sees no storage"
SEEN_OR_NOT = {"1": ("Seen", limits.WELL), "0": ("Not seen", limits.ACT)}


def _first_row() -> Row:
    online = most("pve_node_status", with_label("status", "online"))
    running = most("pve_guest_status", with_label("status", "running"))
    return Row(
        [
            house.stat_panel(
                1,
                "Nodes online",
                "Nodes that the cluster sees, and all nodes it has (pve_node_status). Equal is normal. Fewer: see the "
                "nodes table for which one, and the runbook of NodeDown.",
                [
                    Query(f"count({online} == 1) or {ZERO}", "online", values={"node-lost": 2, "healthy": 3}),
                    Query(f"count({online})", "all", values={"node-lost": 3, "standalone": 1}),
                ],
                width=6,
            ),
            house.stat_panel(
                2,
                "Quorum",
                "Whether every chosen cluster has quorum (pve_up of the cluster). Without it guests cannot be started "
                "and the configuration cannot be changed. Standalone hosts have none to lose.",
                [Query(f"min({most('pve_up', CLUSTERS)})", needs=[CLUSTERED])],
                width=6,
                steps=limits.MUST_BE,
                maximum=1,
                mappings=house.value_map(
                    {"1": ("Quorate", limits.WELL), "0": ("No quorum", limits.ACT)}, ("Standalone or unseen", "text")
                ),
                no_value="Standalone or unseen",
            ),
            house.stat_panel(
                3,
                "Guests running",
                "Guests that run (pve_guest_status), and guests that should: start at boot, HA, or the tag "
                "pvewatch-expect-running, and not stopped by a person (pvewatch_guest_expected_running). One that "
                "should and does not is in the tables below.",
                [
                    Query(f"count({running} == 1) or {ZERO}", "running"),
                    Query(f"sum({most('pvewatch_guest_expected_running')})", "expected"),
                ],
                width=6,
            ),
            house.stat_panel(
                4,
                "Alerts firing",
                "Alerts of severity critical and warning that fire now (ALERTS of Prometheus). Normal is 0. The table "
                "below says which and links their runbooks.",
                [
                    Query(
                        f"count(max by (alertname, cluster, id) ({FIRING})) or vector(0)",
                        needs=(),
                        values={NOTHING_YET: 0},
                    )
                ],
                width=6,
                steps=limits.ANY_IS_BAD,
            ),
            house.stat_panel(
                5,
                "Fullest storage",
                "How full the fullest storage is (pve_disk_usage_bytes / pve_disk_size_bytes). Above 80 % make room, "
                "above 90 % guests on thin storage are about to stop with I/O errors.",
                [Query(f"max({STORAGE_RATIO})", may_be_empty=NO_STORAGE)],
                unit="percentunit",
                maximum=1,
                width=6,
                steps=limits.STORAGE_RATIO,
            ),
            house.stat_panel(
                6,
                "Silent guests",
                "Guests with an agent that has not reported for longer than the guest's own limit "
                "(pvewatch_heartbeat_last_seen_timestamp_seconds, pvewatch:threshold), running or not. Normal is the "
                "number of guests with an agent that are stopped.",
                [Query(f"count({HEARTBEAT_AGE} > {HEARTBEAT_LIMIT}) or {ZERO}")],
                width=6,
                steps=limits.ANY_IS_BAD,
            ),
            house.stat_panel(
                18,
                "Oldest good backup run",
                "Age of the last backup run that ended well, of the cluster where it is longest ago "
                "(pve_task_last_success_timestamp_seconds of vzdump, since pvewatch first looked). A day is normal; "
                "which guests no job covers is on the dashboard of backups.",
                [
                    Query(
                        "time() - min(max by (cluster) (pve_task_last_success_timestamp_seconds{"
                        f"{with_label('type', 'vzdump')}}}))"
                    )
                ],
                unit="s",
                decimals=1,
                steps=limits.BACKUP_AGE,
                links=[links.board("Backups", links.BACKUPS)],
                no_value="no backup run has been seen",
                width=6,
            ),
            house.stat_panel(
                19,
                "Open incidents",
                "Periods in which a guest needed help that are not over (pvewatch_incidents of the action API). "
                "Normal is 0; what pvewatch does about them is on the dashboard of automation.",
                [
                    Query(
                        'sum(max by (state) (pvewatch_incidents{state!~"closed|recovered|cancelled"}))',
                        needs=[ACTED],
                    )
                ],
                steps=limits.ANY_IS_WORTH_A_LOOK,
                links=[links.board("Automation", links.AUTOMATION)],
                no_value="none, or the action API is not scraped",
                width=6,
            ),
        ]
    )


def _alerts() -> Row:
    return Row(
        [
            house.table_panel(
                7,
                "Needs attention",
                "Every alert that fires now, silenced ones too (ALERTS of Prometheus). An empty table is normal. The "
                "alert's name links its runbook.",
                [
                    Query(
                        f"max by (alertname, severity, cluster, node, vmid, name) ({FIRING})",
                        may_be_empty="nothing is wrong: which rules fire is proved with the rules",
                    )
                ],
                [
                    Column("alertname", "Alert", links=[links.runbook(links.column("Alert"))]),
                    Column(
                        "severity", "Severity", mappings=house.value_map(SEVERITIES, ("None", "text")), colored=True
                    ),
                    *subject_columns(),
                ],
                hidden=["Value"],
                sort_by="Severity",
                no_value="nothing fires",
                height=6,
            )
        ]
    )


def _clusters() -> Row:
    online = with_label("status", "online")
    cores = most("pve_cpu_usage_limit", NODES)
    return Row(
        title="Clusters",
        number=23,
        panels=[
            house.table_panel(
                24,
                "Clusters",
                "Every cluster and standalone host: quorum, nodes (pve_node_status), guests that run, share of CPU and "
                "memory of all nodes, its fullest storage, and how old its figures are. More than a minute old means "
                "that it is not seen. A name leads to its page.",
                [
                    Query(f"max by (cluster) (pve_collector_success{{{with_label('collector', 'resources')}}})"),
                    Query(f"count by (cluster) ({most('pve_node_status', online)} == 1)"),
                    Query(f"count by (cluster) ({most('pve_node_status', online)})"),
                    Query(f"count by (cluster) ({most('pve_guest_status', with_label('status', 'running'))} == 1)"),
                    Query(
                        f"sum by (cluster) ({most('pve_cpu_usage_ratio', NODES)} * {cores}) "
                        f"/ sum by (cluster) ({cores})"
                    ),
                    Query(
                        f"sum by (cluster) ({most('pve_memory_usage_bytes', NODES)}) "
                        f"/ sum by (cluster) ({most('pve_memory_size_bytes', NODES)})"
                    ),
                    Query(f"max by (cluster) ({STORAGE_RATIO})", may_be_empty=NO_STORAGE),
                    Query(
                        "time() - max by (cluster) (pve_collector_last_success_timestamp_seconds"
                        f"{{{with_label('collector', 'resources')}}})"
                    ),
                ],
                [
                    cluster_column(),
                    Column("Value #A", "State", mappings=house.value_map(SEEN_OR_NOT, UNKNOWN), colored=True),
                    Column("Value #B", "Nodes online", unit="none", decimals=0),
                    Column("Value #C", "Nodes", unit="none", decimals=0),
                    Column("Value #D", "Guests running", unit="none", decimals=0),
                    ratio("Value #E", "CPU"),
                    ratio("Value #F", "Memory", limits.NODE_MEMORY_RATIO),
                    ratio("Value #G", "Fullest storage", limits.STORAGE_RATIO),
                    Column("Value #H", "Age of figures", unit="s", decimals=0, steps=limits.FIGURES_AGE, colored=True),
                ],
                sort_by="Cluster",
                height=7,
            ),
        ],
    )


def _nodes_and_storage() -> Row:
    state = (
        f"label_replace(max by (cluster, id, status) (pve_node_status{{{NODES}}}) == 1, "
        '"node", "$1", "id", "node/(.+)")'
    )
    offline = "a node that is offline has no figures"
    return Row(
        title="Nodes and storage",
        number=21,
        panels=[
            house.table_panel(
                11,
                "Nodes",
                "Every node: state as its cluster sees it (pve_node_status), share of its CPUs and memory, load, "
                "uptime. Unknown means that the statistics daemon of the node is dead, not the node.",
                [
                    Query(state),
                    Query(most("pve_cpu_usage_ratio", NODES), may_be_empty=offline),
                    Query(NODE_MEMORY, may_be_empty=offline),
                    Query(most("pve_node_load1", NODES), may_be_empty=offline),
                    Query(most("pve_uptime_seconds", NODES), may_be_empty=offline),
                ],
                [
                    node_column(),
                    cluster_column(),
                    Column("status", "State", mappings=house.value_map(NODE_STATES, UNKNOWN), colored=True),
                    Column("Value #B", "CPU", unit="percentunit", decimals=0, maximum=1, bar=True),
                    Column(
                        "Value #C",
                        "Memory",
                        unit="percentunit",
                        decimals=0,
                        maximum=1,
                        steps=limits.NODE_MEMORY_RATIO,
                        bar=True,
                    ),
                    Column("Value #D", "Load (1 min)", unit="none", decimals=1),
                    Column("Value #E", "Uptime", unit="s", decimals=0),
                ],
                hidden=["Value #A", "id"],
                sort_by="Node",
                width=12,
                height=8,
            ),
            house.bar_panel(
                12,
                "Storage used",
                f"The {STORAGES_SHOWN} fullest storages of single nodes and the {STORAGES_SHOWN} fullest shared "
                "ones, a "
                "shared one once (pve_disk_usage_bytes / pve_disk_size_bytes). Above 80 % make room.",
                [
                    Query(
                        fullest_storages(0, "cluster, node, storage"),
                        "{{storage}} on {{node}} of {{cluster}}",
                        may_be_empty=NO_STORAGE,
                    ),
                    Query(
                        fullest_storages(1, "cluster, storage"),
                        "{{storage}} of {{cluster}}",
                        may_be_empty="no storage is shared",
                    ),
                ],
                unit="percentunit",
                maximum=1,
                steps=limits.STORAGE_RATIO,
            ),
            house.time_panel(
                13,
                "CPU of nodes",
                "Share of all cores of each node that is used (pve_cpu_usage_ratio), the 20 busiest. A gap means that "
                "the node or the exporter was not there.",
                [Query(f"topk(20, {most('pve_cpu_usage_ratio', NODES)})", "{{id}} of {{cluster}}")],
                unit="percentunit",
                maximum=1,
                many=True,
            ),
            house.time_panel(
                14,
                "IO wait of nodes",
                "Share of time in which cores waited for disks (pve_node_io_wait_ratio), the 20 highest. More than a "
                "few percent "
                "for long means that a disk or a network storage is too slow or failing.",
                [
                    Query(
                        f"topk(20, {most('pve_node_io_wait_ratio', NODES)})",
                        "{{id}} of {{cluster}}",
                        may_be_empty="needs Sys.Audit on the nodes",
                    )
                ],
                unit="percentunit",
                many=True,
            ),
        ],
    )


def overview() -> Built:
    """The dashboard that answers "what needs attention" on its first screen."""
    return house.build(
        links.FLEET,
        "Overview",
        "overview",
        "What needs attention in all Proxmox VE clusters, and the way to the pages that act on guests.",
        variables=[variables.cluster(several=True)],
        annotations=[marks.alerts()],
        rows=[_first_row(), _alerts(), _clusters(), not_well(), _nodes_and_storage(), all_guests()],
    )
