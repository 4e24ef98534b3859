"""What pvewatch did, and how it is itself."""

from __future__ import annotations

from grafana.source import house, limits
from grafana.source.board import Query, Row
from grafana.source.promql import IN_CLUSTER


def ended(by: str) -> str:
    """Runs that ended, by these labels. All processes and replicas count out of one database: the highest is true."""
    return f"max by ({by}) (increase(pvewatch_actions_total[$__rate_interval]))"


def automation_row() -> Row:
    """A row that is closed until somebody wonders whether it is pvewatch or Proxmox VE."""
    quiet = "nothing has been done yet"
    return Row(
        title="Automation and the exporter",
        number=22,
        collapsed=True,
        panels=[
            house.time_panel(
                15,
                "Incidents by state",
                "Periods in which a guest needed help, by the state they are in (pvewatch_incidents).",
                [Query("max by (state) (pvewatch_incidents)", "{{state}}", may_be_empty=quiet)],
                unit="none",
                width=8,
                no_value="no incident yet",
            ),
            house.time_panel(
                16,
                "Actions by outcome",
                "What was done to guests, by whom (people or automation) and how it ended (pvewatch_actions_total). "
                "Refused is "
                "the normal answer of a careful automation; failed needs a look at the incident.",
                [
                    Query(
                        ended("action, origin, outcome"),
                        "{{action}} by {{origin}}: {{outcome}}",
                        may_be_empty=quiet,
                    )
                ],
                unit="none",
                width=8,
                no_value="no action yet",
            ),
            house.time_panel(
                17,
                "Age of the figures",
                "Seconds since the list of guests and nodes of each cluster was last read "
                "(pve_collector_last_success_timestamp_seconds). Normal is below 15; above 60 the cluster counts as "
                "not seen.",
                [
                    Query(
                        "time() - max by (cluster) (pve_collector_last_success_timestamp_seconds"
                        f'{{{IN_CLUSTER}, collector="resources"}})',
                        "{{cluster}}",
                    )
                ],
                unit="s",
                steps=limits.FIGURES_AGE,
                width=8,
            ),
        ],
    )
