"""Proxmox VE / pvewatch: whether it is pvewatch or Proxmox VE, and what pvewatch costs."""

from __future__ import annotations

from grafana.source import house, limits, links, marks, variables
from grafana.source.board import Built, Column, Query, Row
from grafana.source.promql import IN_CLUSTER, with_label
from grafana.source.scenarios import ACTION_API, AGENTS, EXPORTER, NODE_LOST, SEEN
from grafana.source.states import COLLECTOR_SUCCESS

RATE = "[$__rate_interval]"
FAILING = "every collector succeeds"
QUIET = "nothing of that has happened"


def own() -> Built:
    """pvewatch itself: is it seen, what does it ask, what does it refuse, how large is it."""
    return house.build(
        links.OWN,
        "pvewatch itself",
        "pvewatch-itself",
        "Whether a gap is pvewatch's or Proxmox VE's: ages, collectors, calls, heartbeats, size.",
        variables=[variables.cluster(several=True)],
        annotations=[marks.alerts()],
        rows=[_first_row(), _collectors(), _calls(), _heartbeats(), _size()],
    )


def _first_row() -> Row:
    return Row(
        [
            house.stat_panel(
                1,
                "Exporters up",
                "Exporters that answer Prometheus, and all that it asks (up of the job pvewatch). Equal is normal; "
                "0 is ExporterDown, and then nothing is watched.",
                [
                    Query('sum(up{job="pvewatch"})', "up", needs=[EXPORTER]),
                    Query('count(up{job="pvewatch"})', "all", needs=[EXPORTER]),
                ],
                width=6,
            ),
            house.stat_panel(
                2,
                "Oldest figures",
                "Seconds since the list of guests and nodes of the worst cluster was last read "
                "(pve_collector_last_success_timestamp_seconds). Normal is below 15; above 60 the cluster counts as "
                "not seen.",
                [
                    Query(
                        "max(time() - max by (cluster) (pve_collector_last_success_timestamp_seconds"
                        f"{{{with_label('collector', 'resources')}}}))"
                    )
                ],
                unit="s",
                steps=limits.FIGURES_AGE,
                width=6,
            ),
            house.stat_panel(
                3,
                "Collectors failing",
                "Collectors of nodes and clusters whose newest attempt failed (pve_collector_success). Normal is 0, "
                "or those of a node that is offline; the table below says which and why.",
                [
                    Query(
                        f"count(max by (cluster, collector, node) (pve_collector_success{{{IN_CLUSTER}}}) == 0) "
                        "or vector(0)",
                        needs=(),
                        values={"healthy": 0, "standalone": 0},
                    )
                ],
                steps=limits.ANY_IS_WORTH_A_LOOK,
                width=6,
            ),
            house.stat_panel(
                4,
                "Action API up",
                "Whether the action API answers Prometheus (up of the job pvewatch-action-api). While it does not, "
                "nobody can act and nothing is recovered automatically.",
                [Query('max(up{job="pvewatch-action-api"})', needs=[ACTION_API])],
                steps=limits.MUST_BE,
                maximum=1,
                mappings=house.value_map(
                    {"1": ("Up", limits.WELL), "0": ("Down", limits.ACT)}, ("Not scraped", "text")
                ),
                no_value=ACTION_API.absent,
                width=6,
            ),
        ]
    )


