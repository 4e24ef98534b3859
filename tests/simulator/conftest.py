"""A simulated cluster with the inventory of the recorded one, and the recordings to compare it with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from pvewatch.simulator.cluster import Cluster
from pvewatch.simulator.https import Reply
from pvewatch.simulator.permissions import AclEntry, Token, administrator_like, auditor
from pvewatch.simulator.routes import Request, Router
from pvewatch.simulator.server import ROUTES, Options, Simulator, api_responder
from pvewatch.simulator.world import GIB, VERSIONS, Guest, Node, Power, Storage, World

FIXTURES = Path(__file__).parent.parent / "fixtures"
START = 1_795_252_000.0
API = "/api2/json"


@dataclass(frozen=True)
class Recorded:
    """One recorded answer."""

    name: str
    method: str
    path: str
    parameters: dict[str, Any]
    token: str
    status: int
    reason: str
    body: Any


def recorded(version: str, name: str) -> Recorded:
    """The recording tests/fixtures/recorded-<version>/<name>.json."""
    content = json.loads((FIXTURES / f"recorded-{version}" / f"{name}.json").read_text())
    request = content["request"]
    path, _, query = str(request["path"]).removeprefix(API).partition("?")
    parameters = dict(pair.split("=", 1) for pair in query.split("&")) if query else {}
    return Recorded(
        name=name,
        method=request["method"],
        path=path,
        parameters={**parameters, **(request["body"] or {})},
        token=str(request["token"]),
        status=content["status"],
        reason=content["reason"],
        body=content["body"],
    )


@dataclass
class Bench:
    """A cluster on a clock that only tests move, asked without a network in between."""

    cluster: Cluster
    tokens: Mapping[str, Token]
    clock: list[float] = field(default_factory=lambda: [START])

    def __post_init__(self) -> None:
        self.respond = api_responder(Router(self.cluster, ROUTES))

    def ask(self, method: str, path: str, by: str | None = "root", **parameters: object) -> Reply:
        """The reply to a request, made with the token of that name."""
        texts = {name.replace("_", "-"): str(value) for name, value in parameters.items()}
        authorization = f"PVEAPIToken={self.tokens[by].id}={self.tokens[by].secret}" if by else None
        return self.respond(Request(method, path, texts, authorization))

    def get(self, path: str, by: str = "root", **parameters: object) -> Any:
        """The `data` of an answer that must be 200."""
        reply = self.ask("GET", path, by, **parameters)
        assert reply.status == 200, reply.reason
        return json.loads(reply.body or b"null")["data"]

    def post(self, path: str, by: str = "root", **parameters: object) -> str:
        """The UPID of an action that must be accepted."""
        reply = self.ask("POST", path, by, **parameters)
        assert reply.status == 200, reply.reason
        return str(json.loads(reply.body or b"null")["data"])

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock[0] += seconds

    def outcome(self, upid: str, seconds: float = 90) -> str:
        """The exit status of a task after so long."""
        self.wait(seconds)
        return str(self.get(f"/nodes/{upid.split(':')[1]}/tasks/{upid}/status")["exitstatus"])

    def guest(self, guest_id: str) -> dict[str, Any]:
        """A guest's row in /cluster/resources."""
        return next(row for row in self.get("/cluster/resources") if row["id"] == guest_id)


def running_guest(kind: Any, vmid: int, node: str, name: str, **more: Any) -> Guest:
    """A guest that has been running for an hour."""
    power = Power(running=True, started_at=START - 3600, alive_at=START - 3595, pid=4000 + vmid)
    guest = Guest(kind, vmid, node, name, cores=2, memory_bytes=GIB, disk_bytes=8 * GIB, **more)
    guest.power = guest.published = power
    guest.boots = 1
    return guest


def stopped_guest(kind: Any, vmid: int, node: str, name: str, **more: Any) -> Guest:
    """A guest that does not run."""
    return Guest(kind, vmid, node, name, cores=1, memory_bytes=GIB, disk_bytes=8 * GIB, **more)


def make_bench(version: str, nodes: list[str], guests: list[Guest], **options: Any) -> Bench:
    """A bench with these nodes and guests, and the tokens that the recordings were made with."""
    clock = [START]
    world = World(
        name="testcl",
        seed=1,
        version=VERSIONS[version],
        nodes={
            name: Node(name, index if len(nodes) > 1 else 0, f"192.0.2.{index}", 8, 32 * GIB, 100 * GIB, START - 7200)
            for index, name in enumerate(nodes, start=1)
        },
        guests={guest.vmid: guest for guest in guests},
        storages=(
            Storage("local", "dir", "images,rootdir", False, 100 * GIB, 0.3),
            Storage("nas", "nfs", "backup", True, 900 * GIB, 0.5),
        ),
    )
    major = world.version.major
    tokens = {
        "root": Token("root@pam!mon", "root-secret", (AclEntry("/", administrator_like(major)),)),
        "auditor": Token("mon@pve!full", "auditor-secret", (AclEntry("/", auditor(major)),)),
        "none": Token("mon@pve!sep", "none-secret"),
        "power": Token("op@pve!tok", "power-secret", (AclEntry("/vms/100", frozenset({"VM.Audit", "VM.PowerMgmt"})),)),
    }
    cluster = Cluster(world, tuple(tokens.values()), lambda: clock[0], fingerprint="AA:BB", **options)
    return Bench(cluster, tokens, clock)


@pytest.fixture
def bench() -> Bench:
    """The recorded three-node 8.4 cluster, simulated."""
    guests = [
        running_guest("qemu", 100, "pve1", "web1", tags="prod;web", pool="prod"),
        running_guest("qemu", 101, "pve1", "db1", agent=True),
        running_guest("qemu", 110, "pve2", "app1"),
        running_guest("qemu", 111, "pve3", "ha1", ha_group="g1", ha_state="started"),
        running_guest("lxc", 200, "pve1", "ct1", pool="prod"),
        stopped_guest("lxc", 201, "pve1", "ct2", tags="test"),
        running_guest("lxc", 210, "pve3", "cache1"),
        stopped_guest("qemu", 9000, "pve1", "tpl", template=True),
    ]
    return make_bench("8.4", ["pve1", "pve2", "pve3"], guests)


@pytest.fixture
def single() -> Bench:
    """The recorded 9.2 node, simulated."""
    guests = [
        running_guest("qemu", 100, "pve9", "web1", tags="prod;web"),
        stopped_guest("lxc", 200, "pve9", "ct1"),
    ]
    return make_bench("9.2", ["pve9"], guests)


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """A real simulator behind TLS, fast and without a wait before 401."""
    options = Options(data=tmp_path_factory.mktemp("simulator"), speed=50, refresh_seconds=0.2, auth_delay_seconds=0)
    running = Simulator(options)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def session(simulator: Simulator) -> Iterator[requests.Session]:
    """An HTTP client that trusts the simulator and holds the power token."""
    with requests.Session() as client:
        client.trust_env = False  # REQUESTS_CA_BUNDLE would win over `verify`
        client.verify = simulator.details["ca_file"]
        token = simulator.details["tokens"]["power"]
        client.headers["Authorization"] = f"PVEAPIToken={token['id']}={token['secret']}"
        yield client
