"""`pvewatch exporter`: start everything, wait for the signal, stop everything.

SIGHUP reads the configuration again: clusters that are configured as before go on undisturbed.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable

from exporter.enrolment_http import create_blueprint as create_enrolment
from exporter.heartbeats.store import StoreUnusable
from exporter.http import create_app
from exporter.one_core import keep as keep_on_one_core
from exporter.peer import alone
from exporter.peer.endpoint import Peer, observer
from exporter.service import Exporter
from exporter.stops import StopsUnusable
from pvewatch.config import ConfigError, Problem, Settings, internal_secret
from pvewatch.pve.grouping import group_by_asking
from pvewatch.serve import Server, serve

_log = logging.getLogger(__name__)

# How long a thread that computes keeps the others waiting. An answer passes from thread to thread several times, and
# each system call of a listener gives up its turn: with Python's 5 ms a refresh of thousands of guests would hold up
# scrapes, and heartbeats the more.
SWITCH_SECONDS = 0.0005
# When garbage is looked for, as gc.set_threshold has it; every thread stops meanwhile. Looking through all that is
# known of thousands of guests takes a third of a second, and with Python's own numbers that happens every few seconds,
# to find nothing: what is dropped here is hardly ever part of a cycle. So it is done for every hundred million objects
# made, and the newest ones are looked through in small portions.
GARBAGE_THRESHOLDS = (5_000, 2, 10_000)
_M_ARENA_MAX = -8  # glibc's malloc.h


def run(settings: Settings, load: Callable[[], Settings] | None = None) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigError and CannotListen before anything is served.

    `load` reads the configuration again when SIGHUP comes; without it that signal is ignored.
    """
    if not settings.clusters:
        alone.run(settings)
        return
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    _hold_memory_together()
    stop, reload_wanted = threading.Event(), threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    # From the first moment on: unheard, the signal would end the process.
    signal.signal(signal.SIGHUP, lambda *_: reload_wanted.set())
    keep_on_one_core(stop)
    for cluster in settings.clusters:
        if not cluster.verify_tls:
            _log.warning("%s: verify_tls is off, so whoever is on the network can take its token", cluster.name)
    inventory_secret = internal_secret(settings, "inventory", create=True)
    discovery_secret = internal_secret(settings, "discovery", create=True)
    heartbeat_secret = internal_secret(settings, "heartbeat", create=True)
    enrolment_secret = internal_secret(settings, "enrolment", create=True)
    try:
        exporter = Exporter(settings, group_by_asking(settings), heartbeat_secret)
    except (StoreUnusable, StopsUnusable) as error:
        place, _, words = str(error).partition(": ")
        message, _, remedy = words.rpartition("; ")
        raise ConfigError([Problem(place, message, remedy)]) from error
    peer = Peer(settings, os.environ, observe=observer(exporter.own))
    listeners: list[Server] = []
    try:
        own = settings.exporter
        app = create_app(exporter, inventory_secret, discovery_secret, peer)
        app.register_blueprint(create_enrolment(settings, exporter.is_watched, enrolment_secret))
        listeners.append(serve(app, own.listen))
        listeners.append(
            serve(
                exporter.heartbeat_app,
                own.heartbeat_listen,
                tls_cert=own.heartbeat_tls_cert,
                tls_key=own.heartbeat_tls_key,
                kind="asgi",
                fair=True,
            )
        )
        exporter.start()
        for listener in listeners:
            listener.start()
        if load is not None:
            # A thread of its own: asking new hosts which cluster they are takes a while, and SIGTERM must not wait.
            keep = threading.Thread(
                target=_reload_when_wanted, args=(exporter, peer, load, reload_wanted), name="reload", daemon=True
            )
            keep.start()
        _log.info(
            "exporter at http://%s:%d/metrics, heartbeats at port %d", *listeners[0].address, listeners[1].address[1]
        )
        stop.wait()
    finally:
        for listener in listeners:
            listener.stop()
        exporter.stop()
        peer.close()


def _hold_memory_together() -> None:
    """Let all threads share one heap, where the C library is glibc; to be called before there are threads.

    It gives each thread a heap of its own, and a page of many megabytes that was written by one thread after the other
    would stay behind in all of them.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def _reload_when_wanted(exporter: Exporter, peer: Peer, load: Callable[[], Settings], wanted: threading.Event) -> None:
    while True:
        wanted.wait()
        wanted.clear()
        reload(exporter, peer, load)


def reload(exporter: Exporter, peer: Peer, load: Callable[[], Settings]) -> bool:
    """Read the configuration again and watch its clusters; False, with all mistakes in the log, when it is not valid.

    Only `clusters`, the exporter's intervals and what /pve answers for take effect; the rest is that of the start.
    """
    before = exporter.settings
    try:
        settings = load()
        groups = group_by_asking(settings)
        # First what may be refused without a change to the clusters: it reads pve.yml again.
        peer.configure(before.model_copy(update={"clusters": settings.clusters}))
        exporter.reload(settings, groups)
    except ConfigError as error:
        for problem in error.problems:
            _log.error("not reloaded: %s: %s; %s", problem.place, problem.message, problem.remedy)
        exporter.own.reloaded("failed")
        return False
    own, was = settings.exporter, before.exporter
    if (own.listen, own.heartbeat_listen, settings.data_dir) != (was.listen, was.heartbeat_listen, before.data_dir):
        _log.warning("listen, heartbeat_listen and data_dir take effect at the next start")
    exporter.own.reloaded("ok")
    return True
