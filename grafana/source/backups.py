"""Proxmox VE / Backups and replication: which guests are in no job, how backups went, how far replicas lag."""

from __future__ import annotations

from grafana.source import house, limits, links, marks, variables
from grafana.source.board import Built, Column, Panel, Query, Row
from grafana.source.listed import GUESTS_LISTED, cluster_column, guest_columns, listed, node_column
from grafana.source.promql import IN_CLUSTER, TEMPLATES, most, with_label
from grafana.source.scenarios import BACKUP_FAILED, BACKUP_JOBS, REPLICATION, SEEN

UID = links.BACKUPS
LINES = 10
ROWS = 100

VZDUMP = with_label("type", "vzdump")
NOT_SEEN_TO_RUN = "a planned time has to pass first"
NO_SUCCESS = "no backup has ended well yet"
ON_OFF = {"1": ("On", limits.WELL), "0": ("Off", limits.LOOK)}
NONE_LOCKED = f"0 * max by (cluster) (pve_collector_success{{{with_label('collector', 'resources')}}} == 1)"
LATEST_SYNC = f"({most('pve_replication_last_sync_timestamp_seconds')} > 0)"
NO_SNAPSHOT = "no guest has a snapshot"


def backups() -> Built:
    """Backups and replicas of all chosen clusters."""
    return house.build(
        UID,
        "Backups and replication",
        "backups",
        "Guests that no backup job covers, backup jobs and how they went, replication and its lag.",
        variables=[variables.cluster(several=True)],
        annotations=[marks.alerts()],
        rows=[
            Row(
                [_uncovered_count(), _jobs_on(), _next_job(), _oldest_success(), _newest_failure(), _failing_replicas()]
            ),
            Row([_uncovered(), _clusters()]),
            Row([_jobs()], number=30, title="Backup jobs"),
            Row([_ended(), _running()], number=31, title="Backups over time"),
            Row([_replicas(), _lag(), _failures()], number=32, title="Replication", collapsed=True),
            Row([_snapshots()], number=33, title="Snapshots", collapsed=True),
        ],
    )


def _per_job(metric: str, scale: str = "") -> str:
    return f"{scale}max by (cluster, job) ({metric}{{{IN_CLUSTER}}})"


def _uncovered_count() -> Panel:
    return house.stat_panel(
        1,
        "Guests in no job",
        "Guests that no backup job names, templates included (pve_not_backed_up_total). Normal is 0, or those that you "
        "leave out on purpose. Not known where the token may not see all guests: see pvewatch check.",
        [Query(f"sum({most('pve_not_backed_up_total')})")],
        steps=limits.ANY_IS_WORTH_A_LOOK,
        no_value="not known: the token may not see all guests",
    )


def _jobs_on() -> Panel:
    enabled = _per_job("pve_backup_job_enabled")
    return house.stat_panel(
        2,
        "Backup jobs",
        "Jobs that are on, and all jobs (pve_backup_job_enabled). A job that is off never runs, and its guests count "
        "as covered all the same.",
        [
            Query(f"count({enabled} == 1) or 0 * count({enabled})", "on", needs=[SEEN, BACKUP_JOBS]),
            Query(f"count({enabled})", "all", needs=[SEEN, BACKUP_JOBS]),
        ],
        no_value=BACKUP_JOBS.absent,
    )


def _next_job() -> Panel:
    return house.stat_panel(
        3,
        "Next backup job",
        "When the next job of the chosen clusters is planned (pve_backup_job_next_run_timestamp_seconds). Jobs that "
        "are off have no next run.",
        [
            Query(
                f"1000 * min({_per_job('pve_backup_job_next_run_timestamp_seconds')})",
                needs=[SEEN, BACKUP_JOBS],
            )
        ],
        unit="dateTimeFromNow",
        no_value="no job is planned",
    )


def _oldest_success() -> Panel:
    return house.stat_panel(
        4,
        "Last good backup",
        "When a backup task last ended well, in the cluster where that is longest ago "
        "(pve_task_last_success_timestamp_seconds of vzdump). Older than the jobs' schedule: look at the task log.",
        [Query(f"1000 * min({_last('success')})", may_be_empty=NO_SUCCESS)],
        unit="dateTimeFromNow",
        no_value=NO_SUCCESS,
    )


def _newest_failure() -> Panel:
    return house.stat_panel(
        5,
        "Last failed backup",
        "When a backup task last ended with an error in any chosen cluster (pve_task_last_failure_timestamp_seconds of "
        "vzdump). One task backs up many guests: its log says which of them failed.",
        [Query(f"1000 * max({_last('failure')})", needs=[SEEN, BACKUP_FAILED])],
        unit="dateTimeFromNow",
        no_value=BACKUP_FAILED.absent,
    )


