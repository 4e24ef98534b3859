"""The worker's loop: claim what waits, look at incidents that are due, keep the claims, stop in good order."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from action_api.store import ActionRun, Incident, Store, StoreUnavailable
from action_api.worker.clusters import Clusters
from action_api.worker.evidence import Evidence
from action_api.worker.execution import Executor
from action_api.worker.recovery import Recovery
from action_api.worker.timing import Timing
from pvewatch import __version__
from pvewatch.config import ConfigError, Secret, Settings

_log = logging.getLogger(__name__)

MAX_RUNS_AT_ONCE = 8
MAX_LOOKS_AT_ONCE = 4
STOP_SECONDS = 3.5
DAY_SECONDS = 86400.0
KEEP_EVENTS_DAYS = 90
KEEP_AUDIT_DAYS = 730
KEEP_FAILURES_DAYS = 7


class Worker:
    """One worker. Several may run on the same database: a claim is theirs alone."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        inventory_secret: Secret,
        *,
        timing: Timing | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = f"{socket.gethostname()[:80]}:{os.getpid()}:{secrets.token_hex(4)}"
        self._store = store
        self._timing = timing = timing or Timing()
        self._clock = clock
        self._stopping = threading.Event()
        self._clusters = Clusters(settings)
        self._evidence = Evidence(settings, self._clusters, store, inventory_secret, timing)
        rules = settings.automation
        self._executor = Executor(
            store,
            self._clusters,
            self._evidence,
            rules,
            worker=self.name,
            timing=timing,
            stopping=self._stopping,
            clock=clock,
        )
        self._recovery = Recovery(
            store, self._evidence, rules, self._start_decided, worker=self.name, timing=timing, clock=clock
        )
        self._run_threads = ThreadPoolExecutor(MAX_RUNS_AT_ONCE, thread_name_prefix="run")
        self._look_threads = ThreadPoolExecutor(MAX_LOOKS_AT_ONCE, thread_name_prefix="look")
        self._lock = threading.Lock()
        self._active: dict[int, ActionRun] = {}
        self._looking: set[int] = set()

    def stop(self) -> None:
        """Ask the loop to end; safe from a signal handler or another thread."""
        self._stopping.set()

    def run(self) -> bool:
        """Work until stop(). True when every thread has ended, False when some are still waiting for an answer."""
        _log.info(
            "worker %s serves %s", self.name, ", ".join(self._clusters.names) or "no cluster: none has a power token"
        )
        keeper = threading.Thread(target=self._keep_claims, name="keeper", daemon=True)
        keeper.start()
        next_housekeeping = next_refresh = 0.0
        while not self._stopping.is_set():
            busy = False
            try:
                busy = self._claim_run() or self._claim_look()
                if self._clock() >= next_refresh:
                    self._refresh()
                    next_refresh = self._clock() + self._timing.refresh
                if self._clock() >= next_housekeeping:
                    self._housekeeping()
                    next_housekeeping = self._clock() + self._timing.housekeeping
            except StoreUnavailable as error:
                _log.error("%s", error)
                self._stopping.wait(1.0)
            if not busy:
                self._stopping.wait(self._timing.tick)
        return self._end()

    def _claim_run(self) -> bool:
        with self._lock:
            if len(self._active) >= MAX_RUNS_AT_ONCE:
                return False
        run = self._store.runs.claim_next(self.name, now=self._clock(), lease_seconds=self._timing.lease)
        if run is None:
            return False
        with self._lock:
            already = run.id in self._active
        if already:  # its lease ran out while this very worker holds it: the claim has renewed it, no more
            _log.warning("run %d was not renewed in time; this machine is overloaded or its clock has jumped", run.id)
        else:
            self._start(run, None)
        return True

    def _claim_look(self) -> bool:
        with self._lock:
            if len(self._looking) >= MAX_LOOKS_AT_ONCE:
                return False
        # The lease covers a look with all its time-outs; after it another worker may look.
        incident = self._store.incidents.claim_due(now=self._clock(), lease_seconds=self._timing.lease)
        if incident is None:
            return False
        with self._lock:
            self._looking.add(incident.id)
        future = self._look_threads.submit(self._recovery.look, incident)
        future.add_done_callback(lambda done: self._look_ended(incident, done))
        return True

    def _start_decided(self, run: ActionRun, node: str) -> None:
        self._start(run, node)

    def _start(self, run: ActionRun, node: str | None) -> None:
        with self._lock:
            self._active[run.id] = run
        try:
            future = self._run_threads.submit(self._executor.carry_out, run, decided_on_node=node)
        except RuntimeError:  # the pool takes nothing new: the worker is stopping, and gives the run back
            return
        future.add_done_callback(lambda done: self._run_ended(run, done))

    def _run_ended(self, run: ActionRun, done: Future[None]) -> None:
        with self._lock:
            self._active.pop(run.id, None)
        error = None if done.cancelled() else done.exception()
        if isinstance(error, StoreUnavailable):
            _log.error("run %d is left as it is: %s", run.id, error)
        elif error is not None:
            _log.error("run %d failed in an unforeseen way", run.id, exc_info=error)
            self._executor.give_up(run)

    def _look_ended(self, incident: Incident, done: Future[None]) -> None:
        with self._lock:
            self._looking.discard(incident.id)
        error = None if done.cancelled() else done.exception()
        if error is not None:  # its claim has moved the next look ahead, so it cannot stop the loop
            _log.error("the look at incident %d failed", incident.id, exc_info=error)

    def _keep_claims(self) -> None:
        while True:
            with self._lock:
                held = tuple(self._active)
            try:
                self._store.runs.renew(self.name, held, now=self._clock(), lease_seconds=self._timing.lease)
                self._store.counters.keep("worker_last_seen", int(self._clock()), queue="actions", version=__version__)
            except StoreUnavailable as error:
                _log.error("claims could not be renewed: %s", error)
            if self._stopping.wait(self._timing.lease / 4):
                return

    def _refresh(self) -> None:
        try:
            self._clusters.refresh()
        except ConfigError as error:
            _log.error("the clusters stay as they were: %s", error)

    def _housekeeping(self) -> None:
        now = self._clock()
        self._store.sessions.remove_expired(now=now)
        self._store.runs.remove_events_older(now - KEEP_EVENTS_DAYS * DAY_SECONDS)
        self._store.audit.remove_older(now - KEEP_AUDIT_DAYS * DAY_SECONDS)
        self._store.login_failures.remove_older(now - KEEP_FAILURES_DAYS * DAY_SECONDS)

    def _end(self) -> bool:
        """Let threads see the stop, then give back what is held, so that the next worker need not wait for a lease."""
        self._run_threads.shutdown(wait=False, cancel_futures=True)
        self._look_threads.shutdown(wait=False, cancel_futures=True)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline and (self._active or self._looking):
            time.sleep(0.02)
        ended = not (self._active or self._looking)
        try:
            self._store.runs.release(self.name, now=self._clock())
        except StoreUnavailable as error:
            _log.error("claims could not be given back, the next worker waits for their lease: %s", error)
        self._evidence.close()
        self._clusters.close()
        _log.info("worker %s has stopped", self.name)
        return ended
