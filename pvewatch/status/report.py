"""What `pvewatch status` finds out, and the two forms it is shown in."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Literal

import yaml

from pvewatch import __version__
from pvewatch.config import ConfigError, Settings, internal_secret
from pvewatch.inventory import InventoryClient, InventoryUnavailable
from pvewatch.status.ask import ASK_SECONDS, Silent, get, get_json, get_metrics

# A worker says every 7.5 s that it is there.
WORKER_SILENT_SECONDS = 60.0

State = Literal["ok", "bad", "off"]


@dataclass(frozen=True, slots=True)
class Part:
    """A process. `off`: it does not run, and need not."""

    name: str
    address: str
    state: State
    version: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ClusterFigures:
    """A cluster as the exporter sees it; `age_seconds` is that of the newest list of guests, None if there is none."""

    name: str
    state: State
    age_seconds: float | None
    version: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Queue:
    """How many entries of a kind wait in which state."""

    name: str
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Status:
    """All of it. `warnings` are for a person to decide about; they do not make it bad."""

    parts: list[Part]
    clusters: list[ClusterFigures]
    queues: list[Queue]
    warnings: list[str]

    @property
    def ok(self) -> bool:
        """Whether everything that should run does, and every cluster's figures are fresh."""
        return "bad" not in {part.state for part in self.parts} | {cluster.state for cluster in self.clusters}

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {"ok": self.ok, "version": __version__, **asdict(self)}


def status_of(settings: Settings, *, clock: Callable[[], float] = time.time) -> Status:
    """Ask every part at once; takes a little more than ASK_SECONDS at most. Raises nothing: silence is a finding."""
    with ThreadPoolExecutor(max_workers=5 + len(settings.alertmanager_urls)) as pool:
        exporter = pool.submit(_exporter, settings)
        figures = pool.submit(_clusters, settings)
        action_api = pool.submit(_action_api, settings, clock)
        prometheus = pool.submit(_prometheus, settings)
        alertmanagers = [pool.submit(_alertmanager, address) for address in settings.alertmanager_urls]
        grafana = pool.submit(_grafana, settings)
    pages, queues = action_api.result()
    told = [alertmanager.result() for alertmanager in alertmanagers]
    parts = [exporter.result(), *pages, prometheus.result(), *(part for part, _ in told), grafana.result()]
    # The members of a cluster have one configuration, and what is wrong with it is said once.
    warnings = list(dict.fromkeys(warning for _, found in told for warning in found))
    return Status(parts, figures.result(), queues, warnings)


def _exporter(settings: Settings) -> Part:
    address = settings.exporter_url
    try:
        version = _version(f"{address}/metrics")
    except Silent as error:
        return Part("exporter", address, "bad", detail=str(error))
    return Part("exporter", address, "ok", version)


def _version(url: str) -> str:
    families = get_metrics(url, "pvewatch_build_info")
    samples = [sample for family in families for sample in family.samples]
    if not samples:
        raise Silent("is something else: the page has no pvewatch_build_info")
    return str(samples[0].labels.get("version", ""))


def _clusters(settings: Settings) -> list[ClusterFigures]:
    try:
        secret = internal_secret(settings, "inventory")
        inventory = InventoryClient(settings.exporter_url, secret, timeout=ASK_SECONDS).fetch()
    except (ConfigError, InventoryUnavailable) as error:
        return [ClusterFigures(cluster.name, "bad", None, detail=str(error)) for cluster in settings.clusters]
    rows = []
    for cluster in inventory.clusters:
        stale = cluster.age_seconds is None or cluster.age_seconds > settings.exporter.figures_expire_seconds
        seen = f"{len(cluster.nodes)} nodes, {len(cluster.guests)} guests"
        without_quorum = ", no quorum" if cluster.quorate is False else ""
        bad = bool(stale or cluster.error or without_quorum)
        rows.append(
            ClusterFigures(
                cluster.name,
                "bad" if bad else "ok",
                cluster.age_seconds,
                cluster.version or "",
                cluster.error or seen + without_quorum,
            )
        )
    return rows


