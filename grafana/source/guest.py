"""Proxmox VE / Guest: one virtual machine or container, as its node sees it and as it sees itself."""

from __future__ import annotations

from typing import Any

from grafana.source import house, limits, links, marks, variables
from grafana.source.board import Built, Column, Panel, Query, Row
from grafana.source.drill import (
    NO_AGENT,
    NO_FIGURES,
    ONE_GUEST,
    code_texts,
    coded,
    figures,
    node_column,
    share,
)
from grafana.source.guest_inside import agent, alerts, configuration, pressure
from grafana.source.guest_traffic import disks_and_network
from grafana.source.promql import IN_CLUSTER, ZERO, heartbeat_limit, most
from grafana.source.scenarios import AGENTS
from grafana.source.states import GUEST_STATES, HA_RESOURCE_STATES, YES_NO

UID = links.GUEST
HERE = links.chosen("cluster")
INFO = f"topk by (cluster, id) (1, pvewatch_guest_info{{{ONE_GUEST}}})"
DESCRIBED = f"topk by (cluster, id) (1, pve_guest_info{{{ONE_GUEST}}})"


def guest() -> Built:
    """One guest."""
    return house.build(
        UID,
        "Guest",
        "guest",
        "One virtual machine or container, as its node sees it and as it sees itself.",
        variables=[variables.cluster(), variables.guest()],
        annotations=marks.guest_marks(),
        rows=[
            _first_row(),
            _identity(),
            _side_by_side(),
            disks_and_network(),
            pressure(),
            configuration(),
            agent(),
            alerts(),
        ],
    )


def _acts() -> list[Any]:
    kind, vmid = links.label("kind"), links.chosen("guest")
    return [*links.guest_acts(HERE, kind, vmid), links.to_cluster(HERE)]


def _first_row() -> Row:
    status = coded("pve_guest_status", ONE_GUEST, GUEST_STATES, "status")
    age = f"time() - {most('pvewatch_heartbeat_last_seen_timestamp_seconds', ONE_GUEST)}"
    limit = heartbeat_limit(ONE_GUEST)
    firing = f'ALERTS{{{IN_CLUSTER}, vmid="$guest", alertstate="firing", severity!="none"}}'
    return Row(
        [
            house.stat_panel(
                1,
                "State",
                "The guest as Proxmox VE reports it (pve_guest_status). Its links lead to the pages that act on it; "
                "opening them changes nothing. Unknown: its node is gone, or the node's statistics daemon is.",
                [
                    Query(
                        f"({status}) * on (cluster, id) group_left (kind) {INFO}",
                        "{{kind}}",
                        values={"healthy": 1, "standalone": 1},
                    )
                ],
                mappings=code_texts(GUEST_STATES),
                links=[*_acts(), links.runbook("GuestDown")],
            ),
            house.stat_panel(
                2,
                "CPU",
                "Share of the guest's own CPUs in use, as its node measures it (pve_cpu_usage_ratio). No value is "
                "wrong in itself; hanging guests show nothing at all, or all of one CPU.",
                [figures("pve_cpu_usage_ratio", ONE_GUEST, "")],
                unit="percentunit",
                maximum=1,
                no_value=NO_FIGURES,
            ),
            house.stat_panel(
                3,
                "Memory",
                "Share of the guest's memory in use, as its node measures it (pve_memory_usage_bytes / "
                "pve_memory_size_bytes). Without a balloon driver caches count as used: compare with the inside below.",
                [Query(share("pve_memory_usage_bytes", "pve_memory_size_bytes", ONE_GUEST))],
                unit="percentunit",
                maximum=1,
                steps=limits.GUEST_MEMORY_RATIO,
                no_value=NO_FIGURES,
            ),
            house.stat_panel(
                4,
                "Uptime",
                "Time since the guest was started by its node (pve_uptime_seconds); 0 while it is stopped. A restart "
                "inside the guest does not count: compare with the agent's uptime below.",
                [figures("pve_uptime_seconds", ONE_GUEST, "")],
                unit="s",
                no_value=NO_FIGURES,
            ),
            house.stat_panel(
                5,
                "Silence of the agent",
                "Time since the guest's agent last reported, and the guest's own limit "
                "(pvewatch_heartbeat_last_seen_timestamp_seconds, pvewatch:threshold). Above the limit it counts as "
                "silent: the runbook of GuestHeartbeatMissing.",
                [Query(age, "silent for", needs=[AGENTS]), Query(limit, "limit", needs=[AGENTS])],
                unit="s",
                links=[links.runbook("GuestHeartbeatMissing")],
                no_value=NO_AGENT,
            ),
            house.stat_panel(
                6,
                "Alerts firing",
                "Alerts about this guest that fire now (ALERTS of Prometheus). Normal is 0. The last row of this page "
                "says which, and since when.",
                [Query(f"count(max by (alertname) ({firing})) or {ZERO}", values={"healthy": 0, "standalone": 0})],
                steps=limits.ANY_IS_BAD,
            ),
        ]
    )


