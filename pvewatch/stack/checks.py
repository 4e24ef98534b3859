"""What `pvewatch demo --check` proves, hop by hop, by what the parts say over HTTP.

Each check looks once and returns what it saw, or raises NotYet with what is missing; checklist.py repeats it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pvewatch.bundle import bundle_path
from pvewatch.config import Settings
from pvewatch.pve.client import PveClient
from pvewatch.stack.agent_host import AgentGuest
from pvewatch.stack.browser import Browser
from pvewatch.stack.dashboards import DashboardQueries, action_link
from pvewatch.stack.first_login import FirstLogin
from pvewatch.stack.observe import FRESH_HEARTBEATS, Alertmanager, Prometheus, Sample, SimulatedGuest
from pvewatch.stack.simulated import Simulated

JOBS = {"pvewatch", "pvewatch-action-api", "prometheus", "alertmanager", "blackbox"}
HANG_ALERT = "GuestHeartbeatMissing"


class NotYet(Exception):
    """What a check waits for has not been seen; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The running demonstration that is looked at; `hanging` is the guest of the first cluster that will hang."""

    settings: Settings
    clusters: list[Simulated]
    agents: list[AgentGuest]
    hanging: str
    login: FirstLogin | None


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the list: what must hold, how it is seen, how long that may take, whose logs tell why not."""

    name: str
    look: Callable[[], str]
    within_seconds: float
    logs: tuple[str, ...] = ()


def checks(subject: Subject) -> list[Check]:
    """The checks in their order: each builds on those before it."""
    dashboards = DashboardQueries(subject.settings, subject.clusters[0].name, subject.hanging)
    stack, hang = _Stack(subject, dashboards), _Hang(subject, dashboards)
    agent = f"agent-{hang.cluster.name}-{subject.hanging.partition('/')[2]}"
    return [
        Check("every scrape target is up", stack.targets_up, 20, ("prometheus", "exporter", "action-api")),
        Check("every alerting rule is loaded", stack.rules_loaded, 20, ("prometheus",)),
        *(
            Check(f"figures of {cluster.name} are there and move", _Figures(subject, cluster).moving, 30, ("exporter",))
            for cluster in subject.clusters
        ),
        Check("heartbeats of every agent are accepted", stack.heartbeats_accepted, 30, ("exporter", agent)),
        Check("nothing fires while all is well", stack.nothing_fires, 30, ("prometheus",)),
        Check("a guest is made to hang", hang.hang, 5, (f"simulator-{hang.cluster.name}",)),
        Check("its alert fires in Prometheus", hang.fires, 60, ("prometheus", "exporter")),
        Check("Alertmanager tells the action API", hang.told, 20, ("alertmanager", "action-api")),
        Check("the worker resets the guest", hang.was_reset, 40, ("worker", "action-api")),
        Check("its heartbeats return", hang.heartbeats_return, 40, (agent, "exporter")),
        Check("the incident ends as recovered", hang.recovered, 40, ("worker",)),
        Check("the alert is resolved", hang.resolved, 30, ("prometheus", "alertmanager")),
        Check("a service that a guest asks to be probed answers", stack.probe_answers, 40, ("blackbox", "exporter")),
        Check("every dashboard shows what it should", stack.dashboards_have_data, 20, ("prometheus",)),
        Check("the dashboard's link opens the guest's action page", stack.link_opens_action_page, 10, ("action-api",)),
    ]


