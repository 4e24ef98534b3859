"""Proxmox VE / Services: what guests ask to be probed, and how it answers. docs/probes.md says how a guest asks."""

from __future__ import annotations

from grafana.source import house, limits, links, marks, variables
from grafana.source.board import Built, Column, Panel, Query, Row
from grafana.source.listed import GUESTS_LISTED, IDENTIFIED, guest_columns
from grafana.source.promql import IN_CLUSTER, NAMED
from grafana.source.scenarios import PROBES
from grafana.source.states import ANSWERS

SHOWN_OVER_TIME = 20
LEGEND = "{{probe}} of {{name}} ({{cluster}}/{{vmid}})"
RUNBOOK = links.runbook("ServiceProbeFailing")
OVER_TLS = "only https has a certificate"
OF_PROBES = f'job="probes", {IN_CLUSTER}'


def probed(metric: str) -> str:
    """One sample of a metric of the job probes for each probe, also where two targets ask the same."""
    return f"max by (cluster, id, probe, instance) ({metric}{{{OF_PROBES}}})"


SUCCESS = probed("probe_success")
DURATION = probed("probe_duration_seconds")
UNTIL_EXPIRY = f"{probed('probe_ssl_earliest_cert_expiry')} - time()"
LISTED = f"bottomk({GUESTS_LISTED}, {SUCCESS})"
OF_LISTED = f"and on (cluster, id, probe, instance) {LISTED}"


def services() -> Built:
    """Probes of guests' services, in all chosen clusters."""
    return house.build(
        links.SERVICES,
        "Services",
        "services",
        "What guests ask to be probed: which services answer, how fast, and until when their certificates hold.",
        variables=[variables.cluster(several=True)],
        annotations=[marks.alerts()],
        rows=[
            Row([_answering(), _failing(), _guests(), _slowest(), _certificates(), _answered()]),
            Row([_table()]),
            Row([_timeline(), _durations()], number=20, title="Over time"),
        ],
    )


def _answering() -> Panel:
    return house.stat_panel(
        1,
        "Answering",
        "Probes whose newest answer was as it should be (probe_success of the job probes), out of all that ran. A "
        "guest that is off is not probed.",
        [Query(f"count({SUCCESS} == 1)", needs=[PROBES], values={"healthy": 2, "hung-guest": 1})],
        no_value=PROBES.absent,
    )


def _failing() -> Panel:
    return house.stat_panel(
        2,
        "Not answering",
        "Probes whose newest answer was none, or not as it should be (probe_success of the job probes). Normal is 0; "
        "after two minutes ServiceProbeFailing fires, and the table says which.",
        [
            Query(
                f"count({SUCCESS} == 0) or 0 * count({SUCCESS})",
                needs=[PROBES],
                values={"healthy": 0, "hung-guest": 1},
            )
        ],
        steps=limits.ANY_IS_BAD,
        links=[RUNBOOK],
        no_value=PROBES.absent,
    )


def _guests() -> Panel:
    return house.stat_panel(
        3,
        "Guests probed",
        "Guests with at least one probe that runs now (probe_success of the job probes). Fewer than expected: what is "
        "asked for and not granted stands on the guest's page with its reason.",
        [Query(f"count(count by (cluster, id) ({SUCCESS}))", needs=[PROBES], values={"healthy": 2})],
        no_value=PROBES.absent,
    )


def _slowest() -> Panel:
    return house.stat_panel(
        4,
        "Slowest answer",
        "How long the slowest probe that succeeded took last time (probe_duration_seconds). After five seconds a probe "
        "gives up and has failed.",
        [Query(f"max({DURATION} and ({SUCCESS} == 1))", needs=[PROBES])],
        unit="s",
        decimals=2,
        no_value=PROBES.absent,
    )


def _certificates() -> Panel:
    return house.stat_panel(
        5,
        "Certificate ends in",
        "Time until the first certificate that an https probe has met ends (probe_ssl_earliest_cert_expiry). What "
        "renews by itself does so 30 days before.",
        [Query(f"min({UNTIL_EXPIRY})", needs=[PROBES], may_be_empty=OVER_TLS)],
        unit="s",
        decimals=0,
        steps=limits.UNTIL_END,
        no_value="no https service is probed",
    )


def _answered() -> Panel:
    return house.stat_panel(
        6,
        "Worst in the range",
        "Share of its probes of the range shown that the least available service has answered (probe_success over "
        "time). 100 % is normal; while a guest is off nothing is counted.",
        [
            Query(
                f"min(max by (cluster, id, probe, instance) (avg_over_time(probe_success{{{OF_PROBES}}}[$__range])))",
                needs=[PROBES],
                values={"healthy": 1, "hung-guest": 0},
            )
        ],
        unit="percentunit",
        maximum=1,
        decimals=1,
        no_value=PROBES.absent,
    )


def _table() -> Panel:
    return house.table_panel(
        7,
        "Services",
        f"Every probe of a running guest, those that fail first, {GUESTS_LISTED} at most (probe_success, "
        "probe_duration_seconds and probe_ssl_earliest_cert_expiry). The VMID leads to the guest and to what can be "
        "done, the service to its runbook; following a link changes nothing.",
        [
            Query(f"({LISTED}) {IDENTIFIED}", needs=[PROBES]),
            Query(f"{DURATION} {OF_LISTED}", needs=[PROBES]),
            Query(f"({UNTIL_EXPIRY}) {OF_LISTED}", needs=[PROBES], may_be_empty=OVER_TLS),
        ],
        [
            Column("probe", "Service", links=[RUNBOOK]),
            Column("Value #A", "State", mappings=house.value_map(ANSWERS, ("Not probed", "text")), colored=True),
            *guest_columns(),
            Column("Value #B", "Took", unit="s", decimals=3),
            Column("Value #C", "Certificate ends in", unit="s", decimals=0, steps=limits.UNTIL_END, colored=True),
            Column("instance", "Address"),
        ],
        hidden=["id"],
        sort_by="State",
        no_value=PROBES.absent,
    )


def _timeline() -> Panel:
    return house.state_panel(
        8,
        "When services did not answer",
        f"Services over time, at any moment the {SHOWN_OVER_TIME} that fail before those that do not (probe_success, "
        "named by pvewatch_guest_info). Bars that begin together have one cause: a guest, a node, a network.",
        [Query(f"bottomk({SHOWN_OVER_TIME}, {SUCCESS}) {NAMED}", LEGEND, needs=[PROBES])],
        house.value_map(ANSWERS, ("Not probed", "text")),
        no_value=PROBES.absent,
        width=12,
    )


def _durations() -> Panel:
    return house.time_panel(
        9,
        "Slowest answers",
        f"How long probes took, at any moment the {SHOWN_OVER_TIME} slowest (probe_duration_seconds). A service that "
        "becomes slow is often one that soon fails; a line at five seconds is one that gives up.",
        [Query(f"topk({SHOWN_OVER_TIME}, {DURATION}) {NAMED}", LEGEND, needs=[PROBES])],
        unit="s",
        many=True,
        no_value=PROBES.absent,
    )
