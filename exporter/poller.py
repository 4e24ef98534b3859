"""Background refresh: for each cluster one thread that says what is due, and a few that ask.

The poller owns what collectors must not care about: when they run, how long it took, what is logged, which class an
error has, and that what fails or hangs delays nothing else. A failure is kept as an answer: once a cluster or a node
cannot be reached, the collectors after it are told so instead of waiting for the same time-out again.

A collector declares its interval, no more. What runs seldom is spread over its interval, so that a cluster is not asked
everything at once; how fast nodes are asked altogether is bounded (`Pace`).
"""

from __future__ import annotations

import logging
import threading
import time
import zlib
from collections.abc import Callable, Sequence

from exporter.collectors.definition import Collector, Incomplete, NothingHere, Request
from exporter.frozen_figures import FrozenSince
from exporter.jobs import JobPool
from exporter.snapshot import Failure, Snapshot
from exporter.stops import StopStore
from pvewatch.config import Cluster, ExporterSettings
from pvewatch.logging import about
from pvewatch.pve.client import PveClient
from pvewatch.pve.errors import AuthFailed, PveError, Unreachable

_log = logging.getLogger(__name__)

THREADS = 16
MAX_PAUSE_SECONDS = 300.0
# A node that hangs costs one thread for a while: it may be looked at more often than what is refused.
MAX_PAUSE_UNREACHABLE_SECONDS = 60.0
# Cluster-wide collectors run one after the other, because each looks at what those before it found; but all of a
# round's waiting together takes no longer than this.
PATIENCE_SECONDS = 5.0
# Whoever took longer than this waits with the slow ones next time.
SLOW_SECONDS = 2.0
# How soon an answer is on the page: at the next look when nothing more is being asked, else after so long. Each time
# the families of all nodes' guests are written again, whichever node has answered.
LOOK_SECONDS = 0.5
SHOW_SECONDS = 5.0
# From one node to the next: what is worked out for each of many would else hold up those who want an answer of us.
SPREAD_SECONDS = 0.01


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
        ran: Callable[[str, str], object] = lambda _collector, _outcome: None,
        stopped: threading.Event | None = None,
    ) -> None:
        """`ran(collector, outcome)` is called after each run; the outcome is "ok" or the error's class.

        `stopped` is set when the poller is to end, for whoever waits elsewhere.
        """
        self.cluster = cluster
        self.snapshot = snapshot
        self._client = client
        self._settings = settings
        self._stops = stops
        self._wide = [collector for collector in collectors if collector.scope == "cluster"]
        self._per_node = [collector for collector in collectors if collector.scope == "node"]
        self._changed = changed
        self._clock = clock
        self._ran = ran
        self._frozen_since: FrozenSince = {}
        self._due: dict[tuple[str, str], float] = {}
        self._failures: dict[tuple[str, str], int] = {}
        self._tried = False
        self._outage: Failure | None = None
        self._node_outages: dict[str, tuple[Failure, float]] = {}
        self._busy: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._answered = threading.Event()
        self._shown = 0.0
        self._showing = threading.Lock()
        self._pool = JobPool(f"ask-{cluster.name}", THREADS)
        self._stop = stopped or threading.Event()
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
        self._pool.end()
        self._client.close()

    def join(self, seconds: float) -> None:
        """Wait at most so long for what is being asked; a call that hangs is left behind."""
        deadline = time.monotonic() + max(0.0, seconds)
        if self._thread.ident is not None:
            self._thread.join(max(0.0, seconds))
        self.settle(max(0.0, deadline - time.monotonic()))

    def poll(self) -> None:
        """One round: what is due cluster-wide, then what is due on each node.

        Returns while nodes are still being asked, and while a cluster-wide call that hangs still does.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        # The first collector is the one that finds an outage over; until it is due again, the outage goes on. As long
        # as nothing was found, or nothing can be reached, there is no point in asking the others before it has ended.
        first, *others = self._wide
        self._ask([first], "", None if not self._tried or self._outage is not None else deadline)
        outage = self._outage
        for collector in others:
            if self._stop.is_set():
                return
            if outage is None:
                self._ask([collector], "", deadline)
            elif not self._is_busy(collector, ""):
                self._keep(collector, "", outage)
        if outage is None:
            self._ask_nodes()
        else:
            for name, node in list(self.snapshot.view().readings):
                for collector in self._per_node:
                    if collector.name == name and not self._is_busy(collector, node):
                        self._keep(collector, node, outage)
        self._show()

    def _run(self) -> None:
        interval = self._settings.poll_interval_seconds
        while not self._stop.is_set():
            due = time.monotonic() + interval
            self.poll()
            while not self._stop.wait(max(0.05, min(LOOK_SECONDS, due - time.monotonic()))):
                with self._lock:
                    asking = bool(self._busy)
                if self._answered.is_set() and (not asking or time.monotonic() - self._shown >= SHOW_SECONDS):
                    self._show()
                if time.monotonic() >= due:
                    break

    def _put_on_page(self) -> None:
        # One after the other: the second finds written what both would have written.
        with self._showing:
            try:
                self._changed(self.snapshot)
            except Exception:  # noqa: BLE001 - our mistake: one answer that cannot be shown must not end the polling
                _log.exception("a mistake in pvewatch: figures of %s could not be shown", self.cluster.name)

    def _show(self) -> None:
        self._answered.clear()
        self._shown = time.monotonic()
        self._put_on_page()

    def settle(self, timeout: float) -> bool:
        """Wait until nothing is being asked; False when something still is after `timeout` seconds."""
        with self._lock:
            settled = self._idle.wait_for(lambda: not self._busy, timeout)
        if self._answered.is_set():
            self._show()
        return settled

    def _ask_nodes(self) -> None:
        view = self.snapshot.view()
        if view.resources is None:
            return
        present = frozenset(node.name for node in view.resources.nodes)
        self.snapshot.forget_nodes(present)
        with self._lock:
            for key in [key for key in self._due if key[1] and key[1] not in present]:
                self._due.pop(key)
                self._failures.pop(key, None)
            for name in self._node_outages.keys() - present:
                del self._node_outages[name]
        for node in view.resources.nodes:
            quick: list[Collector] = []
            slow: list[Collector] = []
            gone = self._node_outage(node.name, offline=node.status == "offline")
            for collector in self._per_node:
                if gone is None:
                    (slow if self._is_slow(collector, node.name) else quick).append(collector)
                elif self._is_due(collector, node.name) and not self._is_busy(collector, node.name):
                    self._keep(collector, node.name, gone)
            now = time.monotonic()
            asked = self._ask(quick, node.name, now)
            asked |= self._ask(slow, node.name, now, slow=True)
            if asked and self._stop.wait(SPREAD_SECONDS):
                return

    def _node_outage(self, node: str, *, offline: bool) -> Failure | None:
        if offline:
            return Failure(Unreachable.error_class, f"node {node} is offline")
        with self._lock:
            failure, until = self._node_outages.get(node, (None, 0.0))
        slack = self._settings.poll_interval_seconds / 2
        return failure if time.monotonic() + slack < until else None

    def _ask(self, collectors: Sequence[Collector], node: str, deadline: float | None, *, slow: bool = False) -> bool:
        """Let a thread run those that are due, one after the other; wait for it until `deadline` (monotonic).

        False when none was due.
        """
        with self._lock:
            due = [
                collector
                for collector in collectors
                if (collector.name, node) not in self._busy and self._is_due(collector, node)
            ]
            self._busy.update((collector.name, node) for collector in due)
        if not due:
            return False
        done = threading.Event()
        # Each cluster-wide collector is a group of its own: one that hangs must not keep the next from a thread.
        if not self._pool.submit(node or f"/{due[0].name}", lambda: self._work(due, node, done), slow=slow):
            self._free(due, node)
            return True
        while not done.is_set() and not self._stop.is_set():
            left = 0.2 if deadline is None else min(0.2, deadline - time.monotonic())
            if left <= 0:
                break
            done.wait(left)
        return True

    def _work(self, due: Sequence[Collector], node: str, done: threading.Event) -> None:
        outage: Failure | None = None
        try:
            for collector in due:
                if self._stop.is_set():
                    return
                if outage is not None:
                    self._keep(collector, node, outage)
                else:
                    outage = self._run_collector(collector, node)
            if due[0] is not self._wide[0] and self._thread.is_alive():
                # Many answer in a moment: their figures are put on the page together.
                self._answered.set()
            elif not self._stop.is_set():
                self._put_on_page()
            if due[0] is self._wide[0]:
                self._outage = outage
                self._tried = True
        finally:
            done.set()
            self._free(due, node)

    def _free(self, due: Sequence[Collector], node: str) -> None:
        with self._lock:
            self._busy.difference_update((collector.name, node) for collector in due)
            self._idle.notify_all()

    def _is_busy(self, collector: Collector, node: str) -> bool:
        with self._lock:
            return (collector.name, node) in self._busy

    def _is_slow(self, collector: Collector, node: str) -> bool:
        """Whether it runs seldom, or took its time when it last ran (or hung)."""
        before = self.snapshot.reading((collector.name, node))
        took = before.duration_seconds if before is not None else 0.0
        return took > SLOW_SECONDS or not self._is_regular(collector)

    def _is_regular(self, collector: Collector) -> bool:
        return collector.interval(self._settings) <= self._settings.node_interval_seconds

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
        except Exception as error:  # noqa: BLE001 - our mistake, or a full disk: told as an error of that collector
            if self._stop.is_set():
                return None  # The stores are closed already.
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
        # Where part of an answer came, the node is there.
        self._after(collector, node, failure, outage if partial is None else None, begun)
        self._ran(collector.name, failure.error_class if failure else "ok")
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

    def _after(
        self, collector: Collector, node: str, failure: Failure | None, outage: Failure | None, begun: float
    ) -> None:
        """Log a change for the worse or better once, and say when to come back."""
        key = (collector.name, node)
        where = f"{self.cluster.name}/{node}" if node else self.cluster.name
        with self._lock:
            failed = self._failures.get(key, 0)
            self._failures[key] = failed + 1 if failure else 0
            due = begun + self._interval(collector, node)
            if failure and collector is not self._wide[0]:
                # Not so the first collector: all wait for that one.
                due = time.monotonic() + pause(collector.interval(self._settings), failed, outage=outage is not None)
            self._due[key] = due
            if node and outage is None:
                self._node_outages.pop(node, None)
            elif node and outage is not None and self._is_regular(collector):
                # Of all that is asked of a node one runs into its time-out, not each in its turn. What runs seldom asks
                # for more than a node's own figures, and speaks for itself: a disk that hangs is no node that is gone.
                self._node_outages[node] = (outage, min(due, time.monotonic() + MAX_PAUSE_UNREACHABLE_SECONDS))
        if failure and not failed:
            _log.warning("%s of %s: %s", collector.name, where, failure.message)
        elif failed and not failure:
            _log.info("%s of %s: answers again after %d failures", collector.name, where, failed)

    def _interval(self, collector: Collector, node: str) -> float:
        """Seconds from the run that has just ended to the next one.

        What runs seldom comes back earlier after its first time, each node at a moment of its own: from then on such
        calls are spread over the interval.
        """
        interval = collector.interval(self._settings)
        key = (collector.name, node)
        if interval <= self._settings.node_interval_seconds or key in self._due:
            return interval
        place = zlib.crc32(f"{self.cluster.name}/{node}/{collector.name}".encode()) / 2**32
        return interval * (1 + place) / 2


def pause(interval: float, failed: int, *, outage: bool) -> float:
    """Seconds until what has failed is asked again, after `failed` failures in a row before this one.

    What is in trouble is asked less and less often. What runs seldom does not wait for its next turn at first: one disk
    that is slow to answer would else leave its node without figures for an hour.
    """
    limit = MAX_PAUSE_UNREACHABLE_SECONDS if outage else MAX_PAUSE_SECONDS
    return min(min(interval, limit) * 2.0 ** min(failed, 10), max(interval, limit))


def _outage(error: PveError, failure: Failure) -> Failure | None:
    """The failure when every further call would end the same way, only later."""
    return failure if isinstance(error, Unreachable | AuthFailed) else None
