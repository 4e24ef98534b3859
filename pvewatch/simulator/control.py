"""The control listener: plain HTTP on loopback with a bearer token, to see inside the guests and to break things.

GET /guests → [{"id", "node", "status", "alive", "boot"}]      GET /faults → the present faults
POST /faults one of these → 201:
    {"fault": "hang", "guest": "qemu/101"}                       its userland stops, the machine stays running
    {"fault": "node-offline", "node": "pve2"}                    cut off: 595, figures frozen, then unknown
    {"fault": "statistics-stopped", "node": "pve2"}              pvestatd ended: figures frozen, then unknown
    {"fault": "lock", "guest": "qemu/101", "lock": "backup"}     as while it is backed up
    {"fault": "status", "code": 403, "path": "^/nodes/pve1/"}    this answer to every path that the pattern is found in
    {"fault": "slow", "seconds": 40, "path": "^/nodes/pve1/"}    the right answer, later
    {"fault": "disk-failed", "node": "pve1"}                     so: disk-worn, pool-degraded, pool-faulted, osd-down,
                                                                 thin-metadata (nearly full)
    {"fault": "ceph-warning"}                                    so: ceph-error, ceph-silent (monitors do not answer)
DELETE /faults (all, or the one in the body) → {"removed": n}
"""

from __future__ import annotations

import hmac
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pvewatch.simulator.cluster import Cluster
from pvewatch.simulator.faults import BadFault, parse

_LARGEST_BODY = 64 * 1024
_IDLE_SECONDS = 10.0


class _Handler(BaseHTTPRequestHandler):
    timeout = _IDLE_SECONDS
    wbufsize = -1
    server: ControlServer

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        expected = f"Bearer {self.server.token}".encode()
        if not hmac.compare_digest((self.headers.get("Authorization") or "").encode("utf-8", "replace"), expected):
            self._send(
                401, {"error": "the control token is missing or wrong: it is in simulator.json as control_token"}
            )
            return
        try:
            status, answer = self._answer()
        except BadFault as error:
            status, answer = 400, {"error": str(error)}
        self._send(status, answer)

    def _answer(self) -> tuple[int, object]:
        cluster = self.server.cluster
        with cluster.lock:
            cluster.advance()
            match (self.command, self.path):
                case ("GET", "/guests"):
                    return 200, guests(cluster)
                case ("GET", "/requests"):
                    return 200, {"total": cluster.requests.total(), "by_path": dict(cluster.requests)}
                case ("GET", "/faults"):
                    return 200, cluster.faults()
                case ("POST", "/faults"):
                    fault = parse(self._body())
                    cluster.add_fault(fault)
                    return 201, fault.description()
                case ("DELETE", "/faults"):
                    described = self._body()
                    return 200, {"removed": cluster.remove_faults(None if described is None else parse(described))}
        return 404, {"error": "there are GET /guests, GET /requests, GET /faults, POST /faults and DELETE /faults"}

    def _body(self) -> object:
        length = self.headers.get("Content-Length") or "0"
        if not (length.isascii() and length.isdigit()) or int(length) > _LARGEST_BODY:
            raise BadFault(f"the body needs a Content-Length of at most {_LARGEST_BODY} bytes")
        content = self.rfile.read(int(length))
        if not content:
            return None
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise BadFault("the body is not JSON") from error

    def _send(self, status: int, answer: object) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def guests(cluster: Cluster) -> list[dict[str, object]]:
    """Every guest with what cannot be seen from outside: whether its userland lives and how often it has booted."""
    return [
        {
            "id": guest.id,
            "node": guest.node,
            "status": ("paused" if guest.power.paused else "running") if guest.power.running else "stopped",
            "alive": cluster.alive(guest),
            "boot": guest.boots,
        }
        for guest in cluster.world.guests.values()
    ]


class ControlServer(ThreadingHTTPServer):
    """Serves the control paths for one cluster."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], cluster: Cluster, token: str) -> None:
        self.cluster = cluster
        self.token = token
        super().__init__(address, _Handler)
