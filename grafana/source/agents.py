"""Proxmox VE / Agents and health: which guests are well, which agents report, and what they say."""

from __future__ import annotations

from grafana.source import house, limits, links, marks, variables
from grafana.source.agent_panels import agents_row, services_row
from grafana.source.board import Built, Column, Panel, Query, Row
from grafana.source.listed import GUESTS_LISTED, IDENTIFIED, guest_columns
from grafana.source.promql import (
    HEARTBEAT_AGE,
    HEARTBEAT_LIMIT,
    IN_CLUSTER,
    NAMED,
    ZERO,
    guest_health,
    most,
    with_label,
)
from grafana.source.scenarios import AGENTS, SEEN
from grafana.source.states import GUEST_HEALTH, GUEST_STATES

UID = links.AGENTS
SHOWN_OVER_TIME = 20
LEGEND = "{{name}} ({{cluster}}/{{vmid}})"
ALL_WELL = "every guest is well"

NOT_WELL = f"topk({GUESTS_LISTED}, {guest_health()} > 0)"


def agents() -> Built:
    """Guests' health and their agents, in all chosen clusters."""
    return house.build(
        UID,
        "Agents and health",
        "agents",
        "Guests that are healthy, in doubt or down; agents that report or are silent; services watched inside guests.",
        variables=[variables.cluster(several=True)],
        annotations=[marks.alerts()],
        rows=[
            Row([_healthy(), _warning(), _down(), _reporting(), _silent(), _outdated()]),
            Row([_unwell(), _timeline(), _counts()]),
            agents_row(),
            services_row(),
        ],
    )


def _healthy() -> Panel:
    return house.stat_panel(
        1,
        "Healthy",
        "Guests that run and, where they have an agent, report in time (pvewatch:guest_health; nothing while "
        "pve_collector_success is 0). Guests that are off and may be off are not judged.",
        [Query(f"count({guest_health()} == 0) or {ZERO}")],
    )


def _warning() -> Panel:
    return house.stat_panel(
        2,
        "Warning",
        "Guests whose state is in doubt: paused, suspended, starting, or unknown because their node is not seen "
        "(pvewatch:guest_health; nothing while pve_collector_success is 0). Normal is 0, and a few for moments.",
        [Query(f"count({guest_health()} == 1) or {ZERO}")],
        steps=limits.ANY_IS_WORTH_A_LOOK,
    )


def _down() -> Panel:
    return house.stat_panel(
        3,
        "Down",
        "Guests that should run and are stopped, that run and are silent inside, or that QEMU itself has stopped "
        "(pvewatch:guest_health; nothing while pve_collector_success is 0). Normal is 0; the table says which.",
        [Query(f"count({guest_health()} == 2) or {ZERO}", values={"healthy": 0, "standalone": 0, "hung-guest": 1})],
        steps=limits.ANY_IS_BAD,
    )


def _reporting() -> Panel:
    return house.stat_panel(
        4,
        "Agents",
        "Agents whose newest heartbeat is not late, and all agents that have ever reported "
        "(pvewatch_heartbeat_last_seen_timestamp_seconds, pvewatch:threshold). The difference is stopped or silent.",
        [
            Query(
                f"count({HEARTBEAT_AGE} <= {HEARTBEAT_LIMIT}) or 0 * count({HEARTBEAT_LIMIT})",
                "report",
                needs=[SEEN, AGENTS],
                values={"healthy": 3, "hung-guest": 1},
            ),
            Query(f"count({HEARTBEAT_LIMIT})", "all", needs=[SEEN, AGENTS], values={"healthy": 3, "hung-guest": 2}),
        ],
        no_value=AGENTS.absent,
    )


def _silent() -> Panel:
    running = f"({most('pve_guest_status', with_label('status', 'running'))} == 1)"
    return house.stat_panel(
        5,
        "Silent",
        "Guests that run and whose agent has not reported for longer than their own limit (heartbeats, "
        "pvewatch:threshold, pve_guest_status). Normal is 0; the runbook says how to tell a hang from a lost network.",
        [
            Query(
                f"count(({HEARTBEAT_AGE} > {HEARTBEAT_LIMIT}) and on (cluster, id) {running}) "
                f"or 0 * count({HEARTBEAT_LIMIT})",
                needs=[SEEN, AGENTS],
                values={"healthy": 0, "hung-guest": 1},
            )
        ],
        steps=limits.ANY_IS_BAD,
        links=[links.runbook("GuestHeartbeatMissing")],
        no_value=AGENTS.absent,
    )


def _outdated() -> Panel:
    return house.stat_panel(
        6,
        "Outdated agents",
        "Agents older than the one that this pvewatch has (pvewatch_agent_outdated). They go on reporting and lack "
        "what was mended since: run their installer again, settings and tokens stay.",
        [Query(f"sum({most('pvewatch_agent_outdated')})", needs=[SEEN, AGENTS])],
        steps=limits.ANY_IS_WORTH_A_LOOK,
        links=[links.runbook("AgentsOutdated")],
        no_value=AGENTS.absent,
    )


def _unwell() -> Panel:
    state = f"max by (cluster, id, status) (pve_guest_status{{{IN_CLUSTER}}}) == 1"
    return house.table_panel(
        7,
        "Guests that are not well",
        f"Guests in doubt or down, {GUESTS_LISTED} at most: state as Proxmox VE reports it (pve_guest_status), and the "
        "age of the last heartbeat where there is an agent. An empty table is normal. The VMID leads to the guest and "
        "to what can be done; following a link changes nothing.",
        [
            Query(f"(({state}) and on (cluster, id) {NOT_WELL}) {IDENTIFIED}", may_be_empty=ALL_WELL),
            Query(NOT_WELL, may_be_empty=ALL_WELL),
            Query(f"{HEARTBEAT_AGE} and on (cluster, id) {NOT_WELL}", may_be_empty=ALL_WELL),
        ],
        [
            *guest_columns(),
            Column("Value #B", "Health", mappings=house.value_map(GUEST_HEALTH, ("Not judged", "text")), colored=True),
            Column("status", "State", mappings=house.value_map(GUEST_STATES, ("Unknown", "purple")), colored=True),
            Column("Value #C", "Last heartbeat", unit="s", decimals=0),
        ],
        hidden=["Value #A", "id"],
        sort_by="Health",
        descending=True,
        no_value=ALL_WELL,
        height=7,
    )


def _timeline() -> Panel:
    return house.state_panel(
        8,
        "When guests were not well",
        f"Warning and down over time, at any moment the {SHOWN_OVER_TIME} worst guests (pvewatch:guest_health, "
        "named by pvewatch_guest_info). "
        "No bar means healthy, off on purpose, or not seen. Bars that begin together have one cause: a node, a "
        "storage, a network.",
        [Query(f"topk({SHOWN_OVER_TIME}, {guest_health()} > 0) {NAMED}", LEGEND, may_be_empty=ALL_WELL)],
        house.value_map(GUEST_HEALTH, ("Healthy or off", "text")),
        no_value=ALL_WELL,
        width=12,
    )


def _counts() -> Panel:
    def counted(value: int) -> str:
        return f"count({guest_health()} == {value}) or {ZERO}"

    return house.time_panel(
        9,
        "Guests by health",
        "How many guests were in doubt and down (pvewatch:guest_health; nothing while pve_collector_success is 0). "
        "Healthy ones are left out, or their number would hide the others. Normal is a line at 0.",
        [Query(counted(1), "warning"), Query(counted(2), "down")],
        unit="none",
    )