def _identity() -> Row:
    ways = links.guest_acts(HERE, links.column("Kind"), links.column("VMID"))
    lock = f'label_replace(pve_lock_state{{{ONE_GUEST}}} == 1, "lock", "$1", "state", "(.+)")'
    ha = f'label_replace(pve_ha_resource_state{{{ONE_GUEST}}} == 1, "ha", "$1", "state", "(.+)")'
    return Row(
        [
            house.table_panel(
                7,
                "What it is",
                "Name, place, tags, pool, lock and HA state, and whether it should run (pvewatch_guest_info, "
                "pve_guest_info, pve_guest_pool_info, pve_lock_state, pve_ha_resource_state, "
                "pvewatch_guest_expected_running). The VMID leads to the pages that act on it, the node to its page.",
                [
                    Query(f"max by (cluster, id, vmid, name, kind, node) ({INFO})"),
                    Query(
                        f"max by (cluster, id, tags) ({DESCRIBED})",
                    ),
                    Query(most("pvewatch_guest_expected_running", ONE_GUEST)),
                    Query(
                        f"max by (cluster, id, pool) (pve_guest_pool_info{{{ONE_GUEST}}})",
                        may_be_empty="a guest need not be in a pool",
                    ),
                    Query(f"max by (cluster, id, lock) ({lock})", may_be_empty="the guest is not locked"),
                    Query(f"max by (cluster, id, ha) ({ha})", may_be_empty="the guest is not under HA"),
                ],
                [
                    Column("vmid", "VMID", links=ways, width=90),
                    Column("name", "Guest", links=ways),
                    Column("kind", "Kind", width=80),
                    node_column(),
                    Column("tags", "Tags"),
                    Column("Value #C", "Should run", mappings=house.value_map(YES_NO, ("Not said", "text"))),
                    Column("pool", "Pool", may_be_absent="a guest need not be in a pool"),
                    Column("lock", "Lock", may_be_absent="the guest is not locked"),
                    Column(
                        "ha",
                        "HA",
                        mappings=house.value_map(HA_RESOURCE_STATES, ("Not under HA", "text")),
                        colored=True,
                        may_be_absent="the guest is not under HA",
                    ),
                ],
                hidden=["cluster", "id", *(f"Value #{ref}" for ref in "ABDEF")],
                sort_by="VMID",
                height=4,
            )
        ]
    )


def _side_by_side() -> Row:
    inside_used = (
        f"{most('pvewatch_agent_memory_size_bytes', ONE_GUEST)} - "
        f"{most('pvewatch_agent_memory_available_bytes', ONE_GUEST)}"
    )
    swap = f"{most('pvewatch_agent_swap_size_bytes', ONE_GUEST)} - {most('pvewatch_agent_swap_free_bytes', ONE_GUEST)}"
    running = "a guest that is stopped has no such figures, and some need Proxmox VE 9 or a balloon driver"
    return Row(
        title="As the node sees it, and as the guest does",
        number=20,
        panels=[
            house.time_panel(
                8,
                "CPU seen by the node",
                "Share of the guest's CPUs in use, measured by its node (pve_cpu_usage_ratio). The graph beside shows "
                "what the guest measures: a node that sees much more than the guest works for the guest's devices; a "
                "guest that sees much more waits for the node.",
                [figures("pve_cpu_usage_ratio", ONE_GUEST, "CPU")],
                unit="percentunit",
                maximum=1,
                no_value=NO_FIGURES,
            ),
            _inside(
                9,
                "CPU seen by the guest",
                "Share of all cores in use, measured inside (pvewatch_agent_cpu_usage_ratio). It ends where the agent "
                "falls silent; compare with what the node saw then.",
                [("CPU", most("pvewatch_agent_cpu_usage_ratio", ONE_GUEST))],
                "percentunit",
                1,
            ),
            house.time_panel(
                10,
                "Memory seen by the node",
                "The guest's limit, what it uses, what it takes from its node with QEMU's own share (since Proxmox VE "
                "9), what the balloon leaves to it and what it calls free (pve_memory_size_bytes, "
                "pve_memory_usage_bytes, pve_guest_memory_host_bytes, pve_guest_balloon_bytes, "
                "pve_guest_memory_free_bytes). Free counts no caches.",
                [
                    figures("pve_memory_size_bytes", ONE_GUEST, "limit"),
                    figures("pve_memory_usage_bytes", ONE_GUEST, "used"),
                    figures("pve_guest_memory_host_bytes", ONE_GUEST, "taken from the node", may_be_empty=running),
                    figures("pve_guest_balloon_bytes", ONE_GUEST, "balloon", may_be_empty=running),
                    figures("pve_guest_memory_free_bytes", ONE_GUEST, "free", may_be_empty=running),
                    figures("pve_guest_swap_usage_bytes", ONE_GUEST, "swap used", may_be_empty=running),
                ],
                unit="bytes",
                no_value=NO_FIGURES,
            ),
            _inside(
                11,
                "Memory seen by the guest",
                "Memory and swap of the guest and what programs use of them, caches not counted "
                "(pvewatch_agent_memory_size_bytes, pvewatch_agent_memory_available_bytes, "
                "pvewatch_agent_swap_size_bytes, pvewatch_agent_swap_free_bytes). This is what tells whether it needs "
                "more.",
                [
                    ("size", most("pvewatch_agent_memory_size_bytes", ONE_GUEST)),
                    ("used", inside_used),
                    ("swap used", swap),
                ],
                "bytes",
                None,
            ),
        ],
    )


def _inside(
    number: int, title: str, description: str, lines: list[tuple[str, str]], unit: str, maximum: float | None
) -> Panel:
    """Lines that only an agent inside the guest can tell."""
    return house.time_panel(
        number,
        title,
        description,
        [Query(expr, legend, needs=[AGENTS]) for legend, expr in lines],
        unit=unit,
        maximum=maximum,
        no_value=NO_AGENT,
    )
