"""What a cluster does for its guests by itself: high availability, replication, tasks; and which versions it runs.

Every row is closed: a cluster that does not use the service is not asked about it.
"""

from __future__ import annotations

from grafana.source import house, limits, links
from grafana.source.board import Column, Query, Row
from grafana.source.drill import RELEASE_9, code_texts, coded, node_column, of_node, when
from grafana.source.promql import IN_CLUSTER, INFO, most
from grafana.source.scenarios import HA, REPLICATION, TASKS_ENDED
from grafana.source.states import HA_LRM_STATES, HA_REQUESTS, HA_RESOURCE_STATES, SUBSCRIPTION_STATES, YES_NO

HERE = links.chosen("cluster")
ROWS_SHOWN = 200
TYPES_SHOWN = 15


def high_availability() -> Row:
    """What HA is asked to keep running, and who does it."""
    state = f"max by (cluster, id, state) (pve_ha_resource_state{{{IN_CLUSTER}}})"
    # The name of the label must differ from the state's: the table has both.
    asked = f'label_replace(pve_ha_resource_requested_state{{{IN_CLUSTER}}}, "asked", "$1", "state", "(.+)")'
    return Row(
        title="High availability",
        number=22,
        collapsed=True,
        panels=[
            house.table_panel(
                13,
                "Guests under HA",
                "Every guest that the HA manager keeps, what was asked of it and how it is (pve_ha_resource_state, "
                "pve_ha_resource_requested_state). Started as asked is normal. Error: clear it by disabling the "
                f"resource, mend the cause, and start it again. At most {ROWS_SHOWN}.",
                [
                    Query(
                        f"topk({ROWS_SHOWN}, {state}) * on (cluster, id) group_left (name, vmid, node) {INFO}",
                        needs=[HA],
                    ),
                    Query(f"max by (cluster, id, asked) ({asked})", needs=[HA]),
                ],
                [
                    Column("vmid", "VMID", links=[links.to_guest(HERE, links.column("VMID"))], width=90),
                    Column("name", "Guest"),
                    node_column(),
                    Column(
                        "state",
                        "State",
                        mappings=house.value_map(HA_RESOURCE_STATES, ("Unknown", "purple")),
                        colored=True,
                    ),
                    Column("asked", "Asked for", mappings=house.value_map(HA_REQUESTS, ("Unknown", "purple"))),
                ],
                hidden=["id", "cluster", "Value #A", "Value #B"],
                sort_by="State",
                no_value=HA.absent,
                width=12,
                height=8,
            ),
            house.state_panel(
                14,
                "Local HA managers",
                "State of each node's local HA manager (pve_ha_lrm_status). Active where it has guests to keep, idle "
                "elsewhere. Lost its lock or dead: the node is about to be fenced, and its guests are started "
                "elsewhere. Maintenance: somebody asked for it.",
                [
                    Query(
                        of_node(f"topk(40, {coded('pve_ha_lrm_status', IN_CLUSTER, HA_LRM_STATES, 'status')})"),
                        "{{node}}",
                        needs=[HA],
                    )
                ],
                code_texts(HA_LRM_STATES),
                no_value=HA.absent,
                width=12,
                height=8,
            ),
            house.stat_panel(
                15,
                "Node in charge",
                "The node whose HA manager is in charge (pve_ha_manager_info). Any node is right; it changes when that "
                "node is restarted. Changes without a restart: look at corosync's network.",
                [Query(of_node(most("pve_ha_manager_info")), "{{node}}", needs=[HA])],
                names=True,
                no_value=HA.absent,
                width=8,
            ),
            house.stat_panel(
                16,
                "Last report of the manager",
                "Seconds since the HA manager in charge last reported (pve_ha_manager_last_seen_timestamp_seconds). "
                "Normal is below 30. After 120 it counts as dead: look at pve-ha-crm on the node in charge.",
                [
                    Query(
                        f"time() - max(pve_ha_manager_last_seen_timestamp_seconds{{{IN_CLUSTER}}})",
                        needs=[HA],
                    )
                ],
                unit="s",
                steps=limits.HA_REPORT_AGE,
                no_value=HA.absent,
                width=8,
            ),
            house.stat_panel(
                17,
                "Fencing",
                "Whether HA is armed to fence nodes (pve_ha_fencing_state), told since Proxmox VE 9. Armed or standby "
                "is normal; disarmed means that guests of a lost node are not recovered.",
                [
                    Query(
                        f"max by (state) (pve_ha_fencing_state{{{IN_CLUSTER}}})",
                        "{{state}}",
                        needs=[HA],
                        may_be_empty=RELEASE_9,
                    )
                ],
                names=True,
                no_value=f"{HA.absent}, or Proxmox VE before 9",
                width=8,
            ),
            house.table_panel(
                18,
                "Groups and rules",
                "Groups (up to Proxmox VE 8) and rules (since 9) that say on which nodes HA places guests "
                "(pve_ha_placement_enabled). A rule that is off is ignored, whatever it says.",
                [
                    Query(
                        f"max by (name, type) (pve_ha_placement_enabled{{{IN_CLUSTER}}})",
                        needs=[HA],
                        may_be_empty="HA works without groups and rules",
                    )
                ],
                [
                    Column("name", "Name"),
                    Column("type", "Type"),
                    Column("Value", "On", mappings=house.value_map(YES_NO, ("Unknown", "purple")), colored=True),
                ],
                sort_by="Name",
                no_value="no group and no rule",
                height=5,
            ),
        ],
    )


