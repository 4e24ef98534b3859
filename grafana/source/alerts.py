"""Proxmox VE / Alerts: what fires now, since when, and what fired before."""

from __future__ import annotations

from grafana.source import house, limits, links, marks, variables
from grafana.source.board import Built, Column, Query, Row
from grafana.source.promql import FIRING
from grafana.source.scenarios import NOTHING_YET
from grafana.source.states import ALERT_STATES, SEVERITIES

BY = "alertname, severity, cluster, node, vmid, name"
# ExporterDown has no cluster: the second half of the alternative keeps it.
ALL = 'ALERTS{severity!="none", cluster=~"$cluster|"}'
# Some alerts are about a whole cluster, or about none.
SUBJECT = f'label_join({FIRING}, "subject", " ", "cluster", "id")'
SEVERITY = house.value_map(SEVERITIES, ("None", "text"))
STATE = house.value_map(ALERT_STATES, ("Unknown", "purple"))
NOTHING = "nothing fires"
QUIET = "which rules fire is proved with the rules"


def subject_columns() -> list[Column]:
    """What an alert is about, each with the way to its page."""
    cluster = links.column("Cluster")
    return [
        Column("cluster", "Cluster", links=[links.to_cluster(cluster)], may_be_absent="ExporterDown is of no cluster"),
        Column(
            "node",
            "Node",
            links=[links.to_node(cluster, links.column("Node"))],
            may_be_absent="an alert about a whole cluster",
        ),
        Column(
            "vmid",
            "VMID",
            links=[links.to_guest(cluster, links.column("VMID"))],
            may_be_absent="an alert about a node or a cluster",
        ),
        Column("name", "Guest", may_be_absent="an alert about a node or a cluster"),
    ]


def alerts() -> Built:
    """Table and timeline over ALERTS: plain PromQL, so it works without Grafana's own alerting."""
    return house.build(
        links.ALERTS,
        "Alerts",
        "alerts",
        "What fires now and since when, what is pending, and what fired before.",
        variables=[variables.cluster(several=True)],
        annotations=[marks.alerts()],
        rows=[_first_row(), _now(), _before()],
    )


def _first_row() -> Row:
    critical = FIRING.replace('severity!="none"', 'severity="critical"')
    warning = FIRING.replace('severity!="none"', 'severity="warning"')
    pending = FIRING.replace('alertstate="firing"', 'alertstate="pending"')
    figures = (
        (1, "Critical", critical, limits.ANY_IS_BAD, "Somebody has to act now. Normal is 0; each has its runbook."),
        (2, "Warning", warning, limits.ANY_IS_WORTH_A_LOOK, "Worth a look today. Normal is 0."),
        (
            3,
            "Pending",
            pending,
            limits.ANY_IS_WORTH_A_LOOK,
            "True, but not yet for long enough to fire.",
        ),
    )
    return Row(
        [
            house.stat_panel(
                number,
                title,
                f"Alerts of this kind (ALERTS of Prometheus), silenced ones too. {meaning}",
                [
                    Query(
                        f"count(max by (alertname, cluster, id) ({selector})) or vector(0)",
                        needs=(),
                        values={NOTHING_YET: 0},
                    )
                ],
                steps=steps,
                width=6,
            )
            for number, title, selector, steps, meaning in figures
        ]
        + [
            house.stat_panel(
                4,
                "Heard by",
                "Whether Prometheus reaches an Alertmanager (up of the job alertmanager). Without one alerts fire here "
                "and nobody is told.",
                [Query('max(up{job="alertmanager"})', may_be_empty="the Alertmanager need not be scraped")],
                steps=limits.MUST_BE,
                maximum=1,
                mappings=house.value_map(
                    {"1": ("Alertmanager", limits.WELL), "0": ("Nobody", limits.ACT)}, ("Not scraped", "text")
                ),
                no_value="Not scraped",
                width=6,
            )
        ]
    )


def _now() -> Row:
    return Row(
        title="Now",
        number=20,
        panels=[
            house.table_panel(
                5,
                "Alerts",
                "Every alert that fires or is about to, silenced ones too (ALERTS of Prometheus), since when "
                "(ALERTS_FOR_STATE). An empty table is normal. The alert's name leads to its runbook, the rest to "
                "what it is about.",
                [
                    Query(f"max by ({BY}, alertstate) ({ALL})", may_be_empty=QUIET),
                    Query(
                        f'1000 * max by ({BY}) (ALERTS_FOR_STATE{{severity!="none", cluster=~"$cluster|"}})',
                        may_be_empty=QUIET,
                    ),
                ],
                [
                    Column("alertname", "Alert", links=[links.runbook(links.column("Alert"))]),
                    Column("severity", "Severity", mappings=SEVERITY, colored=True),
                    Column(
                        "alertstate",
                        "State",
                        mappings=STATE,
                        colored=True,
                    ),
                    Column("Value #B", "Since", unit="dateTimeFromNow"),
                    *subject_columns(),
                ],
                hidden=["Value #A"],
                sort_by="Since",
                descending=True,
                no_value=NOTHING,
                height=10,
            ),
            house.state_panel(
                6,
                "When they fired",
                "Each alert of the range, at most 40, as long as it fired (ALERTS of Prometheus). Many at once have "
                "one cause: begin with the one that is on top of the alert's runbook.",
                [
                    Query(
                        f"topk(40, max by (alertname, subject) ({SUBJECT}))",
                        "{{alertname}} {{subject}}",
                        may_be_empty=QUIET,
                    )
                ],
                house.value_map({"1": ("Firing", limits.ACT)}, ("Quiet", "text")),
                no_value=NOTHING,
                height=10,
            ),
        ],
    )


def _before() -> Row:
    return Row(
        title="By alert",
        number=21,
        panels=[
            house.time_panel(
                7,
                "Alerts firing",
                "How many alerts of each name fire (ALERTS of Prometheus). A name that comes and goes is a limit "
                "that is set too tight, or a fault that nobody has mended.",
                [
                    Query(
                        f"count by (alertname) (max by (alertname, cluster, id) ({FIRING}))",
                        "{{alertname}}",
                        may_be_empty=QUIET,
                    )
                ],
                unit="none",
                many=True,
                no_value=NOTHING,
            ),
            house.table_panel(
                8,
                "Most frequent in the range",
                "Minutes for which each alert fired within the range shown, all guests and nodes together (ALERTS of "
                "Prometheus, at a look each minute). What stands at the top is worth mending first.",
                [
                    Query(
                        "topk(20, sum by (alertname) (max by (alertname, cluster, id) "
                        f"(60 * count_over_time({FIRING}[$__range:1m]))))",
                        needs=(),
                        may_be_empty=QUIET,
                    )
                ],
                [
                    Column("alertname", "Alert", links=[links.runbook(links.column("Alert"))]),
                    Column("Value", "Fired for", unit="s", decimals=0),
                ],
                sort_by="Fired for",
                descending=True,
                no_value=NOTHING,
                width=12,
                height=8,
            ),
        ],
    )
