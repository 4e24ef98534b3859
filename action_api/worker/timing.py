"""How long the worker waits for what. Seconds; tests shorten them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """The worker's own times; what an operator may want to change is in AutomationSettings."""

    # Between two looks into the database for work.
    tick: float = 0.2
    # A worker that has not renewed a run for so long is taken for dead.
    lease: float = 30.0
    # All evidence together.
    evidence: float = 8.0
    # Between two looks at a task or a guest.
    poll: float = 1.0
    # How long after the intent a task may still turn up in PVE's list: pveproxy itself gives up after 30 s.
    task_lookup: float = 60.0
    # How far PVE's clock may be off when its task list is searched.
    clock_skew: float = 120.0
    # How long after a task's OK the wanted state has to be seen; HA acts 10 to 20 s after its task has ended.
    state: float = 30.0
    state_ha: float = 180.0
    # Between two looks at an incident.
    look: float = 10.0
    look_refused: float = 30.0
    look_exhausted: float = 300.0
    # An alert that went away without any message, e.g. because Alertmanager lost it.
    alert_gone: float = 3600.0
    # How long recovery is looked for after the alert has gone, while the heartbeats cannot be read.
    resolved_patience: float = 600.0
    # Between two looks at which hosts are one cluster.
    refresh: float = 15.0
    # Between two removals of old rows.
    housekeeping: float = 3600.0