class _Stack:
    """What holds for the stack as a whole."""

    def __init__(self, subject: Subject, dashboards: DashboardQueries) -> None:
        self._subject = subject
        self._dashboards = dashboards
        self._prometheus = Prometheus(subject.settings.prometheus_url)

    def targets_up(self) -> str:
        targets = self._prometheus.targets()
        up = {target["labels"]["job"] for target in targets if target["health"] == "up"}
        if down := [t for t in targets if t["health"] != "up"]:
            raise NotYet(", ".join(f"{t['labels']['job']} is {t['health']} {t['lastError']}".strip() for t in down))
        if missing := JOBS - up:
            raise NotYet(f"no target of {', '.join(sorted(missing))}")
        return ", ".join(sorted(up))

    def rules_loaded(self) -> str:
        shipped = _shipped_alerts()
        loaded = {rule["name"]: rule for rule in self._prometheus.alert_rules()}
        if missing := shipped - set(loaded):
            raise NotYet(f"not loaded: {', '.join(sorted(missing))}")
        if ill := {name: rule for name, rule in loaded.items() if rule["health"] != "ok"}:
            raise NotYet(
                ", ".join(f"{name}: {rule['health']} {rule.get('lastError', '')}" for name, rule in ill.items())
            )
        return f"{len(loaded)} rules, all evaluated without error"

    def heartbeats_accepted(self) -> str:
        agents = {(agent.cluster, agent.id) for agent in self._subject.agents}
        fresh = _identities(self._prometheus.query(FRESH_HEARTBEATS))
        # More than one from each: the way is open, not only the first message through.
        twice = _identities(self._prometheus.query("pvewatch_heartbeats_received_total >= 2"))
        if missing := agents - (fresh & twice):
            raise NotYet(f"not two from {_listed(missing)}")
        return f"from {_listed(agents)}"

    def nothing_fires(self) -> str:
        if firing := self._prometheus.firing():
            raise NotYet(", ".join(f"{labels['alertname']} {labels.get('id', '')}".strip() for labels in firing))
        return "no alert"

    def probe_answers(self) -> str:
        cluster = self._subject.clusters[0].name
        probes = self._prometheus.query(f'probe_success{{job="probes",cluster="{cluster}"}}')
        if not probes:
            raise NotYet(f"Prometheus has no result of a probe of {cluster}")
        if silent := [sample.labels.get("instance", "?") for sample in probes if sample.value != 1]:
            raise NotYet(f"no answer from {', '.join(silent)}")
        return ", ".join(f"{sample.labels['id']}: {sample.labels['instance']}" for sample in probes)

    def dashboards_have_data(self) -> str:
        panels, silent = self._dashboards.ask()
        if silent:
            raise NotYet(f"{len(silent)} of {panels} panels show nothing: {'; '.join(silent[:3])}")
        if not panels:
            raise NotYet("no query was found in the dashboards")
        return f"{panels} panels: every query is answered, and none is empty without a reason"

    def link_opens_action_page(self) -> str:
        if self._subject.login is None:
            raise NotYet("the first login of this data folder is not known any more: use a new --data folder")
        cluster, guest = self._subject.clusters[0].name, self._subject.hanging
        info = self._prometheus.query(f'pvewatch_guest_info{{cluster="{cluster}",id="{guest}"}}')
        if not info:
            raise NotYet(f"pvewatch_guest_info has no {cluster} {guest}")
        link = action_link(self._subject.settings, info[0].labels)
        browser = Browser(self._subject.settings.public_url)
        if browser.sees_guest_page_unasked(link):
            raise NotYet(f"{link} opens without signing in")
        page = browser.sign_in_and_open(link, self._subject.login)
        name, vmid = info[0].labels["name"], info[0].labels["vmid"]
        if missing := [word for word in (name, vmid, cluster) if word not in page]:
            raise NotYet(f"the page at {link} does not say {', '.join(missing)}")
        return f"{link} shows {name} ({vmid}) after signing in"


@dataclass(slots=True)
class _Figures:
    """The figures of one cluster: as many guests as there are, and two looks that differ."""

    subject: Subject
    cluster: Simulated
    _first: dict[str, float] = field(default_factory=dict)

    def moving(self) -> str:
        prometheus = Prometheus(self.subject.settings.prometheus_url)
        selector = f'{{cluster="{self.cluster.name}",id=~"(qemu|lxc)/.*"}}'
        shown = {sample.labels["id"] for sample in prometheus.query(f"pve_guest_info{selector}")}
        there = set(self.cluster.control.guests())
        if missing := there - shown:
            raise NotYet(f"{len(missing)} of {len(there)} guests are missing: {', '.join(sorted(missing)[:5])}")
        now = {s.labels["id"]: s.value for s in prometheus.query(f"pve_cpu_usage_ratio{selector}")}
        self._first = self._first or now
        moved = [guest for guest, value in now.items() if guest in self._first and value != self._first[guest]]
        if not moved:
            raise NotYet("no CPU figure has changed since the first look")
        return f"{len(shown)} guests, the CPU figures of {len(moved)} have changed between two looks"


