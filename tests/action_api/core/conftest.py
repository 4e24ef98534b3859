"""A database (SQLite and a real PostgreSQL), a simulated cluster, and the neighbours that the worker asks."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flask.testing import FlaskClient

from action_api.app import create_app
from action_api.store import Store, open_store
from action_api.worker import Timing, Worker
from pvewatch.config import AutomationSettings, Secret, Settings
from pvewatch.inventory import Inventory, InventoryUnavailable
from pvewatch.simulator.server import Options, Simulator
from tests.action_api.core.neighbours import Neighbours
from tests.action_api.core.webhook import SECRET

CLUSTER = "demo1"
POSTGRES_BIN = Path("/usr/lib/postgresql/15/bin")
REMEDY = f"no PostgreSQL 15 in {POSTGRES_BIN}; install it: apt-get install --no-install-recommends postgresql-15"

QUICK = Timing(
    tick=0.02,
    lease=2.0,
    evidence=5.0,
    poll=0.05,
    task_lookup=1.0,
    state=5.0,
    state_ha=10.0,
    look=0.1,
    look_refused=0.1,
    look_exhausted=0.1,
)


def eventually(condition: Callable[[], Any], what: str, *, seconds: float = 20.0) -> Any:
    """Wait until the condition gives something true, and answer that."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    pytest.fail(f"did not come within {seconds:g} s: {what}")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL server of our own, without a database name."""
    if not (POSTGRES_BIN / "initdb").exists():
        if os.environ.get("CI"):
            pytest.fail(REMEDY)
        pytest.skip(REMEDY)
    folder = Path(tempfile.mkdtemp(prefix="pvewatch-pg-"))
    # PostgreSQL refuses to run as root.
    as_nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.getuid() == 0 else []
    if as_nobody:
        shutil.chown(folder, "nobody", "nogroup")

    def run(*command: str) -> None:
        done = subprocess.run(
            [*as_nobody, *command], cwd=folder, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr

    run(str(POSTGRES_BIN / "initdb"), "-N", "-A", "trust", "-U", "pvewatch", "-D", f"{folder}/data")
    options = f"-c listen_addresses= -k {folder} -c fsync=off"
    control = str(POSTGRES_BIN / "pg_ctl")
    run(control, "-D", f"{folder}/data", "-l", f"{folder}/log", "-o", options, "-w", "start")
    try:
        yield f"postgresql+psycopg://pvewatch@/{{name}}?host={folder}"
    finally:
        run(control, "-D", f"{folder}/data", "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/action_api.db"
    address: str = request.getfixturevalue("postgres")
    name = f"test_{secrets.token_hex(6)}"
    plain = address.format(name="postgres").replace("+psycopg", "")
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return address.format(name=name)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """An open store."""
    opened = open_store(database_url)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def certificate_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all simulators of this run find the same certificate."""
    return tmp_path_factory.mktemp("simulator")


@pytest.fixture
def simulator(certificate_folder: Path) -> Iterator[Simulator]:
    """A simulated cluster in good health, whose tasks end soon."""
    running = Simulator(
        Options(data=certificate_folder, name=CLUSTER, refresh_seconds=0.2, speed=20, auth_delay_seconds=0.0)
    )
    running.start()
    yield running
    running.stop()


@pytest.fixture
def neighbours(simulator: Simulator) -> Iterator[Neighbours]:
    """The exporter, Prometheus and Alertmanager as the worker sees them."""
    running = Neighbours(simulator)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def settings(simulator: Simulator, neighbours: Neighbours, tmp_path: Path) -> Settings:
    """A configuration in which everything is reached, and guest 101 has opted in by its tag."""
    return make_settings(simulator, neighbours, tmp_path)


def make_settings(simulator: Simulator, neighbours: Neighbours, folder: Path, **automation: Any) -> Settings:
    """The same with other rules for automation."""
    token = simulator.details["tokens"]["power"]
    secret_file = folder / "power"
    secret_file.write_text(token["secret"])
    secret_file.chmod(0o600)
    rules = {"cool_down_seconds": 2, "recovery_timeout_seconds": 0.5, **automation}
    return Settings.model_validate(
        {
            "clusters": [
                {
                    "name": CLUSTER,
                    "hosts": [f"127.0.0.1:{simulator.details['port']}"],
                    "fingerprint": simulator.details["fingerprint"],
                    "power": {"token_id": token["id"], "token_secret_file": secret_file},
                }
            ],
            "data_dir": folder / "data",
            "exporter": {"url": neighbours.url},
            "prometheus": {"url": neighbours.url},
            "alertmanager": {"url": neighbours.url},
            "automation": AutomationSettings.model_validate(rules).model_dump(),
        }
    )


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    """A store for the tests in which the kind of database does not matter."""
    opened = open_store(f"sqlite:///{tmp_path}/action_api.db")
    yield opened
    opened.close()


WorkerFactory = Callable[..., Worker]


@pytest.fixture
def start_worker(settings: Settings, sqlite_store: Store) -> Iterator[WorkerFactory]:
    """Starts a worker in a thread; all are stopped at the end."""
    started: list[tuple[Worker, threading.Thread]] = []

    def start(with_settings: Settings | None = None, timing: Timing = QUICK) -> Worker:
        worker = Worker(with_settings or settings, sqlite_store, Secret("inventory-secret"), timing=timing)
        thread = threading.Thread(target=worker.run, daemon=True)
        thread.start()
        started.append((worker, thread))
        return worker

    yield start
    for worker, _ in started:
        worker.stop()
    for _, thread in started:
        thread.join(10)


class NoInventory:
    """The web process can take a webhook without its exporter."""

    def fetch(self) -> Inventory:
        raise InventoryUnavailable("not needed here")


@pytest.fixture
def client(settings: Settings, sqlite_store: Store) -> Iterator[FlaskClient]:
    """The web process."""
    app = create_app(settings, sqlite_store, NoInventory(), webhook_secret=Secret(SECRET))
    with app.test_client() as client:
        yield client
