"""The overview's guests: those that are not well, the busiest, and all of them."""

from __future__ import annotations

from grafana.source import house, limits
from grafana.source.board import Column, Query, Row
from grafana.source.drill import ratio
from grafana.source.listed import IDENTIFIED, guest_columns, listed
from grafana.source.promql import (
    CPU_TOP,
    GUEST_MEMORY,
    GUESTS,
    GUESTS_SHOWN,
    IN_CLUSTER,
    MEMORY_TOP,
    TEMPLATES,
    guest_health,
    most,
    not_templates,
)
from grafana.source.scenarios import AGENTS
from grafana.source.states import GUEST_HEALTH, GUEST_STATES

UNKNOWN = ("Unknown", "purple")


def not_well() -> Row:
    """Those that need a look, and the busiest and fullest."""
    return Row(
        title="Guests",
        number=20,
        panels=[
            house.table_panel(
                25,
                "Guests that are not well",
                "Guests that are down or give a warning, at most 200, those that are down first (pve_guest_status, "
                "pvewatch_guest_expected_running and heartbeats; names of pvewatch_guest_info). "
                "Empty is normal. A VMID leads to the guest and to "
                "what acts on it; following a link changes nothing.",
                [Query(listed(f"{guest_health()} > 0"), may_be_empty="every guest is well")],
                [
                    *guest_columns(),
                    Column("Value", "State", mappings=house.value_map(GUEST_HEALTH, UNKNOWN), colored=True),
                ],
                hidden=["id"],
                sort_by="State",
                descending=True,
                no_value="every guest is well",
                height=7,
            ),
            house.time_panel(
                9,
                "CPU of the busiest guests",
                f"The {GUESTS_SHOWN} guests that used most of their own CPUs in the range (pve_cpu_usage_ratio; "
                "1 is all CPUs it was given). A busy guest is not a fault; a line that falls to nothing may be one.",
                [Query(CPU_TOP, "{{name}} ({{cluster}}/{{vmid}})")],
                unit="percentunit",
                maximum=1,
                many=True,
            ),
            house.time_panel(
                10,
                "Memory of the fullest guests",
                f"The {GUESTS_SHOWN} guests that used most of their memory in the range (pve_memory_usage_bytes "
                "/ pve_memory_size_bytes). Without a balloon driver Proxmox VE counts the guest's caches as used.",
                [Query(MEMORY_TOP, "{{name}} ({{cluster}}/{{vmid}})")],
                unit="percentunit",
                maximum=1,
                steps=limits.GUEST_MEMORY_RATIO,
                many=True,
            ),
        ],
    )


def all_guests() -> Row:
    """Every guest, closed until somebody looks for one: thousands of rows are slow."""
    state = f"max by (cluster, id, status) (pve_guest_status{{{IN_CLUSTER}}}) == 1 unless on (cluster, id) {TEMPLATES}"
    return Row(
        title="All guests",
        number=26,
        collapsed=True,
        panels=[
            house.table_panel(
                8,
                "Guests",
                "Every virtual machine and container, templates apart: state as Proxmox VE reports it "
                "(pve_guest_status), share of its CPUs and memory, uptime, and when its agent last reported. A VMID "
                "leads to the guest and to the pages that act on it; following a link changes nothing.",
                [
                    Query(f"({state}) {IDENTIFIED}"),
                    Query(not_templates(most("pve_cpu_usage_ratio", GUESTS))),
                    Query(not_templates(GUEST_MEMORY)),
                    Query(not_templates(most("pve_uptime_seconds", GUESTS))),
                    Query(f"1000 * {most('pvewatch_heartbeat_last_seen_timestamp_seconds')}", needs=[AGENTS]),
                ],
                [
                    *guest_columns(),
                    Column("status", "State", mappings=house.value_map(GUEST_STATES, UNKNOWN), colored=True),
                    ratio("Value #B", "CPU"),
                    ratio("Value #C", "Memory", limits.GUEST_MEMORY_RATIO),
                    Column("Value #D", "Uptime", unit="s", decimals=0),
                    Column("Value #E", "Last heartbeat", unit="dateTimeFromNow"),
                ],
                hidden=["Value #A", "id"],
                sort_by="Guest",
            ),
        ],
    )
