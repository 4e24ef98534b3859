"""Gathers what a decision rests on: all sources at once, within one bounded time.

A source that does not answer leaves its facts at None, with the reason; the policy then refuses and says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Any, cast

from action_api.neighbours import NeighbourUnavailable
from action_api.policy import Facts, GuestFacts, Silence
from action_api.store import Incident, Store
from action_api.worker.alerts import AlertState, alert_state, firing_alerts
from action_api.worker.clusters import Clusters, LookErrors, not_seen
from action_api.worker.timing import Timing
from pvewatch.config import Secret, Settings
from pvewatch.inventory import ClusterEntry, GuestEntry, Inventory, InventoryClient, InventoryUnavailable
from pvewatch.pve.models import ClusterStatus, Guest, GuestStatus, Node, Resources, Task

_MAX_THREADS = 24
_SOURCE_ERRORS = (*LookErrors, InventoryUnavailable, NeighbourUnavailable)
_NODE_ALERTS = {"NodeDown": "Prometheus says that it is down"}
_CLUSTER_ALERTS = {"ExporterBlind": "the exporter cannot see the cluster"}


@dataclass(slots=True)
class _Answers:
    """What came back, by name; what did not, with the reason."""

    values: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


class Evidence:
    """Reads from PVE, the exporter, Prometheus and Alertmanager; changes nothing."""

    def __init__(
        self, settings: Settings, clusters: Clusters, store: Store, inventory_secret: Secret, timing: Timing
    ) -> None:
        self._settings = settings
        self._clusters = clusters
        self._store = store
        self._inventory_secret = inventory_secret
        self._timing = timing
        self._threads = ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="evidence")

    def close(self) -> None:
        """Take no more questions."""
        self._threads.shutdown(wait=False)

    def inventory(self) -> Inventory:
        """What the exporter knows now. Raises InventoryUnavailable."""
        client = InventoryClient(self._settings.exporter_url, self._inventory_secret, timeout=self._timing.evidence / 2)
        return client.fetch()

    def for_person(self, cluster: str, vmid: int) -> Facts:
        """What Proxmox VE says of the guest; enough for a person's request."""
        deadline = time.monotonic() + self._timing.evidence
        answers = self._ask(
            deadline,
            {
                "guest": lambda: self._clusters.looking(cluster).cluster_resources(),
                "quorate": lambda: self._clusters.looking(cluster).cluster_status(),
            },
        )
        status = cast(ClusterStatus | None, answers.values.get("quorate"))
        return replace(self._closer(deadline, cluster, vmid, answers), quorate=_quorate(status, None))

    def for_incident(self, incident: Incident, now: float) -> Facts:
        """Everything that automation has to know, from all sources."""
        deadline = time.monotonic() + self._timing.evidence
        cluster, vmid = incident.cluster, incident.vmid
        seconds = self._timing.evidence * 0.75
        answers = self._ask(
            deadline,
            {
                "guest": lambda: self._clusters.looking(cluster).cluster_resources(),
                "quorate": lambda: self._clusters.looking(cluster).cluster_status(),
                "inventory": self.inventory,
                "prometheus": lambda: firing_alerts(self._settings.prometheus_url, cluster, timeout_seconds=seconds),
                "alertmanager": lambda: alert_state(
                    self._settings.alertmanager_urls,
                    alertname=incident.alertname,
                    cluster=cluster,
                    guest_id=incident.guest_id,
                    timeout_seconds=seconds,
                ),
            },
        )
        seen = self._closer(deadline, cluster, vmid, answers)
        window = self._settings.automation.attempt_window_seconds
        return _completed(
            seen,
            incident,
            answers,
            now,
            attempts=self._store.runs.attempts_since(cluster, vmid, since=now - window),
            newest_attempt_at=self._store.runs.newest_attempt_at(cluster, vmid),
        )

    def _closer(self, deadline: float, cluster: str, vmid: int, answers: _Answers) -> Facts:
        """The second question goes to the guest's node, which only the first answer tells."""
        resources = cast(Resources | None, answers.values.get("guest"))
        if resources is None:
            return Facts(why_unknown=answers.reasons | {"running_tasks": answers.reasons["guest"]})
        row = next((guest for guest in resources.guests if guest.vmid == vmid), None)
        if row is None:
            reason = not_seen(cluster, vmid)
            return Facts(why_unknown=answers.reasons | {"guest": reason, "running_tasks": reason})
        looking = self._clusters.looking(cluster)
        more = self._ask(
            deadline,
            {
                "guest": lambda: looking.guest_status(row.node, row.kind, vmid),
                "running_tasks": lambda: looking.node_tasks(row.node, vmid=vmid, source="active"),
            },
        )
        status = cast(GuestStatus | None, more.values.get("guest"))
        tasks = cast(tuple[Task, ...] | None, more.values.get("running_tasks"))
        node = next((node for node in resources.nodes if node.name == row.node), None)
        return Facts(
            guest=None if status is None else _guest(row, status),
            running_tasks=None if tasks is None else tuple(task.type for task in tasks if task.running),
            node_online=None if node is None else node.status == "online",
            node_uptime_seconds=_uptime(node),
            why_unknown=answers.reasons | more.reasons,
        )

    def _ask(self, deadline: float, questions: Mapping[str, Callable[[], Any]]) -> _Answers:
        futures: dict[str, Future[Any]] = {name: self._threads.submit(ask) for name, ask in questions.items()}
        wait(futures.values(), timeout=max(0.0, deadline - time.monotonic()))
        answers = _Answers()
        for name, future in futures.items():
            if not future.done():
                future.cancel()
                answers.reasons[name] = f"no answer within {self._timing.evidence:g} s"
                continue
            try:
                answers.values[name] = future.result()
            except _SOURCE_ERRORS as error:
                answers.reasons[name] = str(error)
        return answers