def replication() -> Row:
    """Jobs that copy guests' disks to other nodes."""
    info = f"max by (cluster, id, guest, source, target) (pve_replication_info{{{IN_CLUSTER}}})"
    for label in ("source", "target"):
        info = f'label_replace({info}, "{label}", "$1", "{label}", "node/(.+)")'
    info = f'label_replace({info}, "vmid", "$1", "guest", "[a-z]+/(.+)")'
    return Row(
        title="Replication",
        number=23,
        collapsed=True,
        panels=[
            house.table_panel(
                19,
                "Replication jobs",
                "Every job that copies a guest's disks to another node: when it last succeeded, when it runs next, how "
                "long it took, and failures since it last succeeded (pve_replication_info, "
                f"pve_replication_last_sync_timestamp_seconds, pve_replication_next_sync_timestamp_seconds, "
                f"pve_replication_duration_seconds, pve_replication_failed_syncs, pve_replication_enabled). No "
                f"failure is normal. Otherwise read the job's log on the source node. At most {ROWS_SHOWN}.",
                [
                    Query(f"topk({ROWS_SHOWN}, {info})", needs=[REPLICATION]),
                    Query(most("pve_replication_failed_syncs"), needs=[REPLICATION]),
                    Query(when("pve_replication_last_sync_timestamp_seconds", IN_CLUSTER), needs=[REPLICATION]),
                    Query(when("pve_replication_next_sync_timestamp_seconds", IN_CLUSTER), needs=[REPLICATION]),
                    Query(most("pve_replication_duration_seconds"), needs=[REPLICATION]),
                    Query(most("pve_replication_enabled"), needs=[REPLICATION]),
                ],
                [
                    Column("id", "Job", width=90),
                    Column("vmid", "VMID", links=[links.to_guest(HERE, links.column("VMID"))], width=90),
                    node_column("From", "source"),
                    node_column("To", "target"),
                    Column(
                        "Value #B", "Failures", unit="none", decimals=0, steps=limits.ANY_IS_BAD, colored=True, width=90
                    ),
                    Column("Value #C", "Last success", unit="dateTimeFromNow"),
                    Column("Value #D", "Next run", unit="dateTimeFromNow"),
                    Column("Value #E", "Took", unit="s", decimals=1),
                    Column("Value #F", "On", mappings=house.value_map(YES_NO, ("Unknown", "purple")), colored=True),
                ],
                hidden=["guest", "cluster", "Value #A"],
                sort_by="Failures",
                descending=True,
                no_value=REPLICATION.absent,
                height=9,
            ),
        ],
    )


