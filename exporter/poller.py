"""Background refresh: one thread for each cluster, and a small pool for the calls that go to single nodes.

The poller owns what collectors must not care about: when they run, how long it took, what is logged, which class an
error has, and that one failing node or cluster delays no other. A failure is kept as an answer: once a cluster cannot
be reached, the collectors after it in that round are told so instead of waiting for the same time-out again.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence

from exporter.collectors.definition import Collector, Incomplete, NothingHere, Request
from exporter.frozen_figures import FrozenSince
from exporter.snapshot import Failure, Snapshot
from exporter.stops import StopStore
from pvewatch.config import Cluster, ExporterSettings
from pvewatch.logging import about
from pvewatch.pve.client import PveClient
from pvewatch.pve.errors import AuthFailed, PveError, Unreachable

_log = logging.getLogger(__name__)

NODE_THREADS = 16
NODE_QUEUE = 512
MAX_PAUSE_SECONDS = 300.0
# What a mistake in a collector, or a full disk below its store, can raise: it is told as an error of that collector.
_OWN_FAULTS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, OSError, sqlite3.Error)


class NodePool:
    """A few daemon threads for calls to single nodes. Daemons: a call that hangs must not hold up the end."""

    def __init__(self, name: str, threads: int = NODE_THREADS) -> None:
        self._name = name
        self._limit = threads
        self._jobs: queue.Queue[Callable[[], None]] = queue.Queue(NODE_QUEUE)
        self._threads: list[threading.Thread] = []

    def submit(self, job: Callable[[], None]) -> bool:
        """Hand over a job that raises nothing; False when too many are waiting. Called by one thread only."""
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            return False
        if len(self._threads) < self._limit:
            thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return True

    def _work(self) -> None:
        while True:
            self._jobs.get()()


class ClusterPoller:
    """Keeps one cluster's snapshot fresh. `changed` is called whenever there is something new."""

    def __init__(
        self,
        cluster: Cluster,
        client: PveClient,
        snapshot: Snapshot,
        settings: ExporterSettings,
        stops: StopStore,
        collectors: Sequence[Collector],
        changed: Callable[[Snapshot], object],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.cluster = cluster
        self.snapshot = snapshot
        self._client = client
        self._settings = settings
        self._stops = stops
        self._wide = [collector for collector in collectors if collector.scope == "cluster"]
        self._per_node = [collector for collector in collectors if collector.scope == "node"]
        self._changed = changed
        self._clock = clock
        self._frozen_since: FrozenSince = {}
        self._due: dict[tuple[str, str], float] = {}
        self._failures: dict[tuple[str, str], int] = {}
        self._tried = False
        self._outage: Failure | None = None
        self._busy: set[str] = set()
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._pool = NodePool(f"nodes-{cluster.name}")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"poll-{cluster.name}", daemon=True)

    @property
    def tried(self) -> bool:
        """Whether the cluster has been asked once, with whatever outcome, and the outcome is shown."""
        return self._tried

    def start(self) -> None:
        """Begin to poll."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the threads to end; does not wait."""
        self._stop.set()
        self._client.close()

    def join(self, seconds: float) -> None:
        """Wait at most so long for the cluster's thread; a call that hangs is left behind."""
        if self._thread.ident is not None:
            self._thread.join(max(0.0, seconds))

    def poll(self) -> None:
        """One round: what is due cluster-wide now, then what is due on each node, in the pool."""
        # The first collector is the one that finds an outage over; until it is due again, the outage goes on.
        outage = None if self._is_due(self._wide[0], "") else self._outage
        for collector in self._wide:
            if self._stop.is_set():
                return
            if outage is not None:
                if collector is not self._wide[0]:
                    self._keep(collector, "", outage)
            elif self._is_due(collector, ""):
                outage = self._run_collector(collector, "")
                # At once: the next collector may take its time.
                self._changed(self.snapshot)
                self._tried = True
        self._outage = outage
        if outage is None:
            self._ask_nodes()
        else:
            for name, node in list(self.snapshot.view().readings):
                for collector in self._per_node:
                    if collector.name == name:
                        self._keep(collector, node, outage)
        self._changed(self.snapshot)

    def _run(self) -> None:
        interval = self._settings.poll_interval_seconds
        while not self._stop.is_set():
            begun = time.monotonic()
            self.poll()
            self._stop.wait(max(0.05, interval - (time.monotonic() - begun)))

    def settle(self, timeout: float) -> bool:
        """Wait until no node is being asked; False when one still is after `timeout` seconds."""
        with self._lock:
            return self._idle.wait_for(lambda: not self._busy, timeout)

    def _ask_nodes(self) -> None:
        view = self.snapshot.view()
        if view.resources is None:
            return
        self.snapshot.forget_nodes(frozenset(node.name for node in view.resources.nodes))
        for node in view.resources.nodes:
            with self._lock:
                due = [collector for collector in self._per_node if self._is_due(collector, node.name)]
                if not due or node.name in self._busy:
                    continue
                self._busy.add(node.name)
            gone = None
            if node.status == "offline":
                gone = Failure(Unreachable.error_class, f"node {node.name} is offline")

            def job(name: str = node.name, due: list[Collector] = due, gone: Failure | None = gone) -> None:
                self._ask_node(name, due, gone)

            if not self._pool.submit(job):
                with self._lock:
                    self._busy.discard(node.name)
                    self._idle.notify_all()

    def _ask_node(self, node: str, due: Sequence[Collector], outage: Failure | None) -> None:
        try:
            for collector in due:
                if outage is not None:
                    self._keep(collector, node, outage)
                else:
                    outage = self._run_collector(collector, node)
            if not self._stop.is_set():
                self._changed(self.snapshot)
        finally:
            with self._lock:
                self._busy.discard(node)
                self._idle.notify_all()

    def _is_due(self, collector: Collector, node: str) -> bool:
        # Half a poll of slack: rounds do not begin to the millisecond.
        slack = self._settings.poll_interval_seconds / 2
        return time.monotonic() + slack >= self._due.get((collector.name, node), 0.0)

    def _keep(self, collector: Collector, node: str, outage: Failure) -> None:
        """Record an outage somebody else has run into; the collector itself is tried again as soon as that is over."""
        keep = collector.keep_seconds(self._settings)
        now = self._clock()
        self.snapshot.record_failure((collector.name, node), outage, at=now, duration=0.0, keep_seconds=keep)
        with self._lock:
            self._due.pop((collector.name, node), None)

    def _run_collector(self, collector: Collector, node: str) -> Failure | None:
        """Run one collector and keep its outcome; returns an outage that the next one need not run into again."""
        with about(cluster=self.cluster.name, collector=collector.name, **({"node": node} if node else {})):
            return self._read(collector, node)

    def _read(self, collector: Collector, node: str) -> Failure | None:
        key = (collector.name, node)
        keep = collector.keep_seconds(self._settings)
        now, begun = self._clock(), time.monotonic()
        outage: Failure | None = None
        before = self.snapshot.reading(key)
        failure: Failure | None = None
        partial: object | None = None
        answer: object | None = None
        try:
            answer = collector.read(self._request(node, before.value if before else None, now))
        except NothingHere:
            pass
        except Incomplete as error:
            partial, failure = error.value, Failure(error.cause.error_class, str(error.cause))
            outage = _outage(error.cause, failure)
        except PveError as error:
            failure = Failure(error.error_class, str(error))
            outage = _outage(error, failure)
        except _OWN_FAULTS as error:
            _log.exception("collector %s of %s has a mistake", collector.name, self.cluster.name)
            failure = Failure("internal", f"{type(error).__name__} in pvewatch itself; its log has the details")
        duration = time.monotonic() - begun
        at = self._clock()
        if failure is None:
            self.snapshot.record_success(key, answer, at=at, duration=duration, keep_seconds=keep)
        elif partial is not None:
            self.snapshot.record_partial(key, partial, failure, at=at, duration=duration, keep_seconds=keep)
        else:
            self.snapshot.record_failure(key, failure, at=at, duration=duration, keep_seconds=keep)
        self._after(collector, node, failure, begun)
        return outage

    def _request(self, node: str, previous: object | None, now: float) -> Request:
        return Request(
            client=self._client,
            cluster=self.cluster,
            settings=self._settings,
            view=self.snapshot.view(),
            previous=previous,
            now=now,
            stops=self._stops,
            frozen_since=self._frozen_since,
            node=node,
            stopping=self._stop.is_set,
        )

    def _after(self, collector: Collector, node: str, failure: Failure | None, begun: float) -> None:
        """Log a change for the worse or better once, and say when to come back."""
        key = (collector.name, node)
        interval = collector.interval(self._settings)
        where = f"{self.cluster.name}/{node}" if node else self.cluster.name
        with self._lock:
            failed = self._failures.get(key, 0)
            self._failures[key] = failed + 1 if failure else 0
            due = begun + interval
            if failure and collector is not self._wide[0]:
                # What is in trouble is asked less and less often. Not so the first collector: all wait for that one.
                pause = min(interval * 2 ** min(failed, 10), max(interval, MAX_PAUSE_SECONDS))
                due = time.monotonic() + pause
            self._due[key] = due
        if failure and not failed:
            _log.warning("%s of %s: %s", collector.name, where, failure.message)
        elif failed and not failure:
            _log.info("%s of %s: answers again after %d failures", collector.name, where, failed)


def _outage(error: PveError, failure: Failure) -> Failure | None:
    """The failure when every further call would end the same way, only later."""
    return failure if isinstance(error, Unreachable | AuthFailed) else None
