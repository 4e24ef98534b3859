"""Backup jobs, out of `GET /cluster/backup`, and the guests in none of them, out of
`GET /cluster/backup-info/not-backed-up`.

    pve_backup_job_enabled{cluster="home",job="nightly"} 1
    pve_backup_job_next_run_timestamp_seconds{cluster="home",job="nightly"} 1795314600
    pve_backup_job_last_run_timestamp_seconds{cluster="home",job="nightly"} 1795228200
    pve_not_backed_up_total{cluster="home",id="cluster/lab"} 1
    pve_not_backed_up_info{cluster="home",id="qemu/101"} 1

By hand: `pvesh get /cluster/backup` and `pvesh get /cluster/backup-info/not-backed-up`. Needs Sys.Audit on /, and
VM.Audit on all guests: without the latter Proxmox VE answers with a shorter list or an empty one, as if everything were
backed up. The total is withheld then, and the collector fails with `forbidden`. Whether the role NoAccess hides a guest
is told by `GET /access/acl` alone, which takes Sys.Audit on /access: without it the total is withheld as well.

Proxmox VE does not tell when a job last ran: that is the planned time which pvewatch has seen go by, and absent before
the first one. Whether it went well is told by pve_tasks_finished_total and its companions with type="vzdump".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from exporter.collectors.definition import Collector, Incomplete, NothingHere, Request, every, is_not_there, keep
from exporter.exposition import Metric, Number, Sample
from exporter.snapshot import View
from pvewatch.pve.errors import Forbidden, PveError, Rejected
from pvewatch.pve.models import AclRow, Permissions
from pvewatch.pve.models_cluster import BackupJob, UnprotectedGuests
from pvewatch.pve.privileges import taken_away

INTERVAL_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Backups:
    """Jobs with when they last ran, and the guests in no job.

    `unprotected` is None when that could not be read; `complete` says that no guest was hidden from the token.
    """

    jobs: tuple[tuple[BackupJob, float | None], ...]
    unprotected: UnprotectedGuests | None
    complete: bool


def read(request: Request) -> Backups:
    """Ask for the jobs, and for the guests in none."""
    try:
        jobs = request.client.backup_jobs()
    except Rejected as error:
        if is_not_there(error):
            raise NothingHere from error
        raise
    known = request.stops.schedules(request.cluster.name)
    runs, planned = seen_runs(jobs, known, request.now)
    if planned != known:
        request.stops.keep_schedules(request.cluster.name, planned)
    timed = tuple((job, runs.get(job.id)) for job in jobs)
    try:
        unprotected = request.client.not_backed_up()
        granted = request.client.permissions()
        acl = request.client.acl() if "Sys.Audit" in granted.get("/access", ()) else None
    except PveError as error:
        if is_not_there(error):
            return Backups(timed, None, complete=False)
        raise Incomplete(Backups(timed, None, complete=False), error) from error
    missing = _may_hide(granted, acl)
    if missing:
        hidden = Forbidden(
            f"the token lacks {missing}, so guests without a backup job may be hidden from it; "
            "`pvewatch check` tells what mends it",
            host=str(request.cluster.hosts[0]),
            path="/cluster/backup-info/not-backed-up",
        )
        raise Incomplete(Backups(timed, unprotected, complete=False), hidden)
    return Backups(timed, unprotected, complete=True)


def _may_hide(granted: Permissions, acl: tuple[AclRow, ...] | None) -> str:
    """What the token would need to be sure that it sees all guests; empty when it is. Pure.

    `/access/permissions` names /vms whenever there is a privilege on it, inherited ones included, but no place where
    there is none, such as a guest with the role NoAccess: those are known by the ACL, or not at all (None).
    """
    if "VM.Audit" not in granted.get("/vms", ()):
        return "VM.Audit on /vms"
    if acl is None:
        return "Sys.Audit on /access to see whether NoAccess is given on a guest"
    places = taken_away(granted, acl, "VM.Audit", "/vms")
    return f"VM.Audit on {places[0]}{' and other places' if places[1:] else ''}" if places else ""


def seen_runs(
    jobs: tuple[BackupJob, ...], known: dict[str, tuple[float | None, float | None]], now: float
) -> tuple[dict[str, float], dict[str, tuple[float | None, float | None]]]:
    """When each job last ran, as far as it was seen, and what to remember: job → (next run, last run).

    A job has run when the time it was planned for has passed and it is planned for a later one. A schedule that was
    changed before its time has not run. Pure.
    """
    planned: dict[str, tuple[float | None, float | None]] = {}
    for job in jobs:
        was_next, last = known.get(job.id, (None, None))
        coming = float(job.next_run) if job.next_run is not None else None
        if was_next is not None and was_next <= now and coming != was_next:
            last = was_next
        # PVE may still show a time that has just passed: it is remembered until the next one is known.
        planned[job.id] = (coming if job.enabled else None, last)
    return {name: last for name, (_, last) in planned.items() if last is not None}, planned


def _answers(view: View) -> list[Backups]:
    return view.answers(COLLECTOR.name, Backups)


def _job(get: Callable[[BackupJob, float | None], Number | None]) -> Callable[[View], Iterator[Sample]]:
    def samples(view: View) -> Iterator[Sample]:
        for answer in _answers(view):
            for job, last in answer.jobs:
                yield (job.id,), get(job, last)

    return samples


def _job_info(view: View) -> Iterator[Sample]:
    for answer in _answers(view):
        for job, _ in answer.jobs:
            yield (job.id, job.schedule or "", job.storage or "", job.mode or ""), 1


def _unprotected_count(view: View) -> Iterator[Sample]:
    status = view.status
    # As prometheus-pve-exporter has it: the name of the cluster, and of the node where there is no cluster.
    name = None if status is None else status.name or status.local_node
    for answer in _answers(view):
        if name is not None and answer.complete and answer.unprotected is not None:
            yield (f"cluster/{name}",), len(answer.unprotected.ids)


def _unprotected(view: View) -> Iterator[Sample]:
    for answer in _answers(view):
        for guest in answer.unprotected.ids if answer.unprotected else ():
            yield (guest,), 1


METRICS = (
    Metric(
        "pve_backup_job_info",
        "gauge",
        "A backup job; always 1.",
        ("job", "schedule", "storage", "mode"),
        _job_info,
    ),
    Metric(
        "pve_backup_job_enabled", "gauge", "Whether the job is on.", ("job",), _job(lambda job, _: int(job.enabled))
    ),
    Metric(
        "pve_backup_job_next_run_timestamp_seconds",
        "gauge",
        "When the job is planned to run next; absent while it is off.",
        ("job",),
        _job(lambda job, _: job.next_run if job.enabled else None),
    ),
    Metric(
        "pve_backup_job_last_run_timestamp_seconds",
        "gauge",
        "The planned time of the job that pvewatch last saw pass.",
        ("job",),
        _job(lambda _, last: last),
    ),
    Metric(
        "pve_not_backed_up_total",
        "gauge",
        "Guests in no backup job, templates included; absent unless the token is sure to see all guests.",
        ("id",),
        _unprotected_count,
        reads=("status",),
    ),
    Metric(
        "pve_not_backed_up_info",
        "gauge",
        "A guest in no backup job; always 1.",
        ("id",),
        _unprotected,
    ),
)

COLLECTOR = Collector(
    "backup",
    "cluster",
    read,
    METRICS,
    every(INTERVAL_SECONDS),
    keep(INTERVAL_SECONDS),
)
