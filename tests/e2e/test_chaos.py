"""Random faults for a while, against a real exporter process: what is not hit goes on, and nothing grows.

CHAOS_SECONDS (60) is how long, CHAOS_SEED (1) decides which faults come when; a failure names both.
"""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families

from pvewatch.simulator.faults import parse
from pvewatch.simulator.server import Options, Simulator
from pvewatch.stack.ports import free_port
from tests.e2e.running import Command, pvewatch, until

SECONDS = float(os.environ.get("CHAOS_SECONDS", "120"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(SECONDS + 240)]

HIT = ("hit0", "hit1", "hit2")
LEFT_ALONE = ("calm0", "calm1")
POLL_SECONDS = 2.0
# A poll every 2 s, on a machine that may be busy with other tests.
OLDEST_SECONDS = 30.0
# What a fault's largest answer may cost while it is read, and what an allocator keeps of it.
GROWTH_BYTES = 96 * 2**20
MOST_FAULTS = 3
_PATHS = ("^/", "^/cluster/", "^/cluster/resources$", "^/nodes/", "^/nodes/pve1/", "^/nodes/pve2/", "/config$")


@pytest.fixture
def simulators(tmp_path: Path) -> Iterator[dict[str, Simulator]]:
    """Clusters of three releases; a refused login takes 3 s, as in reality."""
    started: dict[str, Simulator] = {}
    for number, name in enumerate((*HIT, *LEFT_ALONE)):
        version = ("8.4", "9.2", "7.4")[number % 3]
        options = Options(
            data=tmp_path / name, name=name, guests=30, seed=number, pve_version=version, auth_delay_seconds=3
        )
        started[name] = Simulator(options)
        started[name].start()
    yield started
    for simulator in started.values():
        simulator.stop()


@pytest.fixture
def exporter(tmp_path: Path, simulators: dict[str, Simulator]) -> Iterator[tuple[Command, str]]:
    """The process and the address of its page."""
    port = free_port()
    clusters = []
    for name, simulator in simulators.items():
        told = simulator.details
        secret = tmp_path / f"{name}.secret"
        secret.touch(mode=0o600)
        secret.write_text(told["tokens"]["monitor"]["secret"])
        clusters.append(
            {
                "name": name,
                "hosts": [f"{told['host']}:{told['port']}"],
                "fingerprint": told["fingerprint"],
                "monitor": {"token_id": told["tokens"]["monitor"]["id"], "token_secret_file": str(secret)},
            }
        )
    config = tmp_path / "pvewatch.yaml"
    settings = {
        "listen": f"127.0.0.1:{port}",
        "heartbeat_listen": f"127.0.0.1:{free_port()}",
        "poll_interval_seconds": POLL_SECONDS,
        "node_interval_seconds": 10,
    }
    document = {"clusters": clusters, "data_dir": str(tmp_path / "data"), "exporter": settings}
    config.write_text(yaml.safe_dump(document))
    with pvewatch("--config", config, "exporter", cwd=tmp_path) as command:
        yield command, f"http://127.0.0.1:{port}/metrics"


def fault(chance: random.Random) -> dict[str, Any]:
    """The description of one fault."""
    kind = chance.choice(("status", "status", "slow", "garbage", "large", "node-offline", "statistics-stopped", "hang"))
    described: dict[str, Any] = {"fault": kind}
    if kind in ("status", "slow", "garbage", "large"):
        described["path"] = chance.choice(_PATHS)
    if kind == "status":
        described["code"] = chance.choice((401, 403, 500, 501, 595, 596))
    elif kind == "slow":
        described["seconds"] = chance.randint(1, 20)
    elif kind == "large":
        described["megabytes"] = chance.randint(1, 16)
    elif kind == "hang":
        described["guest"] = "qemu/101"
    elif kind in ("node-offline", "statistics-stopped"):
        described["node"] = chance.choice(("pve1", "pve2", "pve3"))
    return described


def stir(simulator: Simulator, chance: random.Random) -> str:
    """Put a fault in or take all out."""
    assert simulator.cluster is not None
    with simulator.cluster.lock:
        if len(simulator.cluster.faults()) >= MOST_FAULTS or chance.random() < 0.3:
            simulator.cluster.remove_faults()
            return "none"
        described = fault(chance)
        simulator.cluster.add_fault(parse(described))
        return str(described)


def ages(page: str) -> dict[str, float]:
    """Cluster → how old its figures are."""
    return {
        sample.labels["cluster"]: sample.value
        for family in text_string_to_metric_families(page)
        if family.name == "pvewatch_snapshot_age_seconds"
        for sample in family.samples
    }


def memory(command: Command) -> int:
    """Bytes that the process holds now."""
    status = Path(f"/proc/{command.process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def scrape(url: str) -> str:
    answer = requests.get(url, timeout=10)
    assert answer.status_code == 200
    return answer.text


def test_random_faults_cost_only_the_cluster_that_has_them(
    simulators: dict[str, Simulator], exporter: tuple[Command, str]
) -> None:
    command, url = exporter
    chance = random.Random(SEED)
    known = set(simulators)

    def fresh() -> bool:
        try:
            return set(ages(scrape(url))) == known
        except requests.ConnectionError:
            assert command.process.poll() is None, command.output
            return False

    until(fresh, "the first figures of all clusters")
    begun = time.monotonic()
    history: list[str] = []
    warm: list[int] = []
    held: list[int] = []
    stirred = 0.0
    while (now := time.monotonic() - begun) < SECONDS:
        told = f"CHAOS_SEED={SEED} after {now:.0f} s of {SECONDS:.0f}; faults so far: {history}"
        if now - stirred >= 2:
            stirred = now
            name = chance.choice(HIT)
            history.append(f"{name}: {stir(simulators[name], chance)}")
        found = ages(scrape(url))
        late = {name: found.get(name) for name in LEFT_ALONE if found.get(name, math.inf) > OLDEST_SECONDS}
        assert not late, f"{late}; {told}"
        assert command.process.poll() is None, f"{command.output}; {told}"
        (warm if now < SECONDS / 3 else held).append(memory(command))
        time.sleep(0.25)
    told = f"CHAOS_SEED={SEED}, CHAOS_SECONDS={SECONDS:.0f}; faults: {history}"
    # The middle of the last readings: a large answer that is being read just now is not growth.
    last = sorted(held[len(held) // 2 :])
    assert last[len(last) // 2] < max(warm) + GROWTH_BYTES, told
    for simulator in simulators.values():
        assert simulator.cluster is not None
        with simulator.cluster.lock:
            simulator.cluster.remove_faults()

    def recovered() -> bool:
        page = scrape(url)
        found = ages(page)
        return all(
            f'pve_collector_success{{cluster="{name}",collector="resources",node=""}} 1' in page
            and found.get(name, math.inf) < OLDEST_SECONDS
            for name in known
        )

    until(recovered, f"all clusters after the last fault; {told}", within=120)
    assert "Traceback" not in command.output, f"{command.output}; {told}"