def _collectors() -> Row:
    return Row(
        title="Collectors",
        number=20,
        panels=[
            house.table_panel(
                5,
                "Collectors that fail",
                "Each collector whose newest attempt failed, on which node and why (pve_collector_error). Forbidden "
                "is a missing privilege: `pvewatch check` names it. Unreachable is the network or the node.",
                [
                    Query(
                        f"max by (cluster, collector, node, class) (pve_collector_error{{{IN_CLUSTER}}})",
                        needs=[SEEN, NODE_LOST],
                    )
                ],
                [
                    Column("cluster", "Cluster", links=[links.to_cluster(links.column("Cluster"))]),
                    Column("node", "Node", may_be_absent="a collector of the whole cluster"),
                    Column("collector", "Collector"),
                    Column("class", "Why"),
                ],
                hidden=["Value"],
                sort_by="Cluster",
                no_value=FAILING,
                width=12,
                height=8,
            ),
            house.time_panel(
                6,
                "Age of the figures",
                "Seconds since the list of guests and nodes of each cluster was last read "
                "(pve_collector_last_success_timestamp_seconds), the 20 oldest. Normal is below 15; above 60 the "
                "cluster counts as not seen.",
                [
                    Query(
                        "topk(20, time() - max by (cluster) (pve_collector_last_success_timestamp_seconds"
                        f"{{{with_label('collector', 'resources')}}}))",
                        "{{cluster}}",
                    )
                ],
                unit="s",
                steps=limits.FIGURES_AGE,
                many=True,
            ),
            house.state_panel(
                7,
                "Collectors over time",
                "Each collector, all nodes together: it fails when it fails on any of them (pve_collector_success), at "
                "most 20, those that fail first. A gap is an exporter that was not there.",
                [
                    Query(
                        "bottomk(20, min by (cluster, collector) (max by (cluster, collector, node) "
                        f"(pve_collector_success{{{IN_CLUSTER}}})))",
                        "{{collector}} of {{cluster}}",
                    )
                ],
                house.value_map(COLLECTOR_SUCCESS, ("Not there", "text")),
                height=10,
            ),
        ],
    )


def _calls() -> Row:
    asked = f"pvewatch_pve_requests_total{{{IN_CLUSTER}}}{RATE}"
    took = f"rate(pvewatch_pve_request_duration_seconds_sum{{{IN_CLUSTER}}}{RATE})"
    times = f"rate(pvewatch_pve_request_duration_seconds_count{{{IN_CLUSTER}}}{RATE})"
    return Row(
        title="Calls to Proxmox VE",
        number=21,
        panels=[
            house.time_panel(
                8,
                "Calls",
                "Requests to the API of each cluster each second (pvewatch_pve_requests_total), the 20 with most. "
                "It grows with the number of nodes and guests; the exporter holds it below 20 per cluster.",
                [
                    Query(
                        f"topk(20, sum by (cluster) (max by (cluster, endpoint, outcome) (rate({asked}))))",
                        "{{cluster}}",
                    )
                ],
                unit="reqps",
                many=True,
            ),
            house.time_panel(
                9,
                "Calls that fail",
                "Requests that failed, by cluster and reason (pvewatch_pve_requests_total without ok), the 20 with "
                "most. Normal is none; a node that is offline costs a few each minute.",
                [
                    Query(
                        "topk(20, sum by (cluster, outcome) (max by (cluster, endpoint, outcome) "
                        f'(rate(pvewatch_pve_requests_total{{{IN_CLUSTER}, outcome!="ok"}}{RATE}))))',
                        "{{cluster}}: {{outcome}}",
                        may_be_empty=QUIET,
                    )
                ],
                unit="reqps",
                many=True,
                no_value="no call has failed",
            ),
            house.time_panel(
                10,
                "Time that a call takes",
                "Mean time of a request by endpoint (pvewatch_pve_request_duration_seconds_sum / _count), the slowest. "
                "Some hundredths of a second are normal; seconds mean that a node or its storage is overloaded.",
                [
                    Query(
                        f"topk(10, sum by (endpoint) (max by (cluster, endpoint) ({took})) "
                        f"/ (sum by (endpoint) (max by (cluster, endpoint) ({times})) > 0))",
                        "{{endpoint}}",
                    )
                ],
                unit="s",
                many=True,
            ),
            house.time_panel(
                11,
                "Runs of collectors",
                "Runs of collectors each second by outcome (pvewatch_collector_runs_total). Anything but ok has its "
                "reason in the table above.",
                [
                    Query(
                        "sum by (outcome) (max by (cluster, collector, outcome) "
                        f"(rate(pvewatch_collector_runs_total{{{IN_CLUSTER}}}{RATE})))",
                        "{{outcome}}",
                    )
                ],
                unit="reqps",
            ),
        ],
    )


