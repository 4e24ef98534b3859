"""What agents say of themselves and of the services they watch. Rows that stay closed where there is no agent."""

from __future__ import annotations

from grafana.source import house, limits, links
from grafana.source.board import Column, Panel, Query, Row
from grafana.source.listed import GUESTS_LISTED, IDENTIFIED, guest_columns
from grafana.source.promql import HEARTBEAT_AGE, IN_CLUSTER, NAMED, most
from grafana.source.scenarios import AGENTS, EXPORTER, SEEN
from grafana.source.states import AGENT_SERVICE_STATES, REPAIR_OUTCOMES

LINES = 10
LEGEND = "{{name}} ({{cluster}}/{{vmid}})"
HAS_AGENT = [SEEN, AGENTS]
# The same guests in every column: those that were heard longest ago.
HEARD = f"and on (cluster, id) topk({GUESTS_LISTED}, {HEARTBEAT_AGE})"


def agents_row() -> Row:
    """The agents, one by one, and how their heartbeats arrive."""
    return Row(
        [_agents(), _versions(), _clocks(), _missed(), _refused()],
        number=30,
        title="Agents",
        collapsed=True,
    )


def services_row() -> Row:
    """Services that agents watch and start again."""
    return Row([_services(), _restarts()], number=31, title="Services watched inside guests", collapsed=True)


def _agents() -> Panel:
    info = f"max by (cluster, id, version, platform, os) (pvewatch_agent_info{{{IN_CLUSTER}}})"
    yes_is_worth_a_look = {"1": ("Yes", limits.LOOK), "0": ("No", "text")}

    def flag(source: str, heading: str, absent: str | None = None) -> Column:
        mappings = house.value_map(yes_is_worth_a_look, ("Not told", "text"))
        return Column(source, heading, mappings=mappings, colored=True, may_be_absent=absent)

    return house.table_panel(
        10,
        "Agents heard longest ago",
        f"{GUESTS_LISTED} agents: version, system, age of the newest heartbeat, the clock's offset, heartbeats lost "
        "and late since the agent was first heard, and what is worth a look: an outdated agent, a token that two "
        "machines use, a system that waits for a restart (pvewatch_agent_info and its companions).",
        [
            Query(f"({info} {HEARD}) {IDENTIFIED}", needs=HAS_AGENT),
            Query(f"{HEARTBEAT_AGE} {HEARD}", needs=HAS_AGENT),
            Query(f"{_offset()} {HEARD}", needs=HAS_AGENT),
            Query(f"{most('pvewatch_heartbeats_missed_total')} {HEARD}", needs=HAS_AGENT),
            Query(f"{most('pvewatch_heartbeats_late_total')} {HEARD}", needs=HAS_AGENT),
            Query(f"{most('pvewatch_agent_outdated')} {HEARD}", needs=HAS_AGENT),
            Query(f"{most('pvewatch_heartbeat_identity_shared')} {HEARD}", needs=HAS_AGENT),
            Query(f"{most('pvewatch_agent_pending_reboot')} {HEARD}", may_be_empty="not every system tells"),
        ],
        [
            *guest_columns(),
            Column("version", "Version"),
            Column("platform", "Platform"),
            Column("os", "System"),
            Column("Value #B", "Last heartbeat", unit="s", decimals=0),
            Column("Value #C", "Clock offset", unit="s", decimals=1, steps=limits.GUEST_CLOCK_SECONDS, colored=True),
            Column("Value #D", "Lost", unit="none", decimals=0),
            Column("Value #E", "Late", unit="none", decimals=0),
            flag("Value #F", "Outdated"),
            flag("Value #G", "Token shared"),
            flag("Value #H", "Waits for a restart", "not every system tells"),
        ],
        hidden=["Value #A", "id"],
        sort_by="Last heartbeat",
        descending=True,
        no_value=AGENTS.absent,
        height=10,
    )


def _offset() -> str:
    """The clock's offset, of two exporters the one that is further off."""
    metric = f"pvewatch_agent_clock_offset_seconds{{{IN_CLUSTER}}}"
    highest, lowest = f"max by (cluster, id) ({metric})", f"min by (cluster, id) ({metric})"
    return f"(({highest} >= abs({lowest})) or {lowest})"


def _versions() -> Panel:
    each = f"max by (cluster, id, version, platform) (pvewatch_agent_info{{{IN_CLUSTER}}})"
    return house.bar_panel(
        11,
        "Agents by version",
        "How many guests have which agent (pvewatch_agent_info). More than one version for long means that some were "
        "forgotten at the last upgrade.",
        [
            Query(
                f"topk({LINES}, count by (version, platform) ({each}))", "{{version}} on {{platform}}", needs=HAS_AGENT
            )
        ],
        unit="none",
        maximum=None,
        steps=((None, limits.WELL),),
        no_value=AGENTS.absent,
        height=7,
    )


