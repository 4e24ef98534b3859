"""Stands in for the exporter, Prometheus and Alertmanager: recorded answers, and an inventory out of the simulator."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pvewatch.inventory import ClusterEntry, GuestEntry, HeartbeatEntry, Inventory, NodeEntry
from pvewatch.simulator.control import guests as simulated_guests
from pvewatch.simulator.server import Simulator

RECORDED = Path(__file__).parent / "recorded"


def recorded(name: str) -> Any:
    """A recorded answer."""
    return json.loads((RECORDED / name).read_text())


class Neighbours:
    """What they say is set by attributes; ``down`` names those that answer 503."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.down: set[str] = set()
        self.firing = "prometheus-alerts-firing.json"
        self.more_firing: list[dict[str, str]] = []
        self.alerts = "alerts-active.json"
        self.quorate = True
        self.age_seconds = 3.0
        # VMID → the time of its newest heartbeat, and whether that is too old.
        self.heartbeats: dict[int, tuple[float, bool]] = {}
        # VMIDs whose token two machines use.
        self.shared: set[int] = set()
        # VMID → when the task list says that it was booted.
        self.boots: dict[int, float] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> None:
        """Answer in the background."""
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        """Close."""
        self._server.shutdown()
        self._server.server_close()

    def inventory(self) -> Inventory:
        """What an exporter would know of the simulated cluster."""
        cluster = self.simulator.cluster
        assert cluster is not None
        with cluster.lock:
            rows: list[dict[str, Any]] = [dict(row) for row in simulated_guests(cluster)]
        entries = []
        for row in rows:
            kind, _, vmid = row["id"].partition("/")
            heartbeat = None
            if int(vmid) in self.heartbeats:
                at, silent = self.heartbeats[int(vmid)]
                heartbeat = HeartbeatEntry(
                    last_seen=at, boot_id="b", agent_version="1", sequence=1, silent=silent, timeout_seconds=180,
                    identity_shared=int(vmid) in self.shared,
                )  # fmt: skip
            entries.append(
                GuestEntry(
                    cluster="demo1", kind=kind, vmid=int(vmid), id=row["id"], name=None, node=row["node"],
                    status=row["status"], template=False, heartbeat=heartbeat,
                    booted_at=self.boots.get(int(vmid)),
                )
            )  # fmt: skip
        nodes = sorted({entry.node for entry in entries})
        return Inventory(
            generated_at=time.time(),
            clusters=[
                ClusterEntry(
                    name="demo1", members=["demo1"], web_url="https://demo1", age_seconds=self.age_seconds, error=None,
                    quorate=self.quorate, version="8.4.21", guests=entries,
                    nodes=[NodeEntry(name=node, status="online", uptime_seconds=90000) for node in nodes],
                )
            ],
        )  # fmt: skip

    def answer(self, path: str) -> tuple[int, Any]:
        """What one of them says to a GET."""
        if path.startswith("/api/v1/inventory"):
            return (503, {}) if "exporter" in self.down else (200, json.loads(self.inventory().model_dump_json()))
        if path.startswith("/api/v1/query"):
            if "prometheus" in self.down:
                return 503, {}
            document = recorded(self.firing)
            document["data"]["result"] += [{"metric": labels, "value": [0, "1"]} for labels in self.more_firing]
            return 200, document
        if path.startswith("/api/v2/alerts"):
            return (503, {}) if "alertmanager" in self.down else (200, recorded(self.alerts))
        return 404, {}


def _handler(neighbours: Neighbours) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, document = neighbours.answer(self.path)
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # the worker has given up waiting
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    return Handler