def tasks() -> Row:
    """What Proxmox VE did: backups, migrations, starts and so on, by type."""
    ended = (
        f"sum by (type, result) (max by (cluster, type, result) "
        f"(increase(pve_tasks_finished_total{{{IN_CLUSTER}}}[$__rate_interval])))"
    )
    return Row(
        title="Tasks",
        number=24,
        collapsed=True,
        panels=[
            house.time_panel(
                30,
                "Tasks ended",
                "Tasks that ended, by type and result, in each step of the graph (pve_tasks_finished_total). ok and "
                "warning are normal. An error: find the task in the task list of Proxmox VE and read its log. The "
                f"{TYPES_SHOWN} most frequent.",
                [Query(f"topk({TYPES_SHOWN}, {ended} > 0)", "{{type}}: {{result}}", may_be_empty="no task ended")],
                unit="none",
                many=True,
                no_value="no task ended in this time",
            ),
            house.time_panel(
                31,
                "Tasks running",
                "Tasks that run, by type (pve_tasks_running). A backup (vzdump) takes hours on large guests; a task of "
                "another type that runs for hours hangs, usually on a storage that does not answer.",
                [
                    Query(
                        f"topk({TYPES_SHOWN}, max by (type) (pve_tasks_running{{{IN_CLUSTER}}}))",
                        "{{type}}",
                        needs=[TASKS_ENDED],
                    )
                ],
                unit="none",
                many=True,
                no_value=TASKS_ENDED.absent,
            ),
            house.table_panel(
                32,
                "Last failures",
                "When a task of each type last failed, and when one last succeeded "
                "(pve_task_last_failure_timestamp_seconds, pve_task_last_success_timestamp_seconds), most recent "
                "failure first. A success after the failure usually means that it is mended.",
                [
                    Query(
                        when("pve_task_last_failure_timestamp_seconds", IN_CLUSTER, by="cluster, type"),
                        may_be_empty="no task has failed yet",
                    ),
                    Query(
                        when("pve_task_last_success_timestamp_seconds", IN_CLUSTER, by="cluster, type"),
                        needs=[TASKS_ENDED],
                    ),
                    Query(f"max by (cluster, type) (pve_tasks_running{{{IN_CLUSTER}}})", needs=[TASKS_ENDED]),
                ],
                [
                    Column("type", "Type"),
                    Column("Value #A", "Last failure", unit="dateTimeFromNow"),
                    Column("Value #B", "Last success", unit="dateTimeFromNow"),
                    Column("Value #C", "Running", unit="none", decimals=0),
                ],
                hidden=["cluster"],
                sort_by="Last failure",
                descending=True,
                no_value=TASKS_ENDED.absent,
                height=8,
            ),
        ],
    )


def versions() -> Row:
    """Which versions run, and whether an upgrade is half done."""
    each = f"max by (cluster, id, pve_version, kernel) (pve_node_kernel_info{{{IN_CLUSTER}}})"
    status = f"max by (cluster, id, status) (pve_subscription_status{{{IN_CLUSTER}}}) == 1"
    unread = "needs Sys.Audit on the nodes"
    return Row(
        title="Versions and subscriptions",
        number=25,
        collapsed=True,
        panels=[
            house.table_panel(
                33,
                "Versions",
                "Nodes by installed version of Proxmox VE and running kernel (pve_node_kernel_info). One line is "
                "normal. Several are normal during an upgrade; afterwards, upgrade or restart the rest.",
                [Query(f"count by (pve_version, kernel) ({each})")],
                [
                    Column("pve_version", "Version"),
                    Column("kernel", "Kernel"),
                    Column("Value", "Nodes", unit="none", decimals=0),
                ],
                sort_by="Version",
                no_value=unread,
                width=12,
                height=7,
            ),
            house.time_panel(
                34,
                "Nodes by version",
                "How many nodes had each version installed (pve_node_kernel_info): an upgrade shows as one line that "
                "falls and one that rises, and is over when there is one line again.",
                [Query(f"topk(10, count by (pve_version) ({each}))", "{{pve_version}}")],
                unit="none",
                many=True,
                no_value=unread,
                height=7,
            ),
            house.table_panel(
                35,
                "Subscriptions",
                "The subscription of each node (pve_subscription_status, pve_subscription_info) and when it ends. "
                "None is no fault: updates then come from the repository without subscription.",
                [
                    Query(of_node(status)),
                    Query(f"max by (cluster, id, level) (pve_subscription_info{{{IN_CLUSTER}}})"),
                    Query(
                        when("pve_subscription_next_due_timestamp_seconds", IN_CLUSTER),
                        may_be_empty="no node has a subscription that ends",
                    ),
                ],
                [
                    node_column(),
                    Column(
                        "status",
                        "State",
                        mappings=house.value_map(SUBSCRIPTION_STATES, ("Unknown", "purple")),
                        colored=True,
                    ),
                    Column("level", "Level"),
                    Column("Value #C", "Ends", unit="dateTimeFromNow"),
                ],
                hidden=["id", "cluster", "Value #A", "Value #B"],
                sort_by="Node",
                height=7,
            ),
        ],
    )
