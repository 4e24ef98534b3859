"""`pvewatch exporter`: start everything, wait for the signal, stop everything."""

from __future__ import annotations

import logging
import signal
import threading

from exporter.heartbeats.store import StoreUnusable
from exporter.http import create_app
from exporter.service import Exporter
from exporter.stops import StopsUnusable
from pvewatch.config import ConfigError, Problem, Settings, internal_secret
from pvewatch.pve.grouping import group_by_asking
from pvewatch.serve import Server, serve

_log = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigError and CannotListen before anything is served."""
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    for cluster in settings.clusters:
        if not cluster.verify_tls:
            _log.warning("%s: verify_tls is off, so whoever is on the network can take its token", cluster.name)
    inventory_secret = internal_secret(settings, "inventory", create=True)
    discovery_secret = internal_secret(settings, "discovery", create=True)
    heartbeat_secret = internal_secret(settings, "heartbeat", create=True)
    try:
        exporter = Exporter(settings, group_by_asking(settings), heartbeat_secret)
    except (StoreUnusable, StopsUnusable) as error:
        place, _, words = str(error).partition(": ")
        message, _, remedy = words.rpartition("; ")
        raise ConfigError([Problem(place, message, remedy)]) from error
    listeners: list[Server] = []
    try:
        own = settings.exporter
        listeners.append(serve(create_app(exporter, inventory_secret, discovery_secret), own.listen))
        listeners.append(
            serve(
                exporter.heartbeat_app,
                own.heartbeat_listen,
                tls_cert=own.heartbeat_tls_cert,
                tls_key=own.heartbeat_tls_key,
                kind="asgi",
            )
        )
        exporter.start()
        for listener in listeners:
            listener.start()
        _log.info(
            "exporter at http://%s:%d/metrics, heartbeats at port %d", *listeners[0].address, listeners[1].address[1]
        )
        stop.wait()
    finally:
        for listener in listeners:
            listener.stop()
        exporter.stop()
