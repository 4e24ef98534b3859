"""Looks at incidents when they are due: has the guest recovered, may it be helped, or why not?

The worker's own timer drives the next step, not Alertmanager's repeats. Recovery is a heartbeat newer than the alert
and than the last attempt; an alert that goes away without one is recorded as cleared, not as recovered.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from action_api.policy import Facts, Request, attempt_ends_at, decide
from action_api.store import ActionRun, GuestBusy, Incident, Store
from action_api.worker.evidence import Evidence
from action_api.worker.timing import Timing
from pvewatch.config import AutomationSettings
from pvewatch.inventory import InventoryUnavailable
from pvewatch.logging import about

_log = logging.getLogger(__name__)

# What an alert labelled automation=recover asks for.
RECOVERY_ACTION = "reset"

# Refusals that only a person changes: no reason to ask everybody every half minute.
_LASTING_REFUSALS = frozenset(
    {"not_permitted", "automation_off", "not_opted_in", "no_heartbeat_ever", "template", "ha_managed"}
)

Start = Callable[[ActionRun, str], None]


class Recovery:
    """Takes one look at a claimed incident. Threads may share it."""

    def __init__(
        self,
        store: Store,
        evidence: Evidence,
        rules: AutomationSettings,
        start: Start,
        *,
        worker: str,
        timing: Timing,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._evidence = evidence
        self._rules = rules
        self._start = start
        self._worker = worker
        self._timing = timing
        self._clock = clock

    def look(self, incident: Incident) -> None:
        """Decide what happens to the incident now, and when it is looked at again."""
        with about(cluster=incident.cluster, guest=f"{incident.kind}/{incident.vmid}", incident=incident.id):
            self._look(incident)

    def _look(self, incident: Incident) -> None:
        attempt_at = self._newest_attempt_of(incident)
        if self._ended(incident, attempt_at):
            return
        now = self._clock()
        if incident.state == "exhausted":
            self._again(incident, now + self._timing.look_exhausted)
        elif self._store.runs.unfinished(incident.cluster, incident.vmid) is not None or (
            attempt_at is not None and now < attempt_at + self._rules.recovery_timeout_seconds
        ):
            self._again(incident, now + self._timing.look)
        else:
            self._help(incident)

    def _ended(self, incident: Incident, attempt_at: float | None) -> bool:
        """Close the incident if the guest speaks again, or the alert has gone without that."""
        now = self._clock()
        try:
            guest = self._evidence.inventory().guest(incident.cluster, incident.vmid)
        except InventoryUnavailable as error:
            _log.warning("heartbeats cannot be read: %s", error, extra={"incident": incident.id})
            patient = incident.alert_resolved_at is None or now < (
                incident.alert_resolved_at + self._timing.resolved_patience
            )
            if patient:
                return False
            guest = None
        heartbeat_at = guest.heartbeat.last_seen if guest and guest.heartbeat else None
        if heartbeat_at is not None and heartbeat_at > max(incident.alert_started_at, attempt_at or 0.0):
            return self._close(incident, "A heartbeat newer than the alert and the last attempt was seen.", True)
        if incident.alert_resolved_at is not None:
            return self._close(incident, "The alert went away, but no newer heartbeat was seen.", False)
        return False

    def _close(self, incident: Incident, reason: str, recovered: bool) -> bool:
        state = incident.state if incident.state == "exhausted" else "recovered" if recovered else "cleared"
        if self._store.incidents.close(incident, state, reason, now=self._clock()):
            _log.info("incident closed", extra={"incident": incident.id, "state": state})
        else:  # the alert fires anew: what was seen is too old already
            self._again(incident, self._clock() + self._timing.look)
        return True

    def _help(self, incident: Incident) -> None:
        facts = self._evidence.for_incident(incident, self._clock())
        now = self._clock()
        request = Request(incident.cluster, incident.vmid, RECOVERY_ACTION, "automation", incident.alert_started_at)
        decision = decide(request, facts, self._rules, now)
        if not decision.allowed or facts.guest is None:
            self._refused(incident, facts, decision.reason_code, decision.message)
            return
        # Planned before the attempt: whatever happens to this worker, the incident is looked at again.
        self._again(incident, now + self._timing.look)
        try:
            run = self._store.runs.start_attempt(
                incident.id, RECOVERY_ACTION, self._worker, now=now, lease_seconds=self._timing.lease
            )
        except GuestBusy:
            return
        if run is not None:
            self._start(run, facts.guest.node)

    def _refused(self, incident: Incident, facts: Facts, code: str, message: str) -> None:
        """Keep the refusal, once for each change of its reason, and plan the next look."""
        now = self._clock()
        if code != incident.last_reason_code:
            self._store.runs.record_refusal(incident.id, RECOVERY_ACTION, code, message, now=now)
            _log.info("recovery refused: %s", message, extra={"incident": incident.id, "reason": code})
        if code == "attempts_used_up":
            self._store.incidents.exhaust(incident.id, message, look_at=now + self._timing.look_exhausted, now=now)
        elif code == "alert_not_firing" and now > incident.last_alert_at + self._timing.alert_gone:
            self._close(incident, "The alert does not fire any more, and nobody said so.", False)
        else:
            lasting = code in _LASTING_REFUSALS
            at = now + (self._timing.look_exhausted if lasting else self._timing.look_refused)
            if code == "cool_down":
                at = max(now + 1.0, min(at, attempt_ends_at(facts.newest_attempt_at, self._rules)))
            self._again(incident, at, code, message)

    def _again(self, incident: Incident, at: float, code: str | None = None, message: str | None = None) -> None:
        self._store.incidents.look_again(incident, at=at, reason_code=code, reason=message)

    def _newest_attempt_of(self, incident: Incident) -> float | None:
        newest = self._store.runs.newest_attempt_at(incident.cluster, incident.vmid)
        return newest if newest is not None and newest >= incident.opened_at else None
