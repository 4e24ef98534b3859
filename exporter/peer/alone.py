"""`pvewatch exporter` without a cluster of its own: /pve and nothing else, as prometheus-pve-exporter runs.

No poller, no heartbeats, no file is written.
"""

from __future__ import annotations

import logging
import os
import signal
import threading

from flask import Flask, Response

from exporter.exposition import CONTENT_TYPE
from exporter.own_metrics import OwnMetrics
from exporter.peer.endpoint import Peer, observer
from exporter.peer.routes import peer_routes
from pvewatch.config import Settings
from pvewatch.serve import serve

_log = logging.getLogger(__name__)

_LANDING = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>pvewatch exporter</title>
<h1>pvewatch exporter</h1>
<p><a href="/pve?target=">/pve?target=HOST</a> answers as prometheus-pve-exporter does, for the hosts that are allowed.
<a href="/metrics">/metrics</a> is about this process.</p>
</html>
"""


def create_app(peer: Peer, own: OwnMetrics) -> Flask:
    """The WSGI application over an endpoint."""
    app = Flask(__name__, static_folder=None)
    app.register_blueprint(peer_routes(peer))

    @app.after_request
    def finish(response: Response) -> Response:
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Content-Security-Policy"] = "default-src 'none'"
        return response

    @app.get("/")
    def landing() -> str:
        return _LANDING

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(own.text() + peer.metrics(), content_type=CONTENT_TYPE)

    @app.get("/-/healthy")
    @app.get("/-/ready")
    def healthy() -> Response:
        return Response("healthy\n", content_type="text/plain; charset=utf-8")

    return app


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigError and CannotListen before anything is served."""
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    # What it answers for is read at the start only; unheard, the signal of a reload would end the process.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    own = OwnMetrics()
    peer = Peer(settings, os.environ, observe=observer(own))
    listener = serve(create_app(peer, own), settings.exporter.listen)
    try:
        listener.start()
        _log.info("exporter at http://%s:%d/pve?target=%s", *listener.address, settings.exporter.pve_targets[0])
        stop.wait()
    finally:
        listener.stop()
        peer.close()
