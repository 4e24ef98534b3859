"""What runs on a node besides guests: services, clock, certificates, subscription; and what could not be read of it."""

from __future__ import annotations

from grafana.source import house, limits
from grafana.source.board import Column, Query, Row
from grafana.source.drill import ON_NODE, ONE_NODE, code_texts, coded, when
from grafana.source.promql import most
from grafana.source.scenarios import HA
from grafana.source.states import HA_LRM_STATES, SERVICE_STATES, SUBSCRIPTION_STATES, YES_NO

UNREAD = "not read: the node is offline, or the token lacks Sys.Audit on it"


def services() -> Row:
    """Software, services, clock, certificates and subscription."""
    service = coded("pve_node_service_state", ONE_NODE, SERVICE_STATES, "state", "cluster, id, service")
    # Those that start at boot; the others (corosync on a standalone host, say) may rest.
    wanted = f"max by (cluster, id, service) (pve_node_service_enabled{{{ONE_NODE}}}) == 1"
    return Row(
        title="Services, clock and certificates",
        number=22,
        collapsed=True,
        panels=[
            house.stat_panel(
                16,
                "Version and kernel",
                "The installed Proxmox VE and the running kernel (pve_node_kernel_info). A newer kernel than this may "
                "be installed and wait for a restart.",
                [
                    Query(
                        f"max by (pve_version, kernel) (pve_node_kernel_info{{{ONE_NODE}}})",
                        "{{pve_version}}, {{kernel}}",
                    )
                ],
                names=True,
                no_value=UNREAD,
                width=8,
            ),
            house.stat_panel(
                17,
                "Clock difference",
                "The node's clock against the exporter's, good to about a second (pve_node_clock_offset_seconds). "
                "From 3 s on look at chrony; corosync, Ceph and one-time passwords suffer. All nodes off by as much: "
                "it is the exporter's clock.",
                [Query(f"abs({most('pve_node_clock_offset_seconds', ONE_NODE)})")],
                unit="s",
                decimals=1,
                steps=limits.CLOCK_SECONDS,
                no_value=UNREAD,
            ),
            house.stat_panel(
                18,
                "Local HA manager",
                "State of the node's local HA manager (pve_ha_lrm_status). Active where it keeps guests, idle "
                "elsewhere, maintenance where somebody asked for it. Lost its lock: the node is about to be fenced.",
                [Query(coded("pve_ha_lrm_status", ONE_NODE, HA_LRM_STATES, "status"), needs=[HA])],
                mappings=code_texts(HA_LRM_STATES),
                no_value=HA.absent,
            ),
            house.stat_panel(
                19,
                "Subscription",
                "State of the node's subscription (pve_subscription_status). None is no fault: updates then come from "
                "the repository without subscription.",
                [Query(coded("pve_subscription_status", ONE_NODE, SUBSCRIPTION_STATES, "status"))],
                mappings=code_texts(SUBSCRIPTION_STATES),
                no_value=UNREAD,
            ),
            house.stat_panel(
                30,
                "Services that failed",
                "Services that systemd calls failed (pve_node_service_state). None is normal. Otherwise read the "
                "service's journal on the node, and the table below.",
                [Query(f'sum(max by (cluster, id, service) (pve_node_service_state{{{ONE_NODE}, state="failed"}}))')],
                steps=limits.ANY_IS_BAD,
                no_value=UNREAD,
            ),
            house.state_panel(
                31,
                "Services",
                "State of every service that starts at boot (pve_node_service_state, pve_node_service_enabled). Active "
                "is normal; inactive is normal for some, such as corosync on a standalone host.",
                [Query(f"topk(40, ({service}) and on (cluster, id, service) {wanted})", "{{service}}")],
                code_texts(SERVICE_STATES),
                no_value=UNREAD,
                width=12,
                height=12,
            ),
            house.table_panel(
                32,
                "Certificates",
                "When each certificate of the node ends (pve_node_certificate_expiry_timestamp_seconds). pveproxy "
                "renews its own two weeks before and ACME ones 30 days before; one that comes nearer was not renewed.",
                [
                    Query(f"max by (filename) (pve_node_certificate_expiry_timestamp_seconds{{{ONE_NODE}}}) - time()"),
                    Query(when("pve_node_certificate_expiry_timestamp_seconds", ONE_NODE, by="filename")),
                ],
                [
                    Column("filename", "File"),
                    Column("Value #A", "Left", unit="s", decimals=0, steps=limits.UNTIL_END, colored=True),
                    Column("Value #B", "Ends", unit="dateTimeFromNow"),
                ],
                sort_by="Left",
                no_value=UNREAD,
                width=12,
                height=6,
            ),
            house.table_panel(
                33,
                "Subscription details",
                "Level of the subscription and when it ends (pve_subscription_info, "
                "pve_subscription_next_due_timestamp_seconds). Without one the level is unknown or empty.",
                [
                    Query(f"max by (id, level) (pve_subscription_info{{{ONE_NODE}}})"),
                    Query(
                        when("pve_subscription_next_due_timestamp_seconds", ONE_NODE, by="id"),
                        may_be_empty="the node has no subscription that ends",
                    ),
                ],
                [
                    Column("level", "Level"),
                    Column("Value #B", "Ends", unit="dateTimeFromNow"),
                ],
                hidden=["id", "Value #A"],
                sort_by="Level",
                no_value=UNREAD,
                width=12,
                height=6,
            ),
        ],
    )


def readings() -> Row:
    """Whether the figures of this page could be read."""
    error = f"max by (collector, class) (pve_collector_error{{{ON_NODE}}} == 1)"
    success = f"max by (collector) (pve_collector_success{{{ON_NODE}}})"
    read = when("pve_collector_last_success_timestamp_seconds", ON_NODE, by="collector")
    return Row(
        title="What could be read of this node",
        number=23,
        collapsed=True,
        panels=[
            house.table_panel(
                34,
                "Readings",
                "Every kind of figure that is asked of this node: whether it could be read last time, the class of the "
                "error, and when it last could (pve_collector_success, pve_collector_error, "
                "pve_collector_last_success_timestamp_seconds). Forbidden: give the token the missing privilege.",
                [
                    Query(success),
                    Query(error, may_be_empty="everything could be read"),
                    Query(read, may_be_empty="nothing of this node could ever be read"),
                ],
                [
                    Column("collector", "Figures"),
                    Column(
                        "Value #A",
                        "Could be read",
                        mappings=house.value_map(YES_NO, ("Unknown", "purple")),
                        colored=True,
                    ),
                    Column("class", "Error", may_be_absent="everything could be read"),
                    Column("Value #C", "Last read", unit="dateTimeFromNow"),
                ],
                hidden=["Value #B"],
                sort_by="Could be read",
                height=9,
            ),
        ],
    )
