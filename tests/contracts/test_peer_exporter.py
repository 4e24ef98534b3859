"""prometheus-pve-exporter and our /pve ask the same simulated hosts: every series of the one is a series of the other.

What differs on purpose is in `WANTED`, each with its reason; everything else must be equal, and nothing may stand there
that does not differ any more.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from exporter.own_metrics import OwnMetrics
from exporter.peer.alone import create_app
from exporter.peer.endpoint import Peer
from pvewatch.config import ExporterSettings, Settings
from pvewatch.simulator.faults import Fault
from pvewatch.simulator.server import Options, Simulator
from tests.contracts.peer_process import CannotInstall, PeerProcess

START = 1_795_252_000.0
Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]

# Families that only we have → why.
WANTED = {
    "pve_collector_success": "one failing collector costs its own families only; this says that it failed",
    "pve_collector_error": "and this why",
}


@dataclass
class SetUp:
    """A simulated cluster on a clock that stands still, so that both see the same figures."""

    nodes: int = 3
    guests: int = 12
    version: str = "8.4"
    extras: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    seconds_later: float = 0.0
    login: str = "token"
    now: list[float] = field(default_factory=lambda: [START])

    def start(self, data: Path) -> Simulator:
        options = Options(
            data=data,
            nodes=self.nodes,
            guests=self.guests,
            pve_version=self.version,
            extras=self.extras,
            auth_delay_seconds=0,
        )
        simulator = Simulator(options, clock=lambda: self.now[0])
        simulator.start()
        assert simulator.cluster is not None
        with simulator.cluster.lock:
            for fault in self.faults:
                simulator.cluster.add_fault(fault)
            self.now[0] += self.seconds_later
            simulator.cluster.advance()
        return simulator

    def module(self, simulator: Simulator) -> dict[str, object]:
        """Its entry in pve.yml."""
        token = simulator.details["tokens"]["monitor"]
        user, name = token["id"].split("!")
        shared = {"user": user, "verify_ssl": simulator.details["ca_file"], "timeout": 10}
        if self.login == "password":
            return {**shared, "password": simulator.details["users"][user]["password"]}
        return {**shared, "token_name": name, "token_value": token["secret"]}


SET_UPS = {
    "cluster": SetUp(),
    "cluster-9": SetUp(version="9.2"),
    "standalone": SetUp(nodes=1),
    "standalone-9": SetUp(nodes=1, version="9.2"),
    "ha": SetUp(extras=("ha",)),
    "ha-9": SetUp(extras=("ha",), version="9.2"),
    "locks": SetUp(extras=("locks",)),
    "replication": SetUp(extras=("replication",)),
    "odd-names": SetUp(extras=("odd-names",)),
    "qdevice": SetUp(nodes=2, extras=("qdevice",)),
    "qdevice-lost": SetUp(nodes=2, extras=("qdevice-lost",)),
    "qdevice-without-cluster": SetUp(nodes=1, extras=("qdevice",)),
    "qdevice-refused": SetUp(faults=(Fault("status", code=403, path="qdevice"),)),
    "subscription": SetUp(extras=("subscription",)),
    "subscription-expired": SetUp(extras=("subscription-expired",), version="9.2"),
    "node-just-offline": SetUp(faults=(Fault("node-offline", node="pve2"),), seconds_later=15),
    "node-offline": SetUp(faults=(Fault("node-offline", node="pve2"),), seconds_later=400),
    "first-node-offline": SetUp(faults=(Fault("node-offline", node="pve1"),), seconds_later=400),
    "no-quorum": SetUp(faults=(Fault("node-offline", node="pve2"), Fault("node-offline", node="pve3"))),
    "statistics-stopped": SetUp(faults=(Fault("statistics-stopped", node="pve3"),), seconds_later=400),
    "no-guests": SetUp(guests=0),
    "password": SetUp(login="password"),
    "everything": SetUp(extras=("ha", "locks", "qdevice", "replication", "subscription", "odd-names"), version="9.2"),
}
each_set_up = pytest.mark.parametrize("name", sorted(SET_UPS))


@dataclass
class SideBySide:
    """Both exporters, and where the simulated hosts are."""

    peer: PeerProcess
    ours: FlaskClient
    addresses: dict[str, str]

    def both(self, query: str) -> tuple[str, str]:
        """The pages of both; both must be 200."""
        theirs, ours = self.peer.get(query), self.ours.get(f"/pve?{query}")
        assert (theirs.status_code, ours.status_code) == (200, 200), (theirs.text, ours.text)
        return theirs.text, ours.text


@pytest.fixture(scope="module")
def exporters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SideBySide]:
    folder = tmp_path_factory.mktemp("peer")
    ending: list[Callable[[], None]] = []
    modules, addresses = {}, {}
    try:
        for name, set_up in SET_UPS.items():
            simulator = set_up.start(folder / name)
            ending.append(simulator.stop)
            modules[name] = set_up.module(simulator)
            addresses[name] = f"127.0.0.1:{simulator.details['port']}"
        config = folder / "pve.yml"
        config.write_text(yaml.safe_dump(modules))
        config.chmod(0o600)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        try:
            peer = PeerProcess(config, folder / "peer.log", port)
        except CannotInstall as error:
            pytest.skip(str(error))
        ending.append(peer.stop)
        settings = Settings(exporter=ExporterSettings(pve_config=config, pve_targets=tuple(addresses.values())))
        own = Peer(settings, {})
        ending.append(own.close)
        yield SideBySide(peer, create_app(own, OwnMetrics()).test_client(), addresses)
    finally:
        for end in reversed(ending):
            end()


def series(page: str) -> Series:
    """Every sample; a label that is empty is no label, as in Prometheus."""
    found: Series = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            key = sample.name, tuple(sorted((name, value) for name, value in sample.labels.items() if value))
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def types(page: str) -> dict[str, str]:
    """Family → type, of those that have a sample."""
    lines = [line.split() for line in page.splitlines() if line.startswith("# TYPE ")]
    named = {name for name, _ in series(page)}
    return {name: kind for _, _, name, kind in lines if name in named}


def differing(theirs: Series, ours: Series) -> list[str]:
    """What is not equal and not wanted."""
    return [
        f"{name}{dict(labels)}: theirs {theirs.get((name, labels))}, ours {ours.get((name, labels))}"
        for name, labels in sorted({*theirs, *ours})
        if name not in WANTED and theirs.get((name, labels)) != ours.get((name, labels))
    ]


@each_set_up
def test_every_series_is_there_with_the_same_labels_and_value(exporters: SideBySide, name: str) -> None:
    theirs, ours = exporters.both(f"target={exporters.addresses[name]}&module={name}")
    assert differing(series(theirs), series(ours)) == []


@each_set_up
def test_every_family_has_the_same_type(exporters: SideBySide, name: str) -> None:
    theirs, ours = exporters.both(f"target={exporters.addresses[name]}&module={name}")
    own = {family: kind for family, kind in types(ours).items() if family not in WANTED}
    assert types(theirs) == own


PARAMETERS = ("cluster=0", "node=0", "cluster=", "node=False", "cluster=FALSE&node=1", "node=off", "cluster=no", "x=1")


@pytest.mark.parametrize("parameters", [*PARAMETERS, "cluster=0&node=0"])
def test_parameters_switch_on_and_off_what_they_do_there(exporters: SideBySide, parameters: str) -> None:
    theirs, ours = exporters.both(f"target={exporters.addresses['everything']}&module=everything&{parameters}")
    assert differing(series(theirs), series(ours)) == []


@pytest.mark.parametrize("query", ["module=nowhere", "module=nowhere&target=203.0.113.1", "module="])
def test_an_unknown_module_is_refused_in_the_same_words(exporters: SideBySide, query: str) -> None:
    theirs, ours = exporters.peer.get(query), exporters.ours.get(f"/pve?{query}")
    assert (ours.status_code, ours.text, ours.content_type) == (400, theirs.text, theirs.headers["Content-Type"])
    assert theirs.status_code == 400


def test_every_wanted_difference_has_a_reason_and_is_one(exporters: SideBySide) -> None:
    theirs, ours = exporters.both(f"target={exporters.addresses['qdevice-refused']}&module=qdevice-refused")
    assert all(WANTED.values())
    assert set(WANTED) <= {name for name, _ in series(ours)} - {name for name, _ in series(theirs)}


def test_one_set_up_shows_every_family_of_prometheus_pve_exporter(exporters: SideBySide) -> None:
    theirs, _ = exporters.both(f"target={exporters.addresses['everything']}&module=everything")
    assert len(types(theirs)) == 38
