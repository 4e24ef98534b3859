"""Proxmox VE / Overview: what needs attention, then guests, nodes and storage, then pvewatch itself."""

from __future__ import annotations

from grafana.source import house, limits, links, marks, variables
from grafana.source.automation import automation_row
from grafana.source.board import Built, Column, Query, Row
from grafana.source.promql import (
    CLUSTERS,
    CPU_TOP,
    FIRING,
    GUEST_MEMORY,
    GUESTS,
    GUESTS_SHOWN,
    IN_CLUSTER,
    INFO,
    MEMORY_TOP,
    NODE_MEMORY,
    NODES,
    STORAGE_RATIO,
    STORAGES_SHOWN,
    TEMPLATES,
    ZERO,
    fullest_storages,
    most,
    not_templates,
    with_label,
)
from grafana.source.states import GUEST_STATES, NODE_STATES, SEVERITIES

NO_STORAGE = "a token without Datastore.Audit sees no storage"
NO_AGENTS = "no guest has an agent"


def _guest_page(rest: str = "") -> str:
    fields = "/".join(f'${{__data.fields["{name}"]:percentencode}}' for name in ("Cluster", "Kind", "VMID"))
    return f"${{action_api:raw}}/guests/{fields}{rest}"


def _first_row() -> Row:
    online = most("pve_node_status", with_label("status", "online"))
    running = most("pve_guest_status", with_label("status", "running"))
    age = f"time() - {most('pvewatch_heartbeat_last_seen_timestamp_seconds')}"
    limit = most("pvewatch_threshold", with_label("figure", "heartbeat_age_seconds"))
    return Row(
        [
            house.stat_panel(
                1,
                "Nodes online",
                "Nodes that the cluster sees, and all nodes it has (pve_node_status). Equal is normal. Fewer: see the "
                "nodes table for which one, and the runbook of NodeDown.",
                [Query(f"count({online} == 1) or {ZERO}", "online"), Query(f"count({online})", "all")],
            ),
            house.stat_panel(
                2,
                "Quorum",
                "Whether every chosen cluster has quorum (pve_up of the cluster). Without it guests cannot be "
                "started and "
                "the configuration cannot be changed. Standalone hosts have none to lose.",
                [
                    Query(
                        f"min({most('pve_up', CLUSTERS)})",
                        may_be_empty="standalone hosts form no cluster",
                    )
                ],
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
                "Guests that run, and guests that should (start at boot, HA, or the tag pvewatch-expect-running, and "
                "not "
                "stopped by a person). A guest that should and does not is in the table of alerts.",
                [
                    Query(f"count({running} == 1) or {ZERO}", "running"),
                    Query(f"sum({most('pvewatch_guest_expected_running')})", "expected"),
                ],
            ),
            house.stat_panel(
                4,
                "Alerts firing",
                "Alerts of severity critical and warning that fire now (ALERTS of Prometheus). Normal is 0. The table "
                "below says which and links their runbooks.",
                [Query(f"count(max by (alertname, cluster, id) ({FIRING})) or vector(0)", needs=())],
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
                steps=limits.STORAGE_RATIO,
            ),
            house.stat_panel(
                6,
                "Silent guests",
                "Guests with an agent that has not reported for longer than the guest's own limit "
                "(pvewatch_heartbeat_last_seen_timestamp_seconds, pvewatch_threshold), running or not. Normal is the "
                "number of "
                "guests with an agent that are stopped.",
                [Query(f"count({age} > {limit}) or {ZERO}")],
                steps=limits.ANY_IS_BAD,
            ),
        ]
    )


def _alerts() -> Row:
    runbook = house.link(
        "What it means and how to mend it", '${action_api:raw}/runbooks/${__data.fields["Alert"]:percentencode}'
    )
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
                        may_be_empty="nothing is wrong",
                    )
                ],
                [
                    Column("alertname", "Alert", links=[runbook]),
                    Column(
                        "severity", "Severity", mappings=house.value_map(SEVERITIES, ("None", "text")), colored=True
                    ),
                    Column("cluster", "Cluster", may_be_absent="ExporterDown is of no cluster"),
                    Column("node", "Node", may_be_absent="an alert about a whole cluster"),
                    Column("vmid", "VMID", may_be_absent="an alert about a node or a cluster"),
                    Column("name", "Guest", may_be_absent="an alert about a node or a cluster"),
                ],
                hidden=["Value"],
                sort_by="Severity",
                no_value="nothing fires",
                height=6,
            )
        ]
    )