def _action_api(settings: Settings, clock: Callable[[], float]) -> tuple[list[Part], list[Queue]]:
    address = settings.action_api_url
    try:
        families = get_metrics(f"{address}/metrics", "pvewatch_")
    except Silent as error:
        unknown = Part("worker", "", "bad", detail="not known: the action API tells of it")
        return [Part("action API", address, "bad", detail=str(error)), unknown], []
    build = [sample for family in families if family.name == "pvewatch_build_info" for sample in family.samples]
    ready: State = "ok"
    detail = ""
    try:
        get(f"{address}/-/ready")
    except Silent as error:
        ready, detail = "bad", f"is not ready ({error}): it cannot read the exporter or its database"
    pages = Part("action API", address, ready, build[0].labels.get("version", "") if build else "", detail)
    queues = [
        Queue(name, {sample.labels["state"]: int(sample.value) for sample in family.samples})
        for family in families
        if (name := _queue(family.name))
    ]
    seen = {
        (sample.labels["queue"], sample.labels["version"]): sample.value
        for family in families
        if family.name == "pvewatch_worker_last_seen_timestamp_seconds"
        for sample in family.samples
    }
    return [pages, *_workers(settings, seen, clock())], queues


def _queue(family: str) -> str:
    """What a family of the action API counts the waiting entries of; "" for one that does not."""
    if family == "pvewatch_incidents":
        return "incidents"
    return (
        f"{family.removeprefix('pvewatch_').removesuffix('_queue_length')}s" if family.endswith("_queue_length") else ""
    )


def _workers(settings: Settings, seen: dict[tuple[str, str], float], now: float) -> list[Part]:
    needed = any(cluster.power is not None for cluster in settings.clusters)
    if not seen:
        detail = "has never run" if needed else "has never run; without a power token there is nothing for it to do"
        return [Part("worker", "", "bad" if needed else "off", detail=detail)]
    rows = []
    for queue in sorted({queue for queue, _ in seen}):
        at, version = max((at, version) for (of, version), at in seen.items() if of == queue)
        age = max(0.0, now - at)
        bad = age > WORKER_SILENT_SECONDS
        detail = f"queue {queue}, last seen {age:.0f} s ago"
        rows.append(Part("worker", "", "bad" if bad else "ok", version, detail))
    return rows


def _prometheus(settings: Settings) -> Part:
    address = settings.prometheus_url
    try:
        version = get_json(f"{address}/api/v1/status/buildinfo")["data"]["version"]
        targets = get_json(f"{address}/api/v1/targets?state=active")["data"]["activeTargets"]
        down = sorted(
            f"{row['labels']['job']} ({row['labels']['instance']})" for row in targets if row["health"] == "down"
        )
    except Silent as error:
        return Part("Prometheus", address, "bad", detail=str(error))
    except (KeyError, TypeError):
        return Part("Prometheus", address, "bad", detail="is something else: the answer has another form")
    if down:
        return Part("Prometheus", address, "bad", version, f"cannot read {', '.join(down)}")
    return Part("Prometheus", address, "ok", version, f"reads {len(targets)} targets")


def _alertmanager(address: str) -> tuple[Part, list[str]]:
    try:
        answer = get_json(f"{address}/api/v2/status")
        version = answer["versionInfo"]["version"]
        configuration = yaml.safe_load(answer["config"]["original"])
        receiver = configuration["route"]["receiver"]
        found = next(entry for entry in configuration["receivers"] if entry["name"] == receiver)
    except Silent as error:
        return Part("Alertmanager", address, "bad", detail=str(error)), []
    except (KeyError, TypeError, StopIteration, yaml.YAMLError):
        return Part("Alertmanager", address, "bad", detail="is something else: the answer has another form"), []
    warnings = []
    if not any(key.endswith("_configs") and value for key, value in found.items()):
        warnings.append(
            f"alerts are sent to nobody: the receiver {receiver} of Alertmanager has no channel; "
            "docs/runbooks/README.md says how to give it one"
        )
    return Part("Alertmanager", address, "ok", version), warnings


def _grafana(settings: Settings) -> Part:
    address = settings.grafana_url
    try:
        health = get_json(f"{address}/api/health")
        return Part("Grafana", address, "ok", str(health.get("version", "")), f"database {health.get('database', '?')}")
    except AttributeError:
        return Part("Grafana", address, "bad", detail="is something else: the answer has another form")
    except Silent as error:
        # `pvewatch up` starts one only where it is installed; an address of its own says that there is one.
        state: State = "bad" if settings.grafana.url else "off"
        return Part("Grafana", address, state, detail=str(error))