def _heartbeats() -> Row:
    return Row(
        title="Heartbeats",
        number=22,
        panels=[
            house.time_panel(
                12,
                "Heartbeats received",
                "Heartbeats of all agents each second that are on disk (pvewatch_heartbeats_received_total). It is "
                "the number of agents divided by their interval; a fall without a reason is a network that is cut.",
                [
                    Query(
                        "sum by (cluster) (max by (cluster, id) "
                        f"(rate(pvewatch_heartbeats_received_total{{{IN_CLUSTER}}}{RATE})))",
                        "{{cluster}}",
                        needs=[SEEN, AGENTS],
                    )
                ],
                unit="reqps",
                no_value=AGENTS.absent,
            ),
            house.time_panel(
                13,
                "Heartbeats refused",
                "Requests to the listener of heartbeats that were refused, by reason "
                "(pvewatch_heartbeats_rejected_total). Unauthorized is an agent with an old token, or somebody who "
                "tries; too many is an agent that is set wrong.",
                [
                    Query(
                        f"sum by (reason) (max by (instance, reason) (rate(pvewatch_heartbeats_rejected_total{RATE})))",
                        "{{reason}}",
                        needs=[EXPORTER],
                    )
                ],
                unit="reqps",
            ),
        ],
    )


def _size() -> Row:
    return Row(
        title="Size and versions",
        number=23,
        collapsed=True,
        panels=[
            house.time_panel(
                14,
                "Series",
                "Series about each cluster on the exporter's page, without those of agents (pvewatch_series), the 20 "
                "largest. It follows the number of guests; a jump without new guests deserves a look.",
                [Query(f"topk(20, max by (cluster) (pvewatch_series{{{IN_CLUSTER}}}))", "{{cluster}}")],
                unit="none",
                many=True,
            ),
            house.time_panel(
                15,
                "Scrape of the exporter",
                "Seconds that Prometheus needs for a scrape (scrape_duration_seconds of the job pvewatch, while up). "
                "Above the scrape interval figures are lost.",
                [
                    Query(
                        'max by (instance) (scrape_duration_seconds{job="pvewatch"})', "{{instance}}", needs=[EXPORTER]
                    )
                ],
                unit="s",
            ),
            house.time_panel(
                16,
                "Memory of the processes",
                "Resident memory of the exporter and the action API (process_resident_memory_bytes). It grows with "
                "guests and then stays; steady growth over days is a leak.",
                [
                    Query(
                        'max by (job, instance) (process_resident_memory_bytes{job=~"pvewatch.*"})',
                        "{{job}} {{instance}}",
                        needs=[EXPORTER],
                    )
                ],
                unit="bytes",
            ),
            house.time_panel(
                17,
                "CPU of the processes",
                "Cores that the exporter and the action API use (process_cpu_seconds_total). A small part of one is "
                "normal, with thousands of guests too.",
                [
                    Query(
                        f'max by (job, instance) (rate(process_cpu_seconds_total{{job=~"pvewatch.*"}}{RATE}))',
                        "{{job}} {{instance}}",
                        needs=[EXPORTER],
                    )
                ],
                unit="none",
            ),
            house.table_panel(
                18,
                "Versions",
                "The pvewatch that runs (pvewatch_build_info). Two versions at once are normal only during an upgrade.",
                [Query("max by (job, instance, version, python) (pvewatch_build_info)", needs=[EXPORTER])],
                [
                    Column("job", "Job"),
                    Column("instance", "Instance"),
                    Column("version", "Version"),
                    Column("python", "Python"),
                ],
                hidden=["Value"],
                sort_by="Job",
                height=5,
            ),
        ],
    )