def _clocks() -> Panel:
    return house.time_panel(
        12,
        "Clock offset of guests",
        f"The guest's clock minus the exporter's when a heartbeat arrived, the {LINES} furthest off "
        "(pvewatch_agent_clock_offset_seconds). A second or two is the way of the message. If all are off by the same "
        "amount, it is the exporter's clock.",
        [Query(f"({_offset()} and on (cluster, id) topk({LINES}, abs({_offset()}))) {NAMED}", LEGEND, needs=HAS_AGENT)],
        unit="s",
        signed=True,
        many=True,
        links=[links.runbook("GuestClockOff")],
        no_value=AGENTS.absent,
        height=7,
    )


def _missed() -> Panel:
    def increase(metric: str) -> str:
        each = f"max by (cluster, id) (increase({metric}{{{IN_CLUSTER}}}[$__rate_interval]))"
        return f"topk({LINES}, {each}) {NAMED}"

    return house.time_panel(
        13,
        "Heartbeats lost and late",
        f"Heartbeats that an agent sent and that did not arrive, or came so late that they did not count, the {LINES} "
        "guests with most (pvewatch_heartbeats_missed_total, pvewatch_heartbeats_late_total). One now and then is "
        "nothing; many from guests of one node or network mean that it drops packets.",
        [
            Query(increase("pvewatch_heartbeats_missed_total"), f"lost: {LEGEND}", needs=HAS_AGENT),
            Query(increase("pvewatch_heartbeats_late_total"), f"late: {LEGEND}", needs=HAS_AGENT),
        ],
        unit="none",
        many=True,
        no_value=AGENTS.absent,
        height=7,
    )


def _refused() -> Panel:
    return house.time_panel(
        14,
        "Heartbeats refused",
        "Requests to the heartbeat listener that were refused, of all clusters, by reason "
        "(pvewatch_heartbeats_rejected_total). unauthorized: a wrong token; revoked: an old one; wrong_machine: a "
        "clone; busy and not_stored: the exporter's disk or CPU. Normal is none.",
        [
            Query(
                "sum by (reason) (max by (instance, reason) "
                "(increase(pvewatch_heartbeats_rejected_total[$__rate_interval])))",
                "{{reason}}",
                needs=[EXPORTER],
            )
        ],
        unit="none",
        many=True,
        height=7,
    )


def _services() -> Panel:
    """Services that do not run come first: their samples count twice."""
    state = "max by (cluster, id, service, state) (pvewatch_agent_service_state{{{}}} == 1)"
    ill = state.format(f'{IN_CLUSTER}, state!="running"')
    well = state.format(f'{IN_CLUSTER}, state="running"')
    by = "max by (cluster, id, service"
    repaired = f"1000 * {by}, outcome) (pvewatch_agent_last_repair_timestamp_seconds{{{IN_CLUSTER}}})"
    none_yet = "no service was started again yet"
    return house.table_panel(
        15,
        "Services",
        f"Services that agents were told to watch, {GUESTS_LISTED} at most, those that do not run first: state, how "
        "often the agent has started each again, and how the last attempt went (pvewatch_agent_service_state, "
        "pvewatch_agent_service_restarts_total, pvewatch_agent_last_repair_timestamp_seconds).",
        [
            Query(f"topk({GUESTS_LISTED}, 2 * {ill} or {well}) {IDENTIFIED}", needs=HAS_AGENT),
            Query(f"{by}) (pvewatch_agent_service_restarts_total{{{IN_CLUSTER}}})", may_be_empty=none_yet),
            Query(repaired, may_be_empty=none_yet),
        ],
        [
            *guest_columns(),
            Column("service", "Service"),
            Column(
                "state", "State", mappings=house.value_map(AGENT_SERVICE_STATES, ("Unknown", "purple")), colored=True
            ),
            Column("Value #B", "Started again", unit="none", decimals=0),
            Column("Value #C", "Last attempt", unit="dateTimeFromNow"),
            Column(
                "outcome",
                "It",
                mappings=house.value_map(REPAIR_OUTCOMES, ("Not tried", "text")),
                colored=True,
                may_be_absent=none_yet,
            ),
        ],
        hidden=["Value #A", "id"],
        sort_by="State",
        no_value="no agent watches a service",
        height=9,
    )


def _restarts() -> Panel:
    each = (
        "max by (cluster, id, service) "
        f"(increase(pvewatch_agent_service_restarts_total{{{IN_CLUSTER}}}[$__rate_interval]))"
    )
    return house.time_panel(
        16,
        "Services started again",
        f"How often agents started a watched service again, the {LINES} highest "
        "(pvewatch_agent_service_restarts_total). Normal is none; a service that is started again and again needs its "
        "own log read, and the agent gives up after a while.",
        [
            Query(
                f"topk({LINES}, {each}) {NAMED}",
                "{{service}} in {{name}} ({{cluster}}/{{vmid}})",
                needs=HAS_AGENT,
            )
        ],
        unit="none",
        many=True,
        no_value="no agent watches a service",
        width=24,
        height=7,
    )
