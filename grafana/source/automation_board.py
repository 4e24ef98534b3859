"""Proxmox VE / Automation: what was done to guests, what was refused and why, and what waits."""

from __future__ import annotations

from grafana.source import house, limits, links, marks, variables
from grafana.source.automation import ended
from grafana.source.board import Built, Column, Panel, Query, Row
from grafana.source.promql import HEARTBEAT_AGE, HEARTBEAT_LIMIT, IN_CLUSTER, most, with_label
from grafana.source.scenarios import ACTION_API, AGENTS, SEEN, SILENT
from grafana.source.states import SEVERITIES

UID = links.AUTOMATION
LINES = 15
HERE = [ACTION_API]
# Every process and replica of the action API counts out of one database, so the highest is the number.
INCIDENTS = "max by (state) (pvewatch_incidents)"
NOT_ASKED = ACTION_API.absent
INCIDENT_PAGES = house.link("Incidents and actions", f"{links.ACT}/")


def automation() -> Built:
    """The action API and its worker. Its counts are of the whole installation: they name no cluster and no guest."""
    return house.build(
        UID,
        "Automation",
        "automation",
        "Incidents, attempts to recover guests, refusals and their reasons, the brake, and what waits to be done.",
        variables=[variables.cluster(several=True)],
        annotations=[marks.alerts()],
        rows=[
            Row([_open(), _incidents(), _waiting(), _attempts_stat(), _refusals_stat(), _brake()]),
            Row([_alerts()]),
            Row([_ended(), _refused(), _by_state(), _queue()], number=30, title="Over time"),
            Row([_runs(), _reasons()], number=31, title="Since counting began", collapsed=True),
            Row([_webhooks(), _logins()], number=32, title="Messages and sign-ins", collapsed=True),
        ],
    )


def _open() -> Panel:
    return house.stat_panel(
        1,
        "Open incidents",
        "Periods in which a guest needs help and automation still looks after it (pvewatch_incidents). Normal is 0. "
        "The link opens the list of incidents with what was tried.",
        [Query('max(pvewatch_incidents{state="open"})', needs=HERE, values={"fleet": 1})],
        steps=limits.ANY_IS_WORTH_A_LOOK,
        links=[INCIDENT_PAGES],
        no_value=NOT_ASKED,
    )


def _incidents() -> Panel:
    return house.stat_panel(
        2,
        "Incidents kept",
        "All incidents that the action API has on record, ended ones too (pvewatch_incidents). How they ended is below "
        "and in its pages.",
        [Query(f"sum({INCIDENTS})", needs=HERE, values={"fleet": 5})],
        links=[INCIDENT_PAGES],
        no_value=NOT_ASKED,
    )


def _waiting() -> Panel:
    return house.stat_panel(
        3,
        "Runs not ended",
        "Actions that were asked for and have not ended (pvewatch_action_queue_length), waiting and being done. More "
        "than a few for minutes: is the worker running, and does Proxmox VE answer?",
        [Query("sum(max by (state) (pvewatch_action_queue_length))", needs=HERE)],
        no_value=NOT_ASKED,
    )


def _attempts_stat() -> Panel:
    return house.stat_panel(
        4,
        "Attempts by automation",
        "Actions that automation has done and tried since counting began, refused ones left out "
        "(pvewatch_actions_total). Many on one guest mean that it needs mending, not resetting.",
        [
            Query(
                "sum(max by (action, outcome) "
                '(pvewatch_actions_total{origin="automation", outcome!="refused"})) '
                f"or 0 * sum({INCIDENTS})",
                needs=HERE,
                values={"fleet": 3},
            )
        ],
        no_value=NOT_ASKED,
    )


def _refusals_stat() -> Panel:
    return house.stat_panel(
        5,
        "Refusals",
        "Actions that were refused since counting began, of people and of automation (pvewatch_refusals_total). A "
        "refusal is no fault: the policy saw a reason not to act, and the reasons are below.",
        [
            Query(
                f"sum(max by (reason) (pvewatch_refusals_total)) or 0 * sum({INCIDENTS})",
                needs=HERE,
                values={"fleet": 2},
            )
        ],
        no_value=NOT_ASKED,
    )


def _brake() -> Panel:
    running = f"({most('pve_guest_status', with_label('status', 'running'))} == 1)"
    heard = f"({HEARTBEAT_LIMIT} and on (cluster, id) {running})"
    silent = f"(({HEARTBEAT_AGE} > {HEARTBEAT_LIMIT}) and on (cluster, id) {running})"
    return house.stat_panel(
        6,
        "Silent together",
        "Share of running guests with an agent that are silent, in the cluster where it is highest "
        "(pvewatch_heartbeat_last_seen_timestamp_seconds). The brake: at automation.max_silent_ratio (usually half, "
        "and three guests) nothing is done automatically, as then it is not the guests. Such refusals have the reason "
        "many_silent.",
        [
            Query(
                f"max((count by (cluster) ({silent}) or 0 * count by (cluster) ({heard})) "
                f"/ count by (cluster) ({heard}))",
                needs=[SEEN, AGENTS],
                values={"healthy": 0, "hung-guest": 0.5},
            )
        ],
        unit="percentunit",
        maximum=1,
        no_value=AGENTS.absent,
    )


