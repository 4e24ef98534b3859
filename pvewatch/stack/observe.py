"""What the running stack says about itself over HTTP: Prometheus, Alertmanager and the simulator's control port.

Everything that is shown or proven is read here, from the outside, as a user's browser or curl would.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests

TIMEOUT_SECONDS = 5.0
MAX_ANSWER_BYTES = 16 * 1024 * 1024

# How many heartbeats are younger than their own guest's threshold.
FRESH_HEARTBEATS = (
    "(time() - pvewatch_heartbeat_last_seen_timestamp_seconds)"
    ' < on (cluster, id) pvewatch_threshold{figure="heartbeat_age_seconds"}'
)


class Unanswered(Exception):
    """A part did not answer, or not as expected; the message names the address and the reason."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One series of an instant query, with its value now."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class SimulatedGuest:
    """A guest as the simulator's control port tells it; `alive` is whether the inside of a running guest works."""

    id: str
    node: str
    status: str
    alive: bool
    boot: int


class Prometheus:
    """The HTTP API of a Prometheus at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url

    def query(self, expression: str) -> list[Sample]:
        """The series that an instant query gives now. Raises Unanswered."""
        data = self._get("/api/v1/query", {"query": expression})
        return [Sample(row["metric"], float(row["value"][1])) for row in data["result"]]

    def number(self, expression: str) -> float:
        """The value of a query that gives one series, 0 for one that gives none."""
        found = self.query(expression)
        return found[0].value if found else 0.0

    def targets(self) -> list[dict[str, Any]]:
        """The active scrape targets, each with `labels`, `health` and `lastError`."""
        return list(self._get("/api/v1/targets", {"state": "active"})["activeTargets"])

    def alert_rules(self) -> list[dict[str, Any]]:
        """All alerting rules that were loaded, each with `name`, `health` and `alerts`."""
        groups = self._get("/api/v1/rules", {"type": "alert"})["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def firing(self) -> list[Mapping[str, str]]:
        """The labels of each alert that fires and that somebody would be told of (its severity is not `none`)."""
        alerts = self._get("/api/v1/alerts", {})["alerts"]
        return [
            alert["labels"]
            for alert in alerts
            if alert["state"] == "firing" and alert["labels"].get("severity") != "none"
        ]

    def _get(self, path: str, parameters: Mapping[str, str]) -> dict[str, Any]:
        answer = get_json(f"{self._url}{path}", parameters)
        return dict(answer["data"])


class Alertmanager:
    """The HTTP API of an Alertmanager at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts it holds, each with `labels`, `status` and `receivers`."""
        return list(get_json(f"{self._url}/api/v2/alerts"))


class Control:
    """The control port of a simulator: looks inside the simulated guests and breaks things on purpose."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}

    def guests(self) -> dict[str, SimulatedGuest]:
        """Every guest by its id, `qemu/101`."""
        rows = get_json(f"{self._url}/guests", headers=self._headers)
        return {
            row["id"]: SimulatedGuest(row["id"], row["node"], row["status"], bool(row["alive"]), int(row["boot"]))
            for row in rows
        }

    def hang(self, guest: str) -> None:
        """Make the inside of a running guest stop, as a kernel panic or a full disk would."""
        self.fault({"fault": "hang", "guest": guest})

    def fault(self, fault: Mapping[str, object]) -> None:
        """Inject any fault the simulator knows. Raises Unanswered."""
        try:
            answer = requests.post(
                f"{self._url}/faults", json=dict(fault), headers=self._headers, timeout=TIMEOUT_SECONDS
            )
        except requests.RequestException as error:
            raise Unanswered(f"{self._url}/faults: {type(error).__name__}") from error
        if not answer.ok:
            raise Unanswered(f"{self._url}/faults answered {answer.status_code}: {answer.text[:200]}")


def get_json(url: str, parameters: Mapping[str, str] | None = None, *, headers: Mapping[str, str] | None = None) -> Any:
    """GET a JSON document. Raises Unanswered when there is none within TIMEOUT_SECONDS."""
    return _decoded(url, _get(url, parameters, headers))


def get_text(url: str, *, headers: Mapping[str, str] | None = None) -> str:
    """GET a text such as a /metrics page. Raises Unanswered when there is none within TIMEOUT_SECONDS."""
    return _get(url, None, headers).decode(errors="replace")


def _get(url: str, parameters: Mapping[str, str] | None, headers: Mapping[str, str] | None) -> bytes:
    try:
        with requests.get(
            url, params=parameters, headers=headers, timeout=TIMEOUT_SECONDS, allow_redirects=False, stream=True
        ) as answer:
            body = answer.raw.read(MAX_ANSWER_BYTES + 1, decode_content=True)
    except requests.RequestException as error:
        raise Unanswered(f"{url}: {type(error).__name__}") from error
    if len(body) > MAX_ANSWER_BYTES:
        raise Unanswered(f"{url} sent more than {MAX_ANSWER_BYTES} bytes")
    if answer.status_code != 200:
        raise Unanswered(f"{url} answered {answer.status_code}: {body[:200].decode(errors='replace')}")
    return bytes(body)


def _decoded(url: str, body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise Unanswered(f"{url} sent no JSON: {body[:200].decode(errors='replace')}") from error


def summary(prometheus: Prometheus) -> str:
    """One line on how everything is: clusters read, guests running, heartbeats fresh, alerts firing, last action."""
    try:
        read = prometheus.number('count(pve_collector_success{collector="resources"} == 1)')
        known = prometheus.number('count(pve_collector_success{collector="resources"})')
        running = prometheus.number('count(pve_guest_status{status="running"} == 1)')
        guests = prometheus.number("count(pve_guest_info)")
        fresh = prometheus.number(f"count({FRESH_HEARTBEATS})")
        agents = prometheus.number("count(pvewatch_heartbeat_last_seen_timestamp_seconds)")
        firing = prometheus.firing()
        actions = prometheus.query("sum by (action, outcome) (pvewatch_actions_total) > 0")
    except Unanswered as error:
        return f"no answer: {error}"
    done = ", ".join(f"{s.value:.0f} x {s.labels.get('action')} {s.labels.get('outcome')}" for s in actions)
    alerts = ", ".join(sorted({labels["alertname"] for labels in firing}))
    return (
        f"clusters {read:.0f}/{known:.0f} · guests running {running:.0f}/{guests:.0f}"
        f" · heartbeats {fresh:.0f}/{agents:.0f} · alerts {len(firing)}{f' ({alerts})' if alerts else ''}"
        f" · actions: {done or 'none yet'}"
    )