def _failing_replicas() -> Panel:
    failed = most("pve_replication_failed_syncs")
    return house.stat_panel(
        6,
        "Replication failing",
        "Replication jobs whose newest attempts failed (pve_replication_failed_syncs). Normal is 0. The guest runs, "
        "but its replica is old: after the loss of the node that is what you would have.",
        [Query(f"count({failed} > 0) or 0 * count({failed})", needs=[SEEN, REPLICATION])],
        steps=limits.ANY_IS_BAD,
        no_value=REPLICATION.absent,
    )


def _last(result: str) -> str:
    return f"max by (cluster) (pve_task_last_{result}_timestamp_seconds{{{VZDUMP}}})"


def _uncovered() -> Panel:
    return house.table_panel(
        7,
        "Guests in no backup job",
        "Guests that no backup job names, templates left out, 200 at most (pve_not_backed_up_info). Add them to a job "
        "in Proxmox VE, or leave them out on purpose.",
        [Query(listed(f"({most('pve_not_backed_up_info')} unless on (cluster, id) {TEMPLATES})"))],
        guest_columns(),
        hidden=["Value", "id"],
        sort_by="Guest",
        no_value="every guest is in a job",
        width=12,
        height=8,
    )


def _clusters() -> Panel:
    locked = most("pve_lock_state", with_label("state", "backup"))
    return house.table_panel(
        8,
        "Backups by cluster",
        "Each cluster: when a backup task last ended well and last failed, how many run, and how many guests are "
        "locked by one (pve_task_last_success_timestamp_seconds, pve_task_last_failure_timestamp_seconds, "
        "pve_tasks_running, pve_lock_state). A lock without a task that runs was left behind.",
        [
            Query(f"1000 * {_last('success')}", may_be_empty=NO_SUCCESS),
            Query(f"1000 * {_last('failure')}", needs=[SEEN, BACKUP_FAILED]),
            Query(f"max by (cluster) (pve_tasks_running{{{VZDUMP}}})", may_be_empty="no backup was seen yet"),
            Query(f"count by (cluster) ({locked} == 1) or {NONE_LOCKED}"),
        ],
        [
            cluster_column(),
            Column("Value #A", "Last good", unit="dateTimeFromNow"),
            Column("Value #B", "Last failed", unit="dateTimeFromNow"),
            Column("Value #C", "Running", unit="none", decimals=0),
            Column("Value #D", "Guests locked", unit="none", decimals=0),
        ],
        sort_by="Last failed",
        descending=True,
        no_value="no backup was seen yet",
        width=12,
        height=8,
    )


def _jobs() -> Panel:
    return house.table_panel(
        9,
        "Jobs",
        "Every backup job, 100 at most: where to, when, whether it is on, when it last ran and runs next "
        "(pve_backup_job_info and its companions). Proxmox VE does not tell the last run: it is the planned time that "
        "pvewatch has seen pass.",
        [
            Query(
                f"topk({ROWS}, max by (cluster, job, schedule, storage, mode) (pve_backup_job_info{{{IN_CLUSTER}}}))",
                needs=[SEEN, BACKUP_JOBS],
            ),
            Query(_per_job("pve_backup_job_enabled"), needs=[SEEN, BACKUP_JOBS]),
            Query(
                _per_job("pve_backup_job_last_run_timestamp_seconds", "1000 * "),
                may_be_empty=NOT_SEEN_TO_RUN,
            ),
            Query(
                _per_job("pve_backup_job_next_run_timestamp_seconds", "1000 * "),
                needs=[SEEN, BACKUP_JOBS],
            ),
        ],
        [
            Column("job", "Job"),
            cluster_column(),
            Column("Value #B", "On", mappings=house.value_map(ON_OFF, ("Unknown", "purple")), colored=True, width=80),
            Column("schedule", "Schedule"),
            Column("storage", "Storage", may_be_absent="the job names a directory instead"),
            Column("mode", "Mode"),
            Column("Value #C", "Last run", unit="dateTimeFromNow"),
            Column("Value #D", "Next run", unit="dateTimeFromNow"),
        ],
        hidden=["Value #A"],
        sort_by="Next run",
        no_value=BACKUP_JOBS.absent,
        height=7,
    )


def _ended() -> Panel:
    return house.time_panel(
        10,
        "Backup tasks ended",
        "Backup tasks by how they ended (pve_tasks_finished_total of vzdump). Warnings are usually a guest whose agent "
        "could not freeze its file systems; errors need a look at the task log in Proxmox VE.",
        [
            Query(
                "sum by (result) (max by (cluster, result) (increase("
                f"pve_tasks_finished_total{{{VZDUMP}}}[$__rate_interval])))",
                "{{result}}",
            )
        ],
        unit="none",
        no_value="no backup was seen yet",
    )


