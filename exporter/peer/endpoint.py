"""One answer of `/pve`: which collectors, how long they may take, and what is said when some of them fail."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Summary, generate_latest

from exporter.own_metrics import OwnMetrics
from exporter.peer import families
from exporter.peer.modules import modules_of_environment, read_modules
from exporter.peer.reads import Kept, LocalReads, Reads, TooLate
from exporter.peer.targets import Allowed, Targets
from pvewatch.config import ConfigError, Problem, Settings
from pvewatch.pve.errors import PveError
from pvewatch.pve.one_host import Login, Observer, OneHost
from pvewatch.settings import PeerCollector

_log = logging.getLogger(__name__)

DEFAULT_PVE_CONFIG = Path("/etc/prometheus/pve.yml")
# Prometheus gives up after 10 s unless told otherwise, and says in a header how long it waits.
ANSWER_SECONDS = 9.0
LONGEST_ANSWER_SECONDS = 60.0
TRANSFER_SECONDS = 0.5


class NothingRead(Exception):
    """No collector succeeded; the message names the reason of each."""


@dataclass(frozen=True, slots=True)
class Collector:
    """One area of the page. `needs` are begun before any page is made, so that they run side by side."""

    name: PeerCollector
    scope: Literal["cluster", "node"]
    needs: Callable[[Reads, float], tuple[Kept, ...]]
    page: Callable[[Reads, float], bytes]


def _subscription(local: LocalReads, deadline: float) -> bytes:
    return families.subscription(local.node, local.subscription.get(deadline))


def _onboot(local: LocalReads, deadline: float) -> bytes:
    return families.onboot(local.node, local.configs.get(deadline))


# In the order of the page; those of the node come last, because their needs wait for the answer which node it is.
COLLECTORS = (
    Collector(
        "status",
        "cluster",
        lambda reads, _: (reads.status, reads.resources),
        lambda reads, end: families.up(reads.status.get(end), reads.resources.get(end)),
    ),
    Collector(
        "resources",
        "cluster",
        lambda reads, _: (reads.resources,),
        lambda reads, end: families.resources(reads.resources.get(end)),
    ),
    Collector(
        "node",
        "cluster",
        lambda reads, _: (reads.status,),
        lambda reads, end: families.nodes_info(reads.status.get(end)),
    ),
    Collector(
        "cluster",
        "cluster",
        lambda reads, _: (reads.status,),
        lambda reads, end: families.cluster_info(reads.status.get(end)),
    ),
    Collector(
        "version",
        "cluster",
        lambda reads, _: (reads.version,),
        lambda reads, end: families.version(reads.version.get(end)),
    ),
    Collector(
        "backup-info",
        "cluster",
        lambda reads, _: (reads.status, reads.not_backed_up),
        lambda reads, end: families.not_backed_up(reads.status.get(end), reads.not_backed_up.get(end)),
    ),
    Collector(
        "qdevice",
        "cluster",
        lambda reads, _: (reads.qdevice,),
        lambda reads, end: families.qdevice(reads.status.get(end), reads.qdevice.get(end)),
    ),
    Collector(
        "subscription",
        "node",
        lambda reads, end: (reads.local(end).subscription,),
        lambda reads, end: _subscription(reads.local(end), end),
    ),
    Collector(
        "config",
        "node",
        lambda reads, end: (reads.local(end).configs,),
        lambda reads, end: _onboot(reads.local(end), end),
    ),
    Collector(
        "replication",
        "node",
        lambda reads, end: (reads.local(end).replication,),
        lambda reads, end: families.replication(reads.local(end).replication.get(end)),
    ),
)


class Peer:
    """The drop-in endpoint. Any thread may ask."""

    def __init__(self, settings: Settings, env: Mapping[str, str], *, observe: Observer | None = None) -> None:
        """Read the logins. Raises ConfigError with every mistake."""
        self._observe = observe
        self._lock = threading.Lock()
        self._reads: dict[tuple[str, str, int], Reads] = {}
        self._failing: dict[tuple[tuple[str, str, int], str], bool] = {}
        self._own = CollectorRegistry()
        self._durations = Summary(
            "pve_collection_duration_seconds", "How long answers of /pve took.", ["module"], registry=self._own
        )
        self._errors = Counter(
            "pve_request_errors_total",
            "Requests to /pve of which nothing could be read.",
            ["module"],
            registry=self._own,
        )
        self._env = env
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Take over changed settings; what is kept of targets that stay is kept. Raises ConfigError."""
        targets = Targets(_modules(settings, self._env), settings.exporter.pve_targets, settings.clusters)
        with self._lock:
            # Logins may have changed: every host is asked anew.
            old, self._reads = self._reads, {}
            self._targets, self._settings = targets, settings
        for reads in old.values():
            reads.host.close()
        for module in targets.modules:
            self._durations.labels(module)
            self._errors.labels(module)

    def answer(self, target: str, module: str, *, cluster: bool, node: bool, seconds: float = ANSWER_SECONDS) -> bytes:
        """The page, within about `seconds`. Raises UnknownModule, NotAllowed, NothingRead."""
        with self._lock:
            allowed = self._targets.find(target, module)
            reads = self._reads.get(allowed.key)
            if reads is None:
                reads = self._reads[allowed.key] = self._new_reads(allowed)
            switched_on = self._settings.exporter.pve_collectors
        wanted = {"cluster": cluster, "node": node}
        chosen = [one for one in COLLECTORS if wanted[one.scope] and one.name in switched_on]
        with self._durations.labels(module).time():
            pages, failures, words = self._collect(allowed, reads, chosen, time.monotonic() + seconds)
        if chosen and None not in failures.values():
            self._errors.labels(module).inc()
            raise NothingRead(f"{reads.host.address}: nothing could be read: " + "; ".join(dict.fromkeys(words)))
        return b"".join([*pages, families.outcome(failures)])

    def metrics(self) -> bytes:
        """The endpoint's metrics about itself, for /metrics."""
        return generate_latest(self._own)

    def close(self) -> None:
        """Close the kept connections."""
        with self._lock:
            for reads in self._reads.values():
                reads.host.close()

    def _new_reads(self, allowed: Allowed) -> Reads:
        own = self._settings.exporter
        _, host, port = allowed.key
        return Reads(
            OneHost(host, port, allowed.login, observe=self._observe),
            own.pve_cache_seconds,
            own.node_interval_seconds,
            own.config_interval_seconds,
        )

    def _collect(
        self, allowed: Allowed, reads: Reads, chosen: Sequence[Collector], deadline: float
    ) -> tuple[list[bytes], dict[str, str | None], list[str]]:
        _begin(reads, chosen, deadline)
        pages: list[bytes] = []
        failures: dict[str, str | None] = {}
        words: list[str] = []
        for one in chosen:
            failures[one.name] = None
            message = ""
            try:
                pages.append(one.page(reads, deadline))
            except PveError as error:
                failures[one.name], message = error.error_class, str(error)
                error.with_traceback(None)
            except TooLate as error:
                failures[one.name], message = "unreachable", str(error)
            if message:
                words.append(message)
            self._tell(allowed, one.name, message)
        return pages, failures, words

    def _tell(self, allowed: Allowed, collector: str, message: str) -> None:
        """Log a change for the worse or better once."""
        with self._lock:
            before = self._failing.get((allowed.key, collector), False)
            self._failing[allowed.key, collector] = bool(message)
        if message and not before:
            _log.warning("/pve, %s: %s", collector, message)
        elif before and not message:
            _log.info("/pve, %s of %s: answers again", collector, allowed.key[1])


