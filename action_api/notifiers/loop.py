"""The worker of the queue `notifications`: claims stored messages, sends them, tries again later, gives up at last.

One message of a channel is under way at a time, so that the order is kept and a slow service delays nobody else.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from pydantic import ValidationError

from action_api.notifiers.delivery import SEND_SECONDS, NotDelivered, deliver
from action_api.notifiers.wording import words
from action_api.schemas.alertmanager import Notification
from action_api.store import Delivery, Store, StoreUnavailable, open_store
from pvewatch import __version__
from pvewatch.config import ConfigError, Problem, Settings
from pvewatch.settings_channels import Channel

MAX_AT_ONCE = 8
MAX_ATTEMPTS = 12
FIRST_WAIT_SECONDS = 10.0
LONGEST_WAIT_SECONDS = 900.0
"""10 s, 20 s, 40 s … 15 minutes: the twelve attempts span about an hour and a half."""
PAUSE_SECONDS = 1.0
"""Between two messages of one channel; the services' own limits are about one a second."""
LEASE_SECONDS = 2 * SEND_SECONDS + 30
TICK_SECONDS = 0.5
STOP_SECONDS = 3.0
HOUSEKEEPING_SECONDS = 10.0
KEEP_SECONDS = 30 * 86_400.0

_log = logging.getLogger(__name__)


def wait_before(attempt: int) -> float | None:
    """Seconds until the next attempt when `attempt` (from 1) has failed; None: it was the last."""
    return None if attempt >= MAX_ATTEMPTS else min(FIRST_WAIT_SECONDS * 2.0 ** (attempt - 1), LONGEST_WAIT_SECONDS)


class NotificationWorker:
    """Delivers what the relay has accepted. Needs the channels' secrets and the database, and no token of PVE."""

    def __init__(self, settings: Settings, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self.name = f"{socket.gethostname()}/{os.getpid()}/notifications"
        self._settings = settings
        self._store = store
        self._clock = clock
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._busy: dict[str, float | None] = {}
        self._threads = ThreadPoolExecutor(MAX_AT_ONCE, thread_name_prefix="send")

    def stop(self) -> None:
        """Let `run` end. Any thread or signal handler may call it."""
        self._stopping.set()

    def run(self) -> None:
        """Work until `stop`."""
        _log.info("worker %s delivers notifications", self.name)
        next_housekeeping = 0.0
        while not self._stopping.is_set():
            claimed = False
            try:
                claimed = self._claim()
                if self._clock() >= next_housekeeping:
                    self._housekeeping()
                    next_housekeeping = self._clock() + HOUSEKEEPING_SECONDS
            except StoreUnavailable as error:
                _log.error("%s", error)
            if not claimed:
                self._stopping.wait(TICK_SECONDS)
        self._end()

    def _housekeeping(self) -> None:
        self._store.counters.keep("worker_last_seen", int(self._clock()), queue="notifications", version=__version__)
        self._store.deliveries.remove_sent_older(self._clock() - KEEP_SECONDS)

    def _claim(self) -> bool:
        now = self._clock()
        with self._lock:
            self._busy = {channel: until for channel, until in self._busy.items() if until is None or until > now}
            if len(self._busy) >= MAX_AT_ONCE:
                return False
            busy = tuple(self._busy)
        delivery = self._store.deliveries.claim_due(self.name, now=now, lease_seconds=LEASE_SECONDS, busy=busy)
        if delivery is None:
            return False
        with self._lock:
            self._busy[delivery.channel] = None
        self._threads.submit(self._send, delivery).add_done_callback(lambda done: self._sent(delivery, done))
        return True

    def _send(self, delivery: Delivery) -> None:
        try:
            message = Notification.model_validate_json(delivery.message)
            deliver(self._channel(delivery), words(message, perhaps_repeated=delivery.interrupted))
        except (NotDelivered, ValidationError, ValueError) as error:
            wait = wait_before(delivery.attempts)
            again = None if wait is None else self._clock() + wait
            self._store.deliveries.failed(delivery, str(error), now=self._clock(), next_at=again)
            what = "given up, `pvewatch notify retry` tries again" if wait is None else f"again in {wait:.0f} s"
            _log.warning("message %d for channel %s: %s; %s", delivery.id, delivery.channel, error, what)
        else:
            self._store.deliveries.sent(delivery, now=self._clock())
            _log.info("message %d for channel %s is delivered", delivery.id, delivery.channel)

    def _channel(self, delivery: Delivery) -> Channel:
        channel = self._settings.channel(delivery.channel)
        if channel is None:
            raise NotDelivered(f"channel {delivery.channel} is no longer configured")
        return channel

    def _sent(self, delivery: Delivery, done: Future[None]) -> None:
        with self._lock:
            self._busy[delivery.channel] = self._clock() + PAUSE_SECONDS
        error = None if done.cancelled() else done.exception()
        if error is not None:  # its lease lapses, and it is taken up again
            _log.error("message %d for channel %s is left as it is", delivery.id, delivery.channel, exc_info=error)

    def _end(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline and any(until is None for until in self._busy.values()):
            time.sleep(0.02)
        try:
            self._store.deliveries.put_back(self.name, now=self._clock())
        except StoreUnavailable as error:
            _log.error("messages under way could not be put back, the next worker waits for their lease: %s", error)
        _log.info("worker %s has stopped", self.name)


def run(settings: Settings) -> None:
    """Deliver until SIGTERM or SIGINT, then stop within 5 s. Raises ConfigError when the database cannot be opened."""
    try:
        store = open_store(settings.database_url)
    except StoreUnavailable as error:
        remedy = "start the database, or mend action_api.database_url"
        raise ConfigError([Problem("action_api.database_url", str(error), remedy)]) from error
    worker = NotificationWorker(settings, store)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    worker.run()
    # A thread may still wait for a service, up to SEND_SECONDS, and Python would wait for it at exit.
    logging.shutdown()
    os._exit(0)
