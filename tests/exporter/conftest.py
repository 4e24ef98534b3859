"""An exporter over a real TLS server that gives recorded answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from exporter.heartbeats import keys
from exporter.service import Exporter
from pvewatch.config import Cluster, ExporterSettings, HostPort, Secret, Settings, TokenRef
from pvewatch.pve.grouping import Group
from tests.pve.conftest import Answer, FakeHost

if TYPE_CHECKING:
    from tests.exporter.running import Running

RECORDED = "recorded-8.4"
TOKEN_SECRET = "4f6c1d8e-not-to-be-seen"
# The moment of the recorded whole-cluster answers.
RECORDED_AT = 1_795_253_460.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/golden/*.prom again")


@dataclass
class Clock:
    """A clock that only tests move."""

    now: float = RECORDED_AT

    def __call__(self) -> float:
        return self.now


@dataclass
class RecordedCluster:
    """A host that answers by path; `answers` may be changed while it runs."""

    host: FakeHost
    answers: dict[str, Answer | Callable[[], Answer]] = field(default_factory=dict)

    def answer(self, _method: str, path: str) -> Answer:
        found = self.answers.get(path.partition("?")[0], Answer(501, f"Path '{path}' not recorded", b""))
        return found if isinstance(found, Answer) else found()

    def change(self, path: str, edit: Callable[[Any], Any]) -> None:
        """Edit the data of an answer in place: what a row would look like a moment later."""
        known = self.answers[path]
        assert isinstance(known, Answer)
        data = json.loads(known.body)["data"]
        data = edit(data) or data
        self.answers[path] = Answer(body=json.dumps({"data": data}).encode())

    def row(self, item: str, **values: Any) -> None:
        """Change one row of /cluster/resources; a value of None takes the key away."""

        def edit(rows: list[dict[str, Any]]) -> None:
            (found,) = [row for row in rows if row["id"] == item]
            for key, value in values.items():
                if value is None:
                    found.pop(key, None)
                else:
                    found[key] = value

        self.change("/cluster/resources", edit)

    def asked(self, ending: str) -> int:
        """How often a path with that ending was asked."""
        return sum(path.partition("?")[0].endswith(ending) for _, path, _ in self.host.asked)


def recorded(name: str, folder: str = RECORDED) -> Answer:
    return Answer.recorded(f"{folder}/{name}.json")


@pytest.fixture(autouse=True)
def _no_consideration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else waits for an answer here, and hundreds of polls would rest for a second each."""
    monkeypatch.setattr("exporter.jobs.GAP_SECONDS", 0.0)
    monkeypatch.setattr("exporter.jobs.REST", 0.0)
    monkeypatch.setattr("exporter.poller.SPREAD_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def _changed_keys_count_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "LOOK_SECONDS", 0.0)


@pytest.fixture
def pve(tmp_path: Path) -> Iterator[RecordedCluster]:
    """The recorded three-node cluster, healthy."""
    host = FakeHost(tmp_path / "pve")
    cluster = RecordedCluster(host)
    host.answer = cluster.answer
    cluster.answers = {
        "/version": recorded("version"),
        "/cluster/resources": recorded("c3-cluster-resources"),
        "/cluster/status": recorded("c3-cluster-status"),
        "/cluster/tasks": recorded("c3-cluster-tasks"),
        "/access/acl": recorded("access-acl"),
        "/access/permissions": recorded("as-auditor-permissions"),
        "/nodes/pve1/status": recorded("as-auditor-node-status"),
        "/nodes/pve2/status": recorded("c3-pve2-status"),
        "/nodes/pve1/qemu/100/config": recorded("qemu-100-config"),
        "/nodes/pve1/lxc/200/config": recorded("lxc-200-config"),
    }
    yield cluster
    host.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@dataclass
class Bench:
    """An exporter that polls only when it is told to."""

    exporter: Exporter

    def poll(self) -> None:
        for poller in self.exporter.pollers:
            poller.poll()
            assert poller.settle(20), "a node was still being asked after 20 s"

    def lines(self, name: str = "") -> list[str]:
        """The sample lines of one family, or of all."""
        page = self.exporter.metrics().decode().splitlines()
        return [line for line in page if not line.startswith("#") and line.startswith((f"{name}{{", f"{name} "))] or (
            [line for line in page if not line.startswith("#")] if not name else []
        )

    def value(self, name: str, /, **labels: str) -> float | None:
        """The one sample with these labels, None when there is none."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        found = [line for line in self.lines(name) if all(part in line for part in wanted)]
        assert len(found) <= 1, found
        return float(found[0].rpartition(" ")[2]) if found else None


@pytest.fixture
def make_bench(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Bench]]:
    """Build an exporter over the given hosts; `data` names its folder, so that a second one can take it over."""
    monkeypatch.setenv("TEST_TOKEN_SECRET", TOKEN_SECRET)
    made: list[Exporter] = []

    def make(*hosts: RecordedCluster | HostPort, data: str = "data", **own: Any) -> Bench:
        token = TokenRef(token_id="pvewatch@pve!monitor", token_secret_env="TEST_TOKEN_SECRET")
        power = TokenRef(token_id="pvewatch@pve!power", token_secret_env="TEST_TOKEN_SECRET")
        clusters = tuple(
            Cluster(
                name=f"lab{number}" if number else "lab",
                hosts=(host.host.address if isinstance(host, RecordedCluster) else host,),
                verify_tls=False,
                monitor=token,
                power=power,
            )
            for number, host in enumerate(hosts)
        )
        # Everything asked at every poll is due again at once.
        settings = Settings(
            clusters=clusters,
            data_dir=tmp_path / data,
            exporter=ExporterSettings(**{"poll_interval_seconds": 0.001, **own}),
        )
        groups = tuple(Group(cluster, (cluster.name,)) for cluster in clusters)
        exporter = Exporter(settings, groups, Secret("heartbeat-secret"), clock=clock)
        made.append(exporter)
        return Bench(exporter)

    yield make
    for exporter in made:
        exporter.stop()


@pytest.fixture
def bench(pve: RecordedCluster, make_bench: Callable[..., Bench]) -> Bench:
    return make_bench(pve)


@pytest.fixture
def started() -> Iterator[list[Running]]:
    """Processes to be ended after the test, whatever becomes of it."""
    running: list[Running] = []
    yield running
    for one in running:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait(10)