def _begin(reads: Reads, chosen: Sequence[Collector], deadline: float) -> None:
    """Begin every read that the collectors need, each once."""
    begun: set[Kept] = set()
    for one in chosen:
        try:
            needs = one.needs(reads, deadline)
        except (PveError, TooLate) as error:
            error.with_traceback(None)
            continue  # its page will say so
        for needed in needs:
            if needed not in begun:
                begun.add(needed)
                needed.begin()


def observer(own: OwnMetrics) -> Observer:
    """Counts the endpoint's requests to Proxmox VE among the others; they belong to no configured cluster."""
    return lambda _host, endpoint, outcome, seconds: own.pve_request("", endpoint, outcome, seconds)


def _modules(settings: Settings, env: Mapping[str, str]) -> dict[str, Login]:
    own = settings.exporter
    if not own.pve_targets:
        if own.pve_config is not None:
            remedy = "add exporter.pve_targets (--pve-target HOST): no other host is sent a secret"
            raise ConfigError([Problem(str(own.pve_config), "is given, but no host that may be asked", remedy)])
        return {}
    from_environment = modules_of_environment(env)
    if from_environment is not None:
        return from_environment
    path = own.pve_config or DEFAULT_PVE_CONFIG
    if own.pve_config is None and not path.is_file():
        remedy = "give the file with exporter.pve_config (--pve-config FILE), or set PVE_USER and its companions"
        raise ConfigError([Problem("exporter.pve_targets", "is given, but no login", remedy)])
    return read_modules(path)