class _Hang:
    """The guest that hangs, from the silence to the recovery."""

    def __init__(self, subject: Subject, dashboards: DashboardQueries) -> None:
        self._dashboards = dashboards
        self.cluster = subject.clusters[0]
        self._subject = subject
        self._guest = subject.hanging
        self._prometheus = Prometheus(subject.settings.prometheus_url)
        self._boot_before: int | None = None
        self._reset_at = 0.0

    def hang(self) -> str:
        inside = self._inside()
        if self._boot_before is None:
            self._boot_before = inside.boot
            self.cluster.control.hang(self._guest)
            inside = self._inside()
        if inside.alive or inside.status != "running":
            raise NotYet(f"it is {inside.status}, alive inside: {inside.alive}")
        return f"{self._guest} of {self.cluster.name}: Proxmox VE says running, inside nothing moves"

    def fires(self) -> str:
        alert = next((labels for labels in self._prometheus.firing() if self._is_mine(labels)), None)
        if alert is None:
            raise NotYet(f"{HANG_ALERT} does not fire for {self._guest}")
        # Now is the moment when tables of alerts have something to show.
        self._dashboards.ask()
        return f"{HANG_ALERT} for {alert.get('name', '')} ({self._guest})"

    def told(self) -> str:
        held = [a for a in Alertmanager(self._subject.settings.alertmanager_url).alerts() if self._is_mine(a["labels"])]
        if not held and self._prometheus.number("sum(pvewatch_incidents)") == 0:
            raise NotYet("Alertmanager does not hold the alert")
        if self._prometheus.number('sum(pvewatch_webhooks_total{outcome="accepted"})') < 1:
            raise NotYet("the action API has accepted no webhook")
        if self._prometheus.number("sum(pvewatch_incidents)") < 1:
            raise NotYet("no incident was opened")
        return "webhook accepted, incident opened"

    def was_reset(self) -> str:
        inside = self._inside()
        if self._boot_before is None or inside.boot <= self._boot_before:
            raise NotYet(f"it has not booted again{self._refusals()}")
        settings = next(c for c in self._subject.settings.clusters if c.name == self.cluster.name)
        assert settings.monitor is not None  # noqa: S101  written by write_settings
        with PveClient(settings, settings.monitor) as pve:
            resets = [task for task in pve.cluster_tasks() if task.type == "qmreset" and task.ok is not None]
        mine = [task for task in resets if task.id == self._guest.partition("/")[2]]
        if not mine:
            raise NotYet("Proxmox VE lists no finished qmreset task of it")
        task = max(mine, key=lambda found: found.started)
        if not task.ok or "!power" not in task.upid:
            raise NotYet(f"the task {task.upid} is not a success of the power token: {task.exit_status}")
        self._reset_at = task.started
        return f"boot {inside.boot}, task {task.upid} {task.exit_status}"

    def heartbeats_return(self) -> str:
        age = f'pvewatch_heartbeat_last_seen_timestamp_seconds{{cluster="{self.cluster.name}",id="{self._guest}"}}'
        newest = self._prometheus.number(age)
        if newest <= self._reset_at:
            raise NotYet("none since the reset")
        return f"the newest is {newest - self._reset_at:.0f} s younger than the reset"

    def recovered(self) -> str:
        states = {s.labels["state"]: s.value for s in self._prometheus.query("pvewatch_incidents")}
        if states.get("recovered", 0) < 1 or states.get("open", 0) > 0:
            raise NotYet(f"incidents: {states}")
        return "1 incident, recovered"

    def resolved(self) -> str:
        if any(self._is_mine(labels) for labels in self._prometheus.firing()):
            raise NotYet(f"{HANG_ALERT} still fires")
        if any(
            self._is_mine(alert["labels"]) and alert["status"]["state"] == "active"
            for alert in Alertmanager(self._subject.settings.alertmanager_url).alerts()
        ):
            raise NotYet("Alertmanager still holds it as active")
        return "in Prometheus and in Alertmanager"

    def _inside(self) -> SimulatedGuest:
        return self.cluster.control.guests()[self._guest]

    def _is_mine(self, labels: Mapping[str, str]) -> bool:
        wanted = {"alertname": HANG_ALERT, "cluster": self.cluster.name, "id": self._guest}
        return all(labels.get(key) == value for key, value in wanted.items())

    def _refusals(self) -> str:
        refused = self._prometheus.query("pvewatch_refusals_total > 0")
        reasons = ", ".join(sample.labels.get("reason", "?") for sample in refused)
        return f"; the policy refused: {reasons}" if reasons else ""


def _shipped_alerts() -> set[str]:
    names: set[str] = set()
    for path in bundle_path("prometheus/rules").glob("*.yml"):
        names |= {rule["alert"] for group in _groups(path) for rule in group["rules"] if "alert" in rule}
    return names


def _groups(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load(path.read_text(encoding="utf-8"))["groups"])


def _identities(samples: list[Sample]) -> set[tuple[str, str]]:
    return {(sample.labels.get("cluster", ""), sample.labels.get("id", "")) for sample in samples}


def _listed(guests: set[tuple[str, str]]) -> str:
    names = [f"{cluster} {guest}" for cluster, guest in sorted(guests)]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
