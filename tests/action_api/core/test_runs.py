"""What people ask for is carried out by the worker, against a simulated cluster: once, and with a known end."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from action_api.store import ActionRun, Store, open_store
from action_api.worker import Worker
from action_api.worker import run as run_worker
from pvewatch.config import ConfigError, Settings
from pvewatch.pve.client import PveClient
from pvewatch.pve.errors import BadAnswer, PveError, Unreachable
from pvewatch.simulator.server import Simulator
from tests.action_api.core.conftest import QUICK, WorkerFactory, eventually, make_settings
from tests.action_api.core.neighbours import Neighbours

ROOT = Path(__file__).parents[3]
POWER = "pvewatch@pve!power"


def ask(store: Store, vmid: int, action: str, kind: str = "qemu") -> int:
    run = store.runs.request(
        cluster="demo1", kind=kind, vmid=vmid, guest_name=None, action=action, requested_by="alice", now=time.time()
    )
    return run.id


def end_of(store: Store, run_id: int) -> ActionRun:
    def finished() -> ActionRun | None:
        run = store.runs.get(run_id)
        return run if run is not None and run.finished else None

    ended = eventually(finished, "the end of the run")
    assert isinstance(ended, ActionRun)
    return ended


def told(store: Store, run_id: int) -> list[str]:
    return [event.text for event in store.runs.events(run_id)]


def tasks(simulator: Simulator, vmid: int) -> Counter[str]:
    """How often the worker made PVE do what to a guest."""
    cluster = simulator.cluster
    assert cluster is not None
    with cluster.lock:
        cluster.advance()
        rows = [task for node in ("pve1", "pve2", "pve3") for task in cluster.tasks.of_node(node, "all")]
        return Counter(task.type for task in rows if task.id == str(vmid) and task.owner == POWER)


def status(simulator: Simulator, vmid: int) -> str:
    rows = control(simulator, "GET", "/guests")
    return next(str(row["status"]) for row in rows if row["id"].endswith(f"/{vmid}"))


def control(simulator: Simulator, method: str, path: str, body: Any = None) -> Any:
    answer = requests.request(
        method,
        simulator.details["control_url"] + path,
        json=body,
        headers={"Authorization": f"Bearer {simulator.details['control_token']}"},
        timeout=5,
    )
    assert answer.ok, answer.text
    return answer.json()


def test_a_person_resets_a_vm(sqlite_store: Store, simulator: Simulator, start_worker: WorkerFactory) -> None:
    start_worker()
    run = end_of(sqlite_store, ask(sqlite_store, 101, "reset"))
    assert (run.state, run.call, run.node) == ("succeeded", "reset", "pve2")
    assert tasks(simulator, 101) == {"qmreset": 1}
    sentences = " ".join(told(sqlite_store, run.id))
    assert "Asking Proxmox VE on pve2: reset." in sentences
    assert str(run.upid) in sentences
    assert "The guest is running." in sentences
    assert [entry.event for entry in sqlite_store.audit.recent()] == ["action.succeeded", "action.requested"]


def test_a_person_starts_and_shuts_down(sqlite_store: Store, simulator: Simulator, start_worker: WorkerFactory) -> None:
    start_worker()
    assert end_of(sqlite_store, ask(sqlite_store, 105, "start")).state == "succeeded"
    assert status(simulator, 105) == "running"
    assert end_of(sqlite_store, ask(sqlite_store, 105, "shutdown")).state == "succeeded"
    assert status(simulator, 105) == "stopped"
    assert tasks(simulator, 105) == {"qmstart": 1, "qmshutdown": 1}


def test_a_container_is_reset_by_stop_and_start(
    sqlite_store: Store, simulator: Simulator, start_worker: WorkerFactory
) -> None:
    start_worker()
    run = end_of(sqlite_store, ask(sqlite_store, 103, "reset", kind="lxc"))
    assert run.state == "succeeded", run.outcome
    assert tasks(simulator, 103) == {"vzstop": 1, "vzstart": 1}
    sentences = told(sqlite_store, run.id)
    assert sentences.index("The guest is stopped.") < sentences.index("The guest is running.")


def test_for_a_guest_under_ha_the_end_is_the_state_seen_and_not_the_task(
    sqlite_store: Store, simulator: Simulator, start_worker: WorkerFactory
) -> None:
    start_worker()
    run = end_of(sqlite_store, ask(sqlite_store, 102, "shutdown"))
    assert run.state == "succeeded", run.outcome
    assert status(simulator, 102) == "stopped"
    assert "hastop" in tasks(simulator, 102)


@pytest.mark.parametrize(
    ("vmid", "action", "reason"), [(101, "start", "state"), (105, "reset", "state"), (111, "start", "template"),
                                   (999, "start", "facts_unknown")]
)  # fmt: skip
def test_what_does_not_fit_the_guest_is_refused_without_asking_pve(
    sqlite_store: Store, simulator: Simulator, start_worker: WorkerFactory, vmid: int, action: str, reason: str
) -> None:
    start_worker()
    run = end_of(sqlite_store, ask(sqlite_store, vmid, action))
    assert (run.state, run.reason_code) == ("refused", reason)
    assert run.reason
    assert tasks(simulator, vmid) == {}


def test_a_locked_guest_is_refused(sqlite_store: Store, simulator: Simulator, start_worker: WorkerFactory) -> None:
    control(simulator, "POST", "/faults", {"fault": "lock", "guest": "qemu/101", "lock": "backup"})
    start_worker()
    run = end_of(sqlite_store, ask(sqlite_store, 101, "reset"))
    assert (run.state, run.reason_code) == ("refused", "locked")
    assert "backup" in str(run.reason)
    assert tasks(simulator, 101) == {}


def test_a_taken_over_web_process_cannot_widen_what_the_worker_does(
    sqlite_store: Store, simulator: Simulator, neighbours: Neighbours, tmp_path: Path, start_worker: WorkerFactory
) -> None:
    start_worker(make_settings(simulator, neighbours, tmp_path, permitted_actions=("start",)))
    for action in ("reset", "destroy"):
        run = end_of(sqlite_store, ask(sqlite_store, 101, action))
        assert (run.state, run.reason_code) == ("refused", "not_permitted")
    assert tasks(simulator, 101) == {}


def test_a_refusal_by_pve_is_told_with_the_missing_privilege(
    sqlite_store: Store, simulator: Simulator, start_worker: WorkerFactory
) -> None:
    control(simulator, "POST", "/faults", {"fault": "status", "code": 403, "path": ".*/status/reset"})
    start_worker()
    run = end_of(sqlite_store, ask(sqlite_store, 101, "reset"))
    assert (run.state, run.reason_code) == ("failed", "forbidden")
    assert "403" in str(run.outcome)


def test_a_cluster_that_does_not_answer_is_named(
    sqlite_store: Store, simulator: Simulator, start_worker: WorkerFactory
) -> None:
    control(simulator, "POST", "/faults", {"fault": "status", "code": 401, "path": ".*"})
    start_worker()
    run = end_of(sqlite_store, ask(sqlite_store, 101, "reset"))
    assert (run.state, run.reason_code) == ("refused", "facts_unknown")
    assert "401" in str(run.reason)


def lost(error: type[PveError]) -> Callable[..., str]:
    asked = PveClient.guest_action

    def ask_and_lose(client: PveClient, *args: Any, **kwargs: Any) -> str:
        asked(client, *args, **kwargs)
        raise error("the connection failed", host="h", path="/p")

    return ask_and_lose


@pytest.mark.parametrize("error", [Unreachable, BadAnswer])
def test_a_lost_answer_is_looked_up_and_not_asked_again(
    sqlite_store: Store,
    simulator: Simulator,
    start_worker: WorkerFactory,
    monkeypatch: pytest.MonkeyPatch,
    error: type[PveError],
) -> None:
    monkeypatch.setattr(PveClient, "guest_action", lost(error))
    start_worker()
    run = end_of(sqlite_store, ask(sqlite_store, 101, "reset"))
    assert run.state == "succeeded", run.outcome
    assert tasks(simulator, 101) == {"qmreset": 1}
    assert any("looking in Proxmox VE's task list" in text for text in told(sqlite_store, run.id))


def test_a_lost_answer_of_a_call_that_never_arrived_stays_unknown(
    sqlite_store: Store, simulator: Simulator, start_worker: WorkerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vanish(_client: PveClient, *_args: Any, **_kwargs: Any) -> str:
        raise Unreachable("no answer in time", host="h", path="/p")

    start_worker()
    # An earlier reset of the same guest is not taken for the one that is looked for.
    assert end_of(sqlite_store, ask(sqlite_store, 101, "reset")).state == "succeeded"
    monkeypatch.setattr(PveClient, "guest_action", vanish)
    run = end_of(sqlite_store, ask(sqlite_store, 101, "reset"))
    assert (run.state, run.reason_code) == ("unknown", "outcome_unknown")
    assert "not asked again" in str(run.outcome)
    assert tasks(simulator, 101) == {"qmreset": 1}


def test_a_call_that_was_never_sent_has_failed_and_is_not_unknown(
    sqlite_store: Store, start_worker: WorkerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_client: PveClient, *_args: Any, **_kwargs: Any) -> str:
        raise Unreachable("no connection in time", host="h", path="/p") from requests.exceptions.ConnectTimeout()

    monkeypatch.setattr(PveClient, "guest_action", refuse)
    start_worker()
    run = end_of(sqlite_store, ask(sqlite_store, 101, "reset"))
    assert (run.state, run.reason_code) == ("failed", "unreachable")
    assert "nothing was asked" in str(run.outcome)


def test_an_unforeseen_error_ends_the_run_and_not_the_worker(
    sqlite_store: Store, start_worker: WorkerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(_client: PveClient, *_args: Any, **_kwargs: Any) -> str:
        raise ZeroDivisionError

    start_worker()
    with monkeypatch.context() as broken:
        broken.setattr(PveClient, "guest_action", break_down)
        run = end_of(sqlite_store, ask(sqlite_store, 101, "reset"))
    assert (run.state, run.reason_code) == ("unknown", "internal_error")
    assert end_of(sqlite_store, ask(sqlite_store, 104, "reset")).state == "succeeded"


def test_two_workers_do_nothing_twice(sqlite_store: Store, simulator: Simulator, start_worker: WorkerFactory) -> None:
    start_worker()
    start_worker()
    vmids = (100, 101, 104, 106, 108, 109, 110)
    runs = [ask(sqlite_store, vmid, "reset") for vmid in vmids]
    assert {end_of(sqlite_store, run_id).state for run_id in runs} == {"succeeded"}
    assert {vmid: tasks(simulator, vmid) for vmid in vmids} == {vmid: {"qmreset": 1} for vmid in vmids}


@pytest.fixture
def start_process(settings: Settings, tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts the worker as a process of its own that may be killed."""
    document = settings.model_dump(mode="json")
    config = tmp_path / "pvewatch.yaml"
    config.write_text(yaml.safe_dump(document))
    started: list[subprocess.Popen[str]] = []

    def start(death: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.action_api.core.worker_process", str(config), death]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def process_store(settings: Settings) -> Iterator[Store]:
    """The database of the started processes."""
    store = open_store(settings.database_url)
    yield store
    store.close()


def test_killed_between_the_call_and_its_answer_the_next_worker_finds_the_task(
    process_store: Store, simulator: Simulator, start_process: Callable[[str], subprocess.Popen[str]]
) -> None:
    run_id = ask(process_store, 101, "reset")
    assert start_process("after-call").wait(30) == -signal.SIGKILL
    left = process_store.runs.get(run_id)
    assert left is not None
    assert (left.state, left.upid) == ("executing", None)
    start_process("none")
    run = end_of(process_store, run_id)
    assert run.state == "succeeded", run.outcome
    assert tasks(simulator, 101) == {"qmreset": 1}


def test_killed_between_the_intent_and_the_call_nothing_is_asked_blindly(
    process_store: Store, simulator: Simulator, start_process: Callable[[str], subprocess.Popen[str]]
) -> None:
    run_id = ask(process_store, 101, "reset")
    assert start_process("before-call").wait(30) == -signal.SIGKILL
    start_process("none")
    run = end_of(process_store, run_id)
    assert (run.state, run.reason_code) == ("unknown", "outcome_unknown")
    assert tasks(simulator, 101) == {}


def test_killed_between_stop_and_start_the_container_is_started_by_the_next_worker(
    process_store: Store, simulator: Simulator, start_process: Callable[[str], subprocess.Popen[str]]
) -> None:
    run_id = ask(process_store, 103, "reset", kind="lxc")
    assert start_process("after-call").wait(30) == -signal.SIGKILL
    start_process("none")
    run = end_of(process_store, run_id)
    assert run.state == "succeeded", run.outcome
    assert tasks(simulator, 103) == {"vzstop": 1, "vzstart": 1}


def test_sigterm_ends_the_worker_in_good_order(start_process: Callable[[str], subprocess.Popen[str]]) -> None:
    process = start_process("none")
    assert process.stderr is not None
    assert "serves demo1" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def test_a_stopped_workers_run_is_finished_by_the_next(
    sqlite_store: Store, simulator: Simulator, start_worker: WorkerFactory
) -> None:
    first: Worker = start_worker()
    run_id = ask(sqlite_store, 103, "reset", kind="lxc")
    eventually(lambda: tasks(simulator, 103), "the first task")
    first.stop()
    start_worker()
    run = end_of(sqlite_store, run_id)
    assert run.state == "succeeded", run.outcome
    assert tasks(simulator, 103) == {"vzstop": 1, "vzstart": 1}


def test_a_database_that_does_not_answer_is_a_mistake_with_a_remedy(settings: Settings) -> None:
    unreachable = settings.model_copy(
        update={
            "action_api": settings.action_api.model_copy(
                update={"database_url": "postgresql://pvewatch:hunter2@127.0.0.1:1/pvewatch"}
            )
        }
    )
    with pytest.raises(ConfigError) as caught:
        run_worker(unreachable)
    assert [problem.place for problem in caught.value.problems] == ["action_api.database_url"]
    assert "hunter2" not in str(caught.value)


def test_hosts_that_turn_out_to_be_one_cluster_share_its_power_token(
    settings: Settings, sqlite_store: Store, simulator: Simulator, start_worker: WorkerFactory
) -> None:
    """The first host has no power token, the second has one; the exporter joins them while the worker runs."""
    (given,) = settings.clusters
    first = given.model_copy(update={"power": None, "from_environment": True})
    second = given.model_copy(update={"name": "demo2", "from_environment": True})
    start_worker(settings.model_copy(update={"clusters": (first, second)}), dataclasses.replace(QUICK, refresh=0.05))
    alone = end_of(sqlite_store, ask(sqlite_store, 101, "reset"))
    assert (alone.state, alone.reason_code) == ("refused", "facts_unknown")
    assert "no power token" in str(alone.reason)
    settings.data_dir.mkdir(exist_ok=True)
    draft = settings.data_dir / "clusters.new"
    draft.write_text(json.dumps({"form": 1, "groups": {"demo1": ["demo1", "demo2"]}}))
    draft.replace(settings.data_dir / "clusters.json")

    def joined() -> bool:
        return end_of(sqlite_store, ask(sqlite_store, 101, "reset")).state == "succeeded"

    eventually(joined, "a reset with the token of the second host")
    assert tasks(simulator, 101) == {"qmreset": 1}