def _running() -> Panel:
    return house.time_panel(
        11,
        "Backup tasks running",
        f"Backup tasks that run, in the {LINES} clusters with most (pve_tasks_running of vzdump). A line that does not "
        "come back to 0 until the next job is due is a backup that hangs or takes too long.",
        [Query(f"topk({LINES}, max by (cluster) (pve_tasks_running{{{VZDUMP}}}))", "{{cluster}}")],
        unit="none",
        many=True,
        no_value="no backup was seen yet",
    )


def _replicas() -> Panel:
    needs = [SEEN, REPLICATION]
    never = "no job has run yet"
    guest = 'label_replace(label_replace({}, "kind", "$1", "guest", "(.+)/.+"), "vmid", "$1", "guest", ".+/(.+)")'
    info = f"max by (cluster, id, type, source, target, guest) (pve_replication_info{{{IN_CLUSTER}}})"
    for name in ("source", "target"):
        info = f'label_replace({info}, "{name}", "$1", "{name}", "node/(.+)")'
    cluster, vmid = links.column("Cluster"), links.column("VMID")
    return house.table_panel(
        12,
        "Replication jobs",
        "Every replication job, 100 at most: from which node to which, how old the replica is, how often it failed in "
        "a row, how long it took and when it runs next (pve_replication_info and its companions). An age of more than "
        "two intervals, or a failure, needs a look at the job's log.",
        [
            Query(guest.format(f"topk({ROWS}, {info})"), needs=needs),
            Query(f"time() - {LATEST_SYNC}", needs=needs),
            Query(most("pve_replication_failed_syncs"), needs=needs),
            Query(most("pve_replication_duration_seconds"), may_be_empty=never),
            Query(f"1000 * ({most('pve_replication_next_sync_timestamp_seconds')} > 0)", may_be_empty=never),
            Query(most("pve_replication_enabled"), needs=needs),
        ],
        [
            Column("vmid", "VMID", links=[links.to_guest(cluster, vmid)], width=90),
            Column("kind", "Kind", width=80),
            Column("id", "Job"),
            cluster_column(),
            node_column("source", "From"),
            node_column("target", "To"),
            Column("Value #F", "On", mappings=house.value_map(ON_OFF, ("Unknown", "purple")), colored=True, width=80),
            Column("Value #B", "Age of the replica", unit="s", decimals=0),
            Column("Value #C", "Failures in a row", unit="none", decimals=0, steps=limits.ANY_IS_BAD, colored=True),
            Column("Value #D", "Took", unit="s", decimals=1),
            Column("Value #E", "Next run", unit="dateTimeFromNow"),
        ],
        hidden=["Value #A", "guest", "type"],
        sort_by="Failures in a row",
        descending=True,
        no_value=REPLICATION.absent,
        height=9,
    )


def _lag() -> Panel:
    return house.time_panel(
        13,
        "Age of replicas",
        f"Seconds since a guest was last replicated, the {LINES} oldest "
        "(pve_replication_last_sync_timestamp_seconds). A saw-tooth as high as the job's interval is normal; a line "
        "that only climbs is a job that fails or is off.",
        [Query(f"topk({LINES}, time() - {LATEST_SYNC})", "{{id}} of {{cluster}}", needs=[SEEN, REPLICATION])],
        unit="s",
        many=True,
        no_value=REPLICATION.absent,
    )


def _failures() -> Panel:
    return house.time_panel(
        14,
        "Failed replications in a row",
        f"How often a job has failed since it last succeeded, the {LINES} highest (pve_replication_failed_syncs). "
        "Normal is 0; Proxmox VE tries less often after each failure.",
        [
            Query(
                f"topk({LINES}, {most('pve_replication_failed_syncs')})",
                "{{id}} of {{cluster}}",
                needs=[SEEN, REPLICATION],
            )
        ],
        unit="none",
        many=True,
        no_value=REPLICATION.absent,
    )


def _snapshots() -> Panel:
    return house.table_panel(
        15,
        "Oldest snapshots",
        f"Guests by the age of their oldest snapshot, {GUESTS_LISTED} at most, and how many each has "
        "(pve_guest_snapshot_oldest_timestamp_seconds, pve_guest_snapshots). A snapshot is no backup: it grows with "
        "every change, and the backup of a full storage fails.",
        [
            Query(listed(f"time() - {most('pve_guest_snapshot_oldest_timestamp_seconds')}"), may_be_empty=NO_SNAPSHOT),
            Query(f"{most('pve_guest_snapshots')} > 0", may_be_empty=NO_SNAPSHOT),
        ],
        [
            *guest_columns(),
            Column("Value #A", "Oldest", unit="s", decimals=0, steps=limits.SNAPSHOT_AGE, colored=True),
            Column("Value #B", "Snapshots", unit="none", decimals=0),
        ],
        hidden=["id"],
        sort_by="Oldest",
        descending=True,
        no_value=NO_SNAPSHOT,
        height=8,
    )
