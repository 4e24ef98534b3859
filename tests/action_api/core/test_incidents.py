"""From Alertmanager's message to the recovered guest: webhook, incident, worker, simulated cluster."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from action_api.store import ActionRun, Store
from action_api.worker import Timing
from pvewatch.simulator.server import Simulator
from tests.action_api.core.conftest import QUICK, WorkerFactory, eventually, make_settings
from tests.action_api.core.neighbours import Neighbours, recorded
from tests.action_api.core.test_runs import control, tasks
from tests.action_api.core.webhook import firing, last, send


def silent(neighbours: Neighbours, vmid: int = 101) -> None:
    neighbours.heartbeats[vmid] = (time.time() - 400, True)


def speaking(neighbours: Neighbours, vmid: int = 101) -> None:
    neighbours.heartbeats[vmid] = (time.time(), False)


def refusal_codes(store: Store) -> list[str | None]:
    return [run.reason_code for run in store.runs.recent() if run.state == "refused"]


# The webhook.


def test_a_hung_guest_is_reset_once_and_its_heartbeat_ends_the_incident(
    client: FlaskClient, sqlite_store: Store, simulator: Simulator, neighbours: Neighbours, start_worker: WorkerFactory
) -> None:
    control(simulator, "POST", "/faults", {"fault": "hang", "guest": "qemu/101"})
    silent(neighbours)
    start_worker()
    start_worker()
    send(client, firing())
    run = eventually(
        lambda: next((run for run in sqlite_store.runs.recent() if run.state == "succeeded"), None), "the reset"
    )
    assert (run.origin, run.action, run.requested_by) == ("automation", "reset", "GuestHeartbeatMissing")
    speaking(neighbours)
    eventually(lambda: last(sqlite_store).closed_at, "the end of the incident")
    assert (last(sqlite_store).state, last(sqlite_store).attempts) == ("recovered", 1)
    assert tasks(simulator, 101) == {"qmreset": 1}
    # A worker that looks again before this test has let the guest speak refuses a second reset, which is right.
    events = [entry.event for entry in reversed(sqlite_store.audit.recent()) if entry.event != "action.refused"]
    assert events == ["incident.opened", "action.requested", "action.succeeded", "incident.recovered"]


def test_a_guest_that_speaks_again_before_the_look_is_left_alone(
    client: FlaskClient, sqlite_store: Store, simulator: Simulator, neighbours: Neighbours, start_worker: WorkerFactory
) -> None:
    speaking(neighbours)
    send(client, firing())
    start_worker()
    eventually(lambda: last(sqlite_store).closed_at, "the end of the incident")
    assert last(sqlite_store).state == "recovered"
    assert tasks(simulator, 101) == {}


def test_a_heartbeat_just_before_the_alert_fired_keeps_the_guest_from_a_reset(
    client: FlaskClient, sqlite_store: Store, simulator: Simulator, neighbours: Neighbours, start_worker: WorkerFactory
) -> None:
    # It came after the scrape that the alert rests on.
    neighbours.heartbeats[101] = (time.time() - 70, False)
    send(client, firing())
    start_worker()
    eventually(lambda: "speaks_again" in refusal_codes(sqlite_store), "the refusal")
    assert tasks(simulator, 101) == {}


def test_a_guest_that_a_person_has_just_reset_is_given_time_to_boot(
    client: FlaskClient,
    sqlite_store: Store,
    simulator: Simulator,
    neighbours: Neighbours,
    start_worker: WorkerFactory,
    tmp_path: Path,
) -> None:
    silent(neighbours)
    sqlite_store.runs.request(
        cluster="demo1",
        kind="qemu",
        vmid=101,
        guest_name=None,
        action="reset",
        requested_by="anna",
        now=time.time(),
    )
    start_worker(make_settings(simulator, neighbours, tmp_path, cool_down_seconds=600))
    eventually(lambda: tasks(simulator, 101) == {"qmreset": 1}, "the reset that the person asked for")
    send(client, firing())
    eventually(lambda: "cool_down" in refusal_codes(sqlite_store), "the refusal")
    assert tasks(simulator, 101) == {"qmreset": 1}


def test_an_alert_that_goes_away_without_a_heartbeat_is_cleared_and_not_recovered(
    client: FlaskClient, sqlite_store: Store, simulator: Simulator, neighbours: Neighbours, start_worker: WorkerFactory
) -> None:
    silent(neighbours)
    send(client, firing())
    send(client, recorded("webhook-resolved.json"))
    start_worker()
    eventually(lambda: last(sqlite_store).closed_at, "the end of the incident")
    assert last(sqlite_store).state == "cleared"
    assert tasks(simulator, 101) == {}


def test_when_attempts_are_used_up_a_person_is_called_and_nothing_more_is_done(
    client: FlaskClient, sqlite_store: Store, simulator: Simulator, neighbours: Neighbours, start_worker: WorkerFactory
) -> None:
    silent(neighbours)
    send(client, firing())
    start_worker()
    eventually(lambda: last(sqlite_store).state == "exhausted", "the incident to be exhausted")
    assert tasks(simulator, 101) == {"qmreset": 2}
    assert last(sqlite_store).closed_at is None
    assert send(client, firing()).json == {"opened": 0, "repeated": 1, "resolved": 0, "ignored": []}
    exhausted = sqlite_store.audit.recent(event="incident.exhausted")
    assert len(exhausted) == 1
    assert "A person is needed." in exhausted[0].detail["reason"]
    speaking(neighbours)
    eventually(lambda: last(sqlite_store).closed_at, "the end of the incident")
    assert last(sqlite_store).state == "exhausted"
    assert tasks(simulator, 101) == {"qmreset": 2}


Change = Callable[[Neighbours, Simulator], object]


def _many_silent(neighbours: Neighbours, _simulator: Simulator) -> None:
    for vmid in (100, 104, 106):
        silent(neighbours, vmid)


REFUSALS: dict[str, tuple[Change, str]] = {
    "the exporter is down": (lambda n, _: n.down.add("exporter"), "facts_unknown"),
    "Prometheus is down": (lambda n, _: n.down.add("prometheus"), "facts_unknown"),
    "Alertmanager is down": (lambda n, _: n.down.add("alertmanager"), "facts_unknown"),
    "Alertmanager does not know the alert": (lambda n, _: setattr(n, "alerts", "alerts-none.json"), "facts_unknown"),
    "it is silenced": (lambda n, _: setattr(n, "alerts", "alerts-silenced.json"), "silenced"),
    "the alert does not fire": (lambda n, _: setattr(n, "firing", "prometheus-alerts-none.json"), "alert_not_firing"),
    "the cluster has no quorum": (lambda n, _: setattr(n, "quorate", False), "no_quorum"),
    "the exporter is blind": (
        lambda n, _: n.more_firing.append({"alertname": "ExporterBlind", "cluster": "demo1"}),
        "node_trouble",
    ),
    "its node is down": (
        lambda n, _: n.more_firing.append({"alertname": "NodeDown", "cluster": "demo1", "id": "node/pve2"}),
        "node_trouble",
    ),
    "the figures are old": (lambda n, _: setattr(n, "age_seconds", 300.0), "facts_unknown"),
    "no heartbeat was ever seen": (lambda n, _: n.heartbeats.clear(), "no_heartbeat_ever"),
    "a clone uses its token": (lambda n, _: n.shared.add(101), "identity_shared"),
    "somebody has just reset it in Proxmox VE": (lambda n, _: n.boots.update({101: time.time() - 20}), "grace"),
    "many are silent": (_many_silent, "many_silent"),
    "it is locked": (
        lambda _, s: control(s, "POST", "/faults", {"fault": "lock", "guest": "qemu/101", "lock": "backup"}),
        "locked",
    ),
    "PVE does not answer": (
        lambda _, s: control(s, "POST", "/faults", {"fault": "status", "code": 595, "path": ".*/status/current"}),
        "facts_unknown",
    ),
}


@pytest.mark.parametrize("wrong", REFUSALS)
def test_a_refusal_is_recorded_once_with_its_reason_when(
    client: FlaskClient,
    sqlite_store: Store,
    simulator: Simulator,
    neighbours: Neighbours,
    start_worker: WorkerFactory,
    wrong: str,
) -> None:
    change, code = REFUSALS[wrong]
    silent(neighbours)
    change(neighbours, simulator)
    send(client, firing())
    start_worker()
    incident = eventually(
        lambda: next((one for one in sqlite_store.incidents.recent() if one.last_reason_code), None), "a refusal"
    )
    assert incident.last_reason_code == code
    looked_at = incident.next_look_at
    eventually(lambda: last(sqlite_store).next_look_at != looked_at, "another look")
    assert refusal_codes(sqlite_store) == [code]
    assert [run.reason for run in sqlite_store.runs.recent()] == [incident.last_reason]
    assert tasks(simulator, 101) == {}


def test_a_guest_that_has_not_opted_in_is_never_reset(
    client: FlaskClient, sqlite_store: Store, simulator: Simulator, neighbours: Neighbours, start_worker: WorkerFactory
) -> None:
    silent(neighbours, 100)
    send(client, firing(id="qemu/100"))
    start_worker()
    eventually(lambda: refusal_codes(sqlite_store), "the refusal")
    assert refusal_codes(sqlite_store) == ["not_opted_in"]
    assert tasks(simulator, 100) == {}


def test_a_refused_guest_is_helped_when_the_reason_has_gone(
    client: FlaskClient, sqlite_store: Store, simulator: Simulator, neighbours: Neighbours, start_worker: WorkerFactory
) -> None:
    silent(neighbours)
    neighbours.alerts = "alerts-silenced.json"
    send(client, firing())
    start_worker()
    eventually(lambda: refusal_codes(sqlite_store), "the refusal")
    neighbours.alerts = "alerts-active.json"
    eventually(lambda: tasks(simulator, 101), "the reset after the silence")


def test_automation_switched_off_watches_and_does_nothing(
    client: FlaskClient,
    sqlite_store: Store,
    simulator: Simulator,
    neighbours: Neighbours,
    tmp_path: Any,
    start_worker: WorkerFactory,
) -> None:
    silent(neighbours)
    start_worker(make_settings(simulator, neighbours, tmp_path, enabled=False))
    send(client, firing())
    eventually(lambda: refusal_codes(sqlite_store), "the refusal")
    assert refusal_codes(sqlite_store) == ["automation_off"]
    assert tasks(simulator, 101) == {}


def test_a_neighbour_that_never_answers_delays_the_decision_and_is_named(
    client: FlaskClient,
    sqlite_store: Store,
    simulator: Simulator,
    neighbours: Neighbours,
    start_worker: WorkerFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    silent(neighbours)
    hang = threading.Event()
    answer = neighbours.answer

    def hanging(path: str) -> tuple[int, Any]:
        if path.startswith("/api/v2/alerts"):
            hang.wait(20)
        return answer(path)

    monkeypatch.setattr(neighbours, "answer", hanging)
    short = {name: getattr(QUICK, name) for name in QUICK.__slots__} | {"evidence": 1.0}
    start_worker(timing=Timing(**short))
    send(client, firing())

    def named() -> bool:
        return any("Alertmanager" in str(run.reason) or "no answer within" in str(run.reason) for run in refused())

    def refused() -> list[ActionRun]:
        return [run for run in sqlite_store.runs.recent() if run.reason_code == "facts_unknown"]

    eventually(named, "a refusal that names who does not answer")
    hang.set()
    assert tasks(simulator, 101) == {}