def _alerts() -> Panel:
    cluster, vmid = links.column("Cluster"), links.column("VMID")
    fires = f'ALERTS{{alertstate="firing", automation!="", {IN_CLUSTER}}}'
    return house.table_panel(
        7,
        "Alerts that automation may answer",
        "Alerts that fire now and are handed to automation (ALERTS with the label automation). Whether something is "
        "done is up to the policy: the guest must have opted in, and nothing may stand against it.",
        [
            Query(
                f"max by (alertname, severity, automation, cluster, node, kind, vmid, name) ({fires})",
                needs=[SEEN, SILENT],
            )
        ],
        [
            Column("alertname", "Alert", links=[links.runbook(links.column("Alert"))]),
            Column("severity", "Severity", mappings=house.value_map(SEVERITIES, ("None", "text")), colored=True),
            Column("automation", "Handed over to"),
            Column("cluster", "Cluster", links=[links.to_cluster(cluster)]),
            Column("node", "Node", links=[links.to_node(cluster, links.column("Node"))]),
            Column("kind", "Kind", width=80),
            Column(
                "vmid",
                "VMID",
                links=[links.to_guest(cluster, vmid), *links.guest_acts(cluster, links.column("Kind"), vmid)],
                width=90,
            ),
            Column("name", "Guest", links=[links.to_guest(cluster, vmid)]),
        ],
        hidden=["Value"],
        sort_by="Alert",
        no_value="no alert for automation fires",
        height=6,
    )


def _ended() -> Panel:
    return house.time_panel(
        8,
        "Actions by outcome",
        "What was done to guests, by whom (person or automation) and how it ended (pvewatch_actions_total). Failed and "
        "unknown need a look at the run; refused is the usual answer of a careful automation.",
        [Query(ended("action, origin, outcome"), "{{action}} by {{origin}}: {{outcome}}", needs=HERE)],
        unit="none",
        no_value=NOT_ASKED,
    )


def _refused() -> Panel:
    each = "max by (reason) (increase(pvewatch_refusals_total[$__rate_interval]))"
    return house.time_panel(
        9,
        "Refusals by reason",
        f"Why actions were refused, the {LINES} most frequent reasons (pvewatch_refusals_total). many_silent is the "
        "brake; cool_down and grace pass by themselves; attempts_used_up and node_trouble want a person; "
        "facts_unknown means that something could not be asked.",
        [Query(f"topk({LINES}, {each})", "{{reason}}", needs=HERE)],
        unit="none",
        many=True,
        no_value="nothing was refused yet",
    )


def _by_state() -> Panel:
    return house.time_panel(
        10,
        "Incidents by state",
        "Incidents on record (pvewatch_incidents). open: looked after; recovered: the guest spoke again; cleared: the "
        "alert went away without that; exhausted: attempts are used up and a person is needed.",
        [Query(INCIDENTS, "{{state}}", needs=HERE)],
        unit="none",
        no_value=NOT_ASKED,
    )


def _queue() -> Panel:
    return house.time_panel(
        11,
        "Queue",
        "Actions that have not ended, by what they wait for (pvewatch_action_queue_length). pending: for the worker; "
        "claimed and executing: being asked of Proxmox VE; following: its task runs. A line that stays is a run that "
        "hangs.",
        [Query("max by (state) (pvewatch_action_queue_length)", "{{state}}", needs=HERE)],
        unit="none",
        no_value=NOT_ASKED,
    )


def _runs() -> Panel:
    return house.table_panel(
        12,
        "Runs",
        "All actions that ended since counting began, by who asked and how they ended (pvewatch_actions_total). The "
        "audit log of the action API has each of them.",
        [Query("max by (action, origin, outcome) (pvewatch_actions_total)", needs=HERE)],
        [
            Column("action", "Action"),
            Column("origin", "Asked for by"),
            Column("outcome", "Outcome"),
            Column("Value", "Runs", unit="none", decimals=0),
        ],
        sort_by="Runs",
        descending=True,
        no_value="nothing was done yet",
        width=12,
        height=8,
    )


def _reasons() -> Panel:
    return house.table_panel(
        13,
        "Reasons of refusals",
        "All refusals since counting began, by reason (pvewatch_refusals_total). The run in the action API's pages "
        "says it in a sentence.",
        [Query("max by (reason) (pvewatch_refusals_total)", needs=HERE)],
        [Column("reason", "Reason"), Column("Value", "Refusals", unit="none", decimals=0)],
        sort_by="Refusals",
        descending=True,
        no_value="nothing was refused yet",
        width=12,
        height=8,
    )


def _webhooks() -> Panel:
    return house.time_panel(
        14,
        "Messages of Alertmanager",
        "Messages to the webhook by what became of them (pvewatch_webhooks_total). unauthorized: the secrets of "
        "Alertmanager and action API differ; invalid and too_large: somebody else sends. No accepted ones while alerts "
        "fire: Alertmanager does not reach it.",
        [
            Query(
                "max by (outcome) (increase(pvewatch_webhooks_total[$__rate_interval]))",
                "{{outcome}}",
                needs=HERE,
            )
        ],
        unit="none",
        no_value="no message has arrived yet",
    )


def _logins() -> Panel:
    return house.time_panel(
        15,
        "Sign-ins",
        "Attempts to sign in to the action API by outcome (pvewatch_logins_total). throttled, and many that fail, mean "
        "that somebody guesses passwords: the audit log names the address.",
        [
            Query(
                "max by (outcome) (increase(pvewatch_logins_total[$__rate_interval]))",
                "{{outcome}}",
                needs=HERE,
            )
        ],
        unit="none",
        no_value="nobody has signed in yet",
    )
