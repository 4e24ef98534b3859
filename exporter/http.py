"""The exporter's routes. No metric is named here: the page comes whole from the service.

GET /                     a page with links              GET /api/v1/inventory   JSON, bearer token
GET /metrics              text format 0.0.4              GET /-/healthy /-/ready
GET /api/v1/inventory/<cluster>/<kind>/<vmid>            one guest in full, same token

The route that gives out agents' tokens is apart, in enrolment_http.py.
"""

from __future__ import annotations

import hmac
import html
import time
from typing import Any

from flask import Flask, Response, g, jsonify, request
from werkzeug.exceptions import HTTPException

from exporter.exposition import CONTENT_TYPE
from exporter.guest_detail import ReaderBusy
from exporter.peer.endpoint import Peer
from exporter.peer.routes import peer_routes
from exporter.service import Exporter
from pvewatch import __version__
from pvewatch.config import Secret
from pvewatch.inventory import INVENTORY_PATH, GuestKind

MAX_BODY_BYTES = 16 * 1024

_LANDING = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>pvewatch exporter</title>
<style>
  :root {{ color-scheme: light dark; }}
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem; }}
  table {{ border-collapse: collapse; width: 100%; }}
  th, td {{ text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8884; }}
  .bad {{ color: #c0392b; }}
</style>
<h1>pvewatch exporter</h1>
<p>Reads Proxmox VE and receives heartbeats. Version {version}.</p>
<ul>
  <li><a href="/metrics">/metrics</a>: what Prometheus scrapes</li>
  <li><a href="{inventory}">{inventory}</a>: all that is known, as JSON (with a token)</li>
  <li><a href="/-/healthy">/-/healthy</a> and <a href="/-/ready">/-/ready</a></li>
</ul>
<table>
<thead><tr><th>Cluster<th>Guests<th>Nodes<th>State</thead>
<tbody>{rows}</tbody>
</table>
</html>
"""


def create_app(exporter: Exporter, inventory_secret: Secret, peer: Peer | None = None) -> Flask:
    """The WSGI application over a running exporter; with `peer` it answers /pve as well."""
    app = Flask(__name__, static_folder=None)
    if peer is not None:
        app.register_blueprint(peer_routes(peer))
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES

    @app.before_request
    def begin() -> None:
        g.begun = time.monotonic()

    @app.after_request
    def finish(response: Response) -> Response:
        # The rule that matched, never the path: anybody can ask for any path.
        route = request.url_rule.rule if request.url_rule else "other"
        exporter.own.http_request(route, response.status_code, time.monotonic() - g.begun)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
        return response

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> tuple[Response, int]:
        status = error.code or 500
        code = (error.name or "error").lower().replace(" ", "_")
        return error_answer(status, code, error.description or error.name)

    @app.errorhandler(500)
    def failed(_error: Any) -> tuple[Response, int]:
        return error_answer(500, "internal_server_error", "the exporter made a mistake; its log has the details")

    @app.get("/")
    def landing() -> str:
        return _LANDING.format(version=html.escape(__version__), inventory=INVENTORY_PATH, rows=_rows(exporter))

    @app.get("/metrics")
    def metrics() -> Response:
        # In pieces: put together, and once more in each layer below, a page of 20 MB would be there four times.
        pieces = [*exporter.metrics_pieces(), *([peer.metrics()] if peer is not None else [])]
        return Response(pieces, content_type=CONTENT_TYPE, headers={"Content-Length": str(sum(map(len, pieces)))})

    def refuse_strangers() -> tuple[Response, int] | None:
        if bears(request.headers.get("Authorization", ""), inventory_secret):
            return None
        refusal, status = error_answer(
            401, "unauthorized", "send Authorization: Bearer with the secret in <data_dir>/secrets/inventory"
        )
        refusal.headers["WWW-Authenticate"] = "Bearer"
        return refusal, status

    @app.get(INVENTORY_PATH)
    def inventory() -> Response | tuple[Response, int]:
        if refusal := refuse_strangers():
            return refusal
        return Response(exporter.inventory().model_dump_json(), content_type="application/json")

    @app.get(f"{INVENTORY_PATH}/<cluster>/<any(qemu, lxc):kind>/<int:vmid>")
    def guest(cluster: str, kind: GuestKind, vmid: int) -> Response | tuple[Response, int]:
        if refusal := refuse_strangers():
            return refusal
        try:
            found = exporter.guest_detail(cluster, kind, vmid)
        except ReaderBusy:
            answer, status = error_answer(503, "busy", "several guests are being read already; ask again in a moment")
            answer.headers["Retry-After"] = "2"
            return answer, status
        if found is None:
            return error_answer(404, "not_found", f"the newest figures of cluster {cluster!r} have no {kind}/{vmid}")
        return Response(found.model_dump_json(), content_type="application/json")

    @app.get("/-/healthy")
    def healthy() -> Response:
        return Response("healthy\n", content_type="text/plain; charset=utf-8")

    @app.get("/-/ready")
    def ready() -> Response | tuple[Response, int]:
        untried = exporter.untried
        if untried:
            return error_answer(503, "not_ready", "not every cluster has been asked once yet", {"untried": untried})
        return Response("ready\n", content_type="text/plain; charset=utf-8")

    return app


def error_answer(status: int, code: str, message: str, detail: object = None) -> tuple[Response, int]:
    """The one shape of every error."""
    return jsonify({"error": {"code": code, "message": message, "detail": detail}}), status


def bears(header: str, secret: Secret) -> bool:
    """Whether an Authorization header carries this secret as its bearer token."""
    scheme, _, presented = header.partition(" ")
    # Compared as bytes: compare_digest refuses texts that are not ASCII.
    known = hmac.compare_digest(presented.strip().encode(), secret.reveal().encode())
    return scheme.lower() == "bearer" and known


def _rows(exporter: Exporter) -> str:
    rows = []
    for entry in exporter.inventory().clusters:
        # Why it failed names hosts and paths; that is for the log and the inventory, not for everybody.
        state = '<td class="bad">cannot be read; see pve_collector_error' if entry.error else "<td>read"
        rows.append(f"<tr><td>{html.escape(entry.name)}<td>{len(entry.guests)}<td>{len(entry.nodes)}{state}")
    return "".join(rows)