def _completed(
    seen: Facts, incident: Incident, answers: _Answers, now: float, *, attempts: int, newest_attempt_at: float | None
) -> Facts:
    inventory = cast(Inventory | None, answers.values.get("inventory"))
    entry = inventory.cluster(incident.cluster) if inventory else None
    guest = inventory.guest(incident.cluster, incident.vmid) if inventory else None
    firing = cast(tuple[Mapping[str, str], ...] | None, answers.values.get("prometheus"))
    alert = cast(AlertState | None, answers.values.get("alertmanager"))
    node_name = seen.guest.node if seen.guest else None
    node = next((node for node in entry.nodes if node.name == node_name), None) if entry else None
    online = seen.node_online
    if node is not None and node.status != "online":
        online = False
    uptime = seen.node_uptime_seconds
    if uptime is None and node is not None:
        uptime = node.uptime_seconds
    return Facts(
        guest=_since_its_boot(seen.guest, guest, now),
        running_tasks=seen.running_tasks,
        quorate=_quorate(cast(ClusterStatus | None, answers.values.get("quorate")), entry),
        node_trouble=_trouble(firing or (), node_name),
        node_online=online,
        node_uptime_seconds=uptime,
        inventory_age_seconds=entry.age_seconds if entry else None,
        heartbeat_ever_seen=None if inventory is None else guest is not None and guest.heartbeat is not None,
        heartbeat_at=guest.heartbeat.last_seen if guest and guest.heartbeat else None,
        identity_shared=guest.heartbeat.identity_shared if guest and guest.heartbeat else None,
        heartbeat_silent=guest.heartbeat.silent if guest and guest.heartbeat else None,
        silences=None if entry is None else silences(entry, node_name),
        alert_firing=None if firing is None else any(_is_the_alert(labels, incident) for labels in firing),
        alert_known=None if alert is None else alert.known,
        alert_suppressed_by=None if alert is None else alert.suppressed_by,
        attempts_in_window=attempts,
        newest_attempt_at=newest_attempt_at,
        why_unknown=seen.why_unknown,
    )


def _since_its_boot(seen: GuestFacts | None, known: GuestEntry | None, now: float) -> GuestFacts | None:
    """The guest with the time since its boot: to PVE a VM that was reset has been up all along."""
    if seen is None or seen.uptime_seconds is None or known is None or known.booted_at is None:
        return seen
    return replace(seen, uptime_seconds=min(seen.uptime_seconds, max(0.0, now - known.booted_at)))


def silences(entry: ClusterEntry, node: str | None) -> tuple[Silence, ...]:
    """How many of the running guests with an agent are silent, in the cluster and on the guest's node."""
    watched = [guest for guest in entry.guests if _is_watched(guest)]
    scopes = [(f"cluster {entry.name}", watched)]
    if node is not None:
        scopes.append((f"node {node}", [guest for guest in watched if guest.node == node]))
    return tuple(
        Silence(scope, sum(1 for guest in guests if guest.heartbeat and guest.heartbeat.silent), len(guests))
        for scope, guests in scopes
    )


def _is_watched(guest: GuestEntry) -> bool:
    return guest.heartbeat is not None and guest.status == "running" and not guest.template


def _guest(row: Guest, status: GuestStatus) -> GuestFacts:
    # For a paused VM "status" is running and only the QMP state tells; a stopped one may keep an old QMP state.
    state = status.qmp_status if status.status == "running" and status.qmp_status else status.status
    return GuestFacts(
        kind=row.kind,
        status=state,
        template=row.template or status.template,
        lock=status.lock or row.lock,
        ha_managed=status.ha_managed,
        node=row.node,
        tags=row.tag_list,
        uptime_seconds=status.uptime_seconds,
    )


def _uptime(node: Node | None) -> float | None:
    return None if node is None or node.uptime_seconds is None else float(node.uptime_seconds)


def _quorate(status: ClusterStatus | None, entry: ClusterEntry | None) -> bool | None:
    """Asked of PVE where the power token may (Sys.Audit on /), else what the exporter saw."""
    if status is not None:
        return True if status.name is None else status.quorate  # a standalone host has no quorum to lose
    if entry is None or entry.error is not None:
        return None
    if entry.quorate is None and len(entry.nodes) == 1:
        return True
    return entry.quorate


def _trouble(firing: tuple[Mapping[str, str], ...], node: str | None) -> str | None:
    for labels in firing:
        name = labels.get("alertname", "")
        if name in _CLUSTER_ALERTS:
            return _CLUSTER_ALERTS[name]
        named = labels.get("node") or labels.get("id", "").removeprefix("node/")
        if name in _NODE_ALERTS and node is not None and named == node:
            return _NODE_ALERTS[name]
    return None


def _is_the_alert(labels: Mapping[str, str], incident: Incident) -> bool:
    return labels.get("alertname") == incident.alertname and labels.get("id") == incident.guest_id