def _guests() -> Row:
    actions = [
        house.link("Guest page", _guest_page()),
        house.link("Start …", _guest_page("/act/start")),
        house.link("Shut down …", _guest_page("/act/shutdown")),
        house.link("Reset …", _guest_page("/act/reset")),
    ]
    state = (
        f"(max by (cluster, id, status) (pve_guest_status{{{IN_CLUSTER}}}) == 1 unless on (cluster, id) {TEMPLATES}) "
        f"* on (cluster, id) group_left (name, vmid, kind, node) {INFO}"
    )

    return Row(
        title="Guests",
        number=20,
        panels=[
            house.table_panel(
                8,
                "Guests",
                "Every virtual machine and container, templates apart: state as Proxmox VE reports it, share of its "
                "CPUs and "
                "memory, uptime, and when its agent last reported. A VMID links the pages that act on the guest; "
                "following a link changes nothing.",
                [
                    Query(state),
                    Query(not_templates(most("pve_cpu_usage_ratio", GUESTS))),
                    Query(not_templates(GUEST_MEMORY)),
                    Query(not_templates(most("pve_uptime_seconds", GUESTS))),
                    Query(
                        f"1000 * {most('pvewatch_heartbeat_last_seen_timestamp_seconds')}",
                        may_be_empty=NO_AGENTS,
                    ),
                ],
                [
                    Column("vmid", "VMID", links=actions, width=90),
                    Column("name", "Guest"),
                    Column("cluster", "Cluster"),
                    Column("node", "Node"),
                    Column("kind", "Kind", width=80),
                    Column(
                        "status", "State", mappings=house.value_map(GUEST_STATES, ("Unknown", "purple")), colored=True
                    ),
                    Column("Value #B", "CPU", unit="percentunit", decimals=0, maximum=1, bar=True),
                    Column(
                        "Value #C",
                        "Memory",
                        unit="percentunit",
                        decimals=0,
                        maximum=1,
                        steps=limits.MEMORY_RATIO,
                        bar=True,
                    ),
                    Column("Value #D", "Uptime", unit="s", decimals=0),
                    Column("Value #E", "Last heartbeat", unit="dateTimeFromNow"),
                ],
                hidden=["Value #A", "id"],
                sort_by="Guest",
            ),
            house.time_panel(
                9,
                "CPU of the busiest guests",
                f"The {GUESTS_SHOWN} guests that used most of their own CPUs over the range shown "
                "(pve_cpu_usage_ratio; 1 is "
                "all CPUs it was given). A busy guest is not a fault; a line that falls to nothing may be one.",
                [Query(CPU_TOP, "{{name}} ({{cluster}}/{{vmid}})")],
                unit="percentunit",
                maximum=1,
                many=True,
            ),
            house.time_panel(
                10,
                "Memory of the fullest guests",
                f"The {GUESTS_SHOWN} guests that used most of their memory over the range shown "
                "(pve_memory_usage_bytes / "
                "pve_memory_size_bytes). Without a balloon driver Proxmox VE counts the guest's caches as used.",
                [Query(MEMORY_TOP, "{{name}} ({{cluster}}/{{vmid}})")],
                unit="percentunit",
                maximum=1,
                steps=limits.MEMORY_RATIO,
                many=True,
            ),
        ],
    )


def _nodes_and_storage() -> Row:
    state = f"max by (cluster, id, status) (pve_node_status{{{NODES}}}) == 1"
    offline = "a node that is offline has no figures"
    return Row(
        title="Nodes and storage",
        number=21,
        panels=[
            house.table_panel(
                11,
                "Nodes",
                "Every node: state as its cluster sees it, share of its CPUs and memory, load, uptime. Unknown means "
                "that "
                "the statistics daemon of the node is dead, not the node.",
                [
                    Query(state),
                    Query(most("pve_cpu_usage_ratio", NODES), may_be_empty=offline),
                    Query(NODE_MEMORY, may_be_empty=offline),
                    Query(most("pve_node_load1", NODES), may_be_empty=offline),
                    Query(most("pve_uptime_seconds", NODES), may_be_empty=offline),
                ],
                [
                    Column("id", "Node"),
                    Column("cluster", "Cluster"),
                    Column(
                        "status", "State", mappings=house.value_map(NODE_STATES, ("Unknown", "purple")), colored=True
                    ),
                    Column("Value #B", "CPU", unit="percentunit", decimals=0, maximum=1, bar=True),
                    Column(
                        "Value #C",
                        "Memory",
                        unit="percentunit",
                        decimals=0,
                        maximum=1,
                        steps=limits.MEMORY_RATIO,
                        bar=True,
                    ),
                    Column("Value #D", "Load (1 min)", unit="none", decimals=1),
                    Column("Value #E", "Uptime", unit="s", decimals=0),
                ],
                hidden=["Value #A"],
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
                "Share of all cores of each node that is used (pve_cpu_usage_ratio), the 20 busiest. A gap means "
                "that the node "
                "or the exporter was not there.",
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
        rows=[_first_row(), _alerts(), _guests(), _nodes_and_storage(), automation_row()],
    )
