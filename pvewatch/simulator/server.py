"""Starts and stops the listeners, and leaves simulator.json for whoever wants to use them."""

from __future__ import annotations

import json
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pvewatch.simulator import (
    certificate,
    endpoints_access,
    endpoints_addresses,
    endpoints_cluster,
    endpoints_datacenter,
    endpoints_disks,
    endpoints_guest_details,
    endpoints_guests,
    endpoints_nodes,
    endpoints_provisioning,
)
from pvewatch.simulator.answers import Refusal
from pvewatch.simulator.cluster import Cluster
from pvewatch.simulator.control import ControlServer
from pvewatch.simulator.extras import EXTRAS
from pvewatch.simulator.https import HttpsServer, Reply, json_reply, refusal_reply
from pvewatch.simulator.permissions import AclEntry, Token, auditor
from pvewatch.simulator.replay import Recordings, replay_responder
from pvewatch.simulator.routes import Request, Router
from pvewatch.simulator.world import VERSIONS, build

ROUTES = (
    *endpoints_access.ROUTES,
    *endpoints_cluster.ROUTES,
    *endpoints_datacenter.ROUTES,
    *endpoints_nodes.ROUTES,
    *endpoints_disks.ROUTES,
    *endpoints_guests.ROUTES,
    *endpoints_guest_details.ROUTES,
    *endpoints_addresses.ROUTES,
    *endpoints_provisioning.ROUTES,
)


@dataclass(frozen=True, slots=True)
class Options:
    """What one simulator is to be; times in seconds."""

    data: Path
    listen: tuple[str, int] = ("127.0.0.1", 0)
    control: tuple[str, int] = ("127.0.0.1", 0)
    name: str = "sim1"
    nodes: int = 3
    guests: int = 12
    seed: int = 1
    pve_version: str = "8.4"
    scenario: str = "healthy"
    refresh_seconds: float = 10.0
    speed: float = 1.0
    auth_delay_seconds: float = 0.2
    replay: Path | None = None
    extras: tuple[str, ...] = ()
    notes: Mapping[int, str] = field(default_factory=dict)


class Simulator:
    """A running simulator. `stop()` ends it; `details` is the content of simulator.json."""

    def __init__(self, options: Options, clock: Callable[[], float] = time.time) -> None:
        options.data.mkdir(parents=True, exist_ok=True)
        self._details_file = options.data / "simulator.json"
        certificate_file, key_file = certificate.ensure(options.data, options.listen[0])
        fingerprint = certificate.fingerprint(certificate_file)
        # simulator.json is there while it listens; one that a killed simulator left would mislead.
        self._details_file.unlink(missing_ok=True)
        secrets_file = options.data / "secrets.json"
        tokens, control_token = _secrets(secrets_file, VERSIONS[options.pve_version].major)
        self.cluster: Cluster | None = None
        if options.replay is not None:
            respond = replay_responder(Recordings.load(options.replay), tokens)
        else:
            world = build(options.name, options.seed, options.nodes, options.guests, options.pve_version, clock())
            for name in options.extras:
                EXTRAS[name](world)
            for vmid, text in options.notes.items():
                if vmid in world.guests:
                    world.guests[vmid].notes = text
            self.cluster = Cluster(
                world,
                tokens,
                clock,
                refresh_seconds=options.refresh_seconds,
                speed=options.speed,
                scenario=options.scenario,
                fingerprint=fingerprint,
            )
            respond = api_responder(Router(self.cluster, ROUTES))
        self._https = HttpsServer(
            options.listen, respond, certificate_file, key_file, auth_delay_seconds=options.auth_delay_seconds
        )
        self._servers: list[ThreadingHTTPServer] = [self._https]
        host, port = self._https.server_address[:2]
        host = str(host)
        self.details: dict[str, Any] = {
            "name": options.name,
            "url": f"https://{f'[{host}]' if ':' in host else host}:{port}",
            "host": host,
            "port": port,
            "fingerprint": fingerprint,
            "ca_file": str(certificate_file.resolve()),
            "tokens": {token.name: {"id": token.id, "secret": token.secret} for token in tokens if token.name},
            "users": {token.user: {"password": token.secret} for token in tokens if not token.name},
        }
        if self.cluster is not None:
            try:
                control = ControlServer(options.control, self.cluster, control_token)
            except OSError:
                self._https.server_close()
                raise
            self._servers.append(control)
            self.details["control_url"] = f"http://{control.server_address[0]!s}:{control.server_address[1]}"
            self.details["control_token"] = control_token

    def start(self) -> None:
        """Serve in background threads, and say so in simulator.json (mode 0600)."""
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        certificate.write_private(self._details_file, json.dumps(self.details, indent=1).encode())

    def stop(self) -> None:
        """Close the listeners and take simulator.json away; the next start uses the same certificate and tokens."""
        self._details_file.unlink(missing_ok=True)
        for server in self._servers:
            server.shutdown()
            server.server_close()


def api_responder(router: Router) -> Callable[[Request], Reply]:
    """What the HTTPS listener asks for each request."""

    def respond(request: Request) -> Reply:
        try:
            answer = router.answer(request)
        except Refusal as refusal:
            return refusal_reply(refusal)
        spoilt = router.spoilt_body(request)
        if spoilt is not None:
            return Reply(200, "OK", spoilt)
        return json_reply({"data": answer.data, **answer.beside})

    return respond


def _secrets(file: Path, major: int) -> tuple[tuple[Token, ...], str]:
    """Tokens, user and control token; kept in a file (mode 0600), so that a restart locks nobody out."""
    grants: dict[str, frozenset[str]] = {
        "monitor": auditor(major),
        "power": frozenset({"VM.Audit", "VM.PowerMgmt"}),
        "none": frozenset(),
    }
    kept = _read(file)
    fresh = {name: str(uuid.uuid4()) for name in grants}
    fresh |= {"control": secrets.token_urlsafe(32), "password": secrets.token_urlsafe(16)}
    missing = {name: value for name, value in fresh.items() if not isinstance(kept.get(name), str)}
    if missing:
        kept |= missing
        certificate.write_private(file, json.dumps(kept).encode())
    tokens = tuple(
        Token(f"pvewatch@pve!{name}", kept[name], (AclEntry("/", privileges),) if privileges else ())
        for name, privileges in grants.items()
    )
    user = Token("pvewatch@pve", kept["password"], (AclEntry("/", grants["monitor"]),))
    return (*tokens, user), str(kept["control"])


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
