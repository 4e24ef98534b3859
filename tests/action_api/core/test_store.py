"""The store, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from action_api.store import GuestBusy, NameTaken, Store, StoreUnavailable, open_store
from action_api.store.tables import metadata

GUEST: dict[str, Any] = {"cluster": "demo1", "kind": "qemu", "vmid": 101, "guest_name": "mail1"}
TOKEN, SESSION = "b" * 64, "a" * 64


def signed_in(store: Store) -> int:
    user = store.users.create("alice", "hash", "operator", now=1.0)
    store.sessions.create(SESSION, user.id, now=1.0, expires_at=1000.0)
    return user.id


def requested(store: Store, vmid: int = 101, now: float = 10.0) -> int:
    return store.runs.request(
        cluster="demo1", kind="qemu", vmid=vmid, guest_name=None, action="reset", requested_by="alice", now=now
    ).id


def opened(store: Store, now: float = 10.0) -> int:
    incident, _ = store.incidents.open_or_find(
        **GUEST, alertname="GuestHeartbeatMissing", alert_started_at=now - 5, now=now
    )
    return incident.id


def test_the_migrations_lead_to_exactly_the_tables_of_the_code(store: Store, database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_two_processes_may_start_at_once(database_url: str) -> None:
    together = threading.Barrier(4)

    def start(_: int) -> int:
        together.wait()
        store = open_store(database_url)
        count = len(store.users.list())
        store.close()
        return count

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(start, range(4))) == [0, 0, 0, 0]


def test_what_was_stored_is_there_after_a_restart(store: Store, database_url: str) -> None:
    requested(store)
    store.close()
    again = open_store(database_url)
    assert [run.action for run in again.runs.recent()] == ["reset"]
    again.close()


def test_only_the_owner_may_read_an_sqlite_file(tmp_path: Path) -> None:
    open_store(f"sqlite:///{tmp_path}/new/a.db").close()
    assert stat.S_IMODE((tmp_path / "new/a.db").stat().st_mode) == 0o600


def test_a_database_that_cannot_be_opened_is_named_without_its_password() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        open_store("postgresql://pvewatch:hunter2@127.0.0.1:1/pvewatch")
    assert "127.0.0.1:1/pvewatch" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "action_api.database_url" in str(caught.value)


def test_a_name_is_given_once(store: Store) -> None:
    store.users.create("alice", "hash", "viewer", now=1.0)
    with pytest.raises(NameTaken, match="alice"):
        store.users.create("alice", "other", "admin", now=2.0)


def test_a_second_factor_code_is_good_once(store: Store) -> None:
    user_id = signed_in(store)
    assert store.users.use_totp_step(user_id, 100)
    assert not store.users.use_totp_step(user_id, 100)
    assert not store.users.use_totp_step(user_id, 99)
    assert store.users.use_totp_step(user_id, 101)


def test_a_disabled_person_is_signed_out_at_once(store: Store) -> None:
    user_id = signed_in(store)
    assert store.sessions.find(SESSION, now=2.0) is not None
    store.users.disable(user_id, now=3.0)
    assert store.sessions.find(SESSION, now=4.0) is None
    store.users.enable(user_id)
    assert store.sessions.find(SESSION, now=5.0) is None


def test_a_new_password_ends_all_sessions(store: Store) -> None:
    user_id = signed_in(store)
    store.users.set_password(user_id, "new", now=3.0)
    assert store.sessions.find(SESSION, now=4.0) is None


def test_an_expired_session_is_none(store: Store) -> None:
    signed_in(store)
    assert store.sessions.find(SESSION, now=1000.0) is None


@pytest.mark.parametrize(
    "other",
    [
        {"cluster": "demo2"},
        {"kind": "lxc"},
        {"vmid": 102},
        {"action": "start"},
        {"session_id_hash": "c" * 64},
        {"now": 301.5},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_confirmation_is_good_for_nothing_else(store: Store, other: dict[str, Any]) -> None:
    signed_in(store)
    asked: dict[str, Any] = {"cluster": "demo1", "kind": "qemu", "vmid": 101, "action": "reset"}
    store.confirmations.issue(TOKEN, SESSION, **asked, state_shown="running", now=1.0)
    assert store.confirmations.redeem(TOKEN, **({"session_id_hash": SESSION, **asked, "now": 2.0} | other)) is None


def test_a_confirmation_is_spent_once_even_by_many_at_once(store: Store) -> None:
    signed_in(store)
    asked: dict[str, Any] = {"cluster": "demo1", "kind": "qemu", "vmid": 101, "action": "reset"}
    store.confirmations.issue(TOKEN, SESSION, **asked, state_shown="running", now=1.0)
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda _: store.confirmations.redeem(TOKEN, SESSION, **asked, now=2.0), range(6)))
    assert [answer.state_shown for answer in answers if answer] == ["running"]


def test_failed_logins_are_counted_and_bounded(store: Store) -> None:
    for second in range(60):
        store.login_failures.record("alice", now=float(second))
    assert store.login_failures.count("alice", since=-1.0) == 50
    assert store.login_failures.count("alice", since=57.0) == 2
    assert store.login_failures.newest("alice") == 59.0
    store.login_failures.clear("alice")
    assert store.login_failures.count("alice", since=-1.0) == 0


def test_a_guest_has_one_unfinished_run(store: Store) -> None:
    first = requested(store)
    with pytest.raises(GuestBusy) as caught:
        requested(store)
    assert caught.value.run_id == first
    claimed = store.runs.claim_next("w", now=11.0, lease_seconds=30)
    assert claimed is not None
    assert store.runs.finish(first, "w", "succeeded", now=12.0, outcome="done")
    assert requested(store) != first


def test_many_workers_claim_each_run_exactly_once(store: Store) -> None:
    wanted = {requested(store, vmid=100 + number) for number in range(20)}
    together = threading.Barrier(4)

    def work(worker: str) -> list[int]:
        together.wait()
        mine = []
        while run := store.runs.claim_next(worker, now=11.0, lease_seconds=30):
            mine.append(run.id)
        return mine

    with ThreadPoolExecutor(4) as threads:
        claimed = [run for mine in threads.map(work, "abcd") for run in mine]
    # A worker may lose a race for every run it saw and stop early; none may be taken twice.
    assert len(claimed) == len(set(claimed))
    rest = []
    while run := store.runs.claim_next("e", now=11.0, lease_seconds=30):
        rest.append(run.id)
    assert set(claimed) | set(rest) == wanted


def test_a_dead_workers_run_is_taken_over_in_the_state_it_is_in(store: Store) -> None:
    run_id = requested(store)
    store.runs.claim_next("dead", now=11.0, lease_seconds=30)
    assert store.runs.intend(run_id, "dead", call="reset", node="pve1", now=12.0)
    assert store.runs.claim_next("next", now=40.0, lease_seconds=30) is None
    taken = store.runs.claim_next("next", now=42.0, lease_seconds=30)
    assert taken is not None
    assert (taken.state, taken.call, taken.node, taken.upid) == ("executing", "reset", "pve1", None)


def test_a_late_worker_changes_nothing(store: Store) -> None:
    run_id = requested(store)
    store.runs.claim_next("late", now=11.0, lease_seconds=30)
    assert not store.runs.intend(run_id, "late", call="reset", node="pve1", now=50.0)
    store.runs.claim_next("next", now=50.0, lease_seconds=30)
    assert store.runs.renew("late", [run_id], now=51.0, lease_seconds=30) == 0
    assert not store.runs.intend(run_id, "late", call="reset", node="pve1", now=51.0)
    assert not store.runs.finish(run_id, "late", "succeeded", now=52.0, outcome="done")
    latest = store.runs.get(run_id)
    assert latest is not None
    assert latest.claimed_by == "next"


def test_an_intent_is_written_once(store: Store) -> None:
    run_id = requested(store)
    store.runs.claim_next("w", now=11.0, lease_seconds=30)
    assert store.runs.intend(run_id, "w", call="reset", node="pve1", now=12.0)
    assert not store.runs.intend(run_id, "w", call="reset", node="pve1", now=12.5)


def test_a_stopping_worker_gives_back_what_it_holds(store: Store) -> None:
    untouched, asked = requested(store, vmid=101), requested(store, vmid=102)
    store.runs.claim_next("w", now=11.0, lease_seconds=30)
    store.runs.claim_next("w", now=11.0, lease_seconds=30)
    store.runs.intend(asked, "w", call="reset", node="pve1", now=12.0)
    store.runs.release("w", now=13.0)
    found = {}
    while run := store.runs.claim_next("next", now=13.0, lease_seconds=30):
        found[run.id] = run.state
    assert found == {untouched: "claimed", asked: "executing"}


def test_a_guest_has_one_lasting_incident(store: Store) -> None:
    first = opened(store)
    assert opened(store, now=20.0) == first
    lasting = store.incidents.lasting("demo1", 101)
    assert lasting is not None
    assert (lasting.opened_at, lasting.last_alert_at, lasting.alert_started_at) == (10.0, 20.0, 15.0)
    assert store.incidents.close(lasting, "recovered", "spoke", now=30.0)
    assert not store.incidents.close(lasting, "cleared", "late", now=31.0)
    assert opened(store, now=40.0) != first


def test_one_of_many_webhooks_at_once_opens_the_incident(store: Store) -> None:
    with ThreadPoolExecutor(6) as threads:
        assert len(set(threads.map(lambda _: opened(store), range(12)))) == 1
    assert store.incidents.count_by_state()["open"] == 1


def test_a_due_incident_is_claimed_by_one_worker(store: Store) -> None:
    incident_id = opened(store)
    with ThreadPoolExecutor(6) as threads:
        claims = list(threads.map(lambda _: store.incidents.claim_due(now=11.0, lease_seconds=30), range(6)))
    assert [claim.id for claim in claims if claim] == [incident_id]
    assert store.incidents.claim_due(now=40.0, lease_seconds=30) is None
    assert store.incidents.claim_due(now=42.0, lease_seconds=30) is not None


def test_a_webhook_during_a_look_is_not_forgotten(store: Store) -> None:
    opened(store)
    claimed = store.incidents.claim_due(now=11.0, lease_seconds=30)
    assert claimed is not None
    store.incidents.resolve(cluster="demo1", vmid=101, alertname="GuestHeartbeatMissing", now=12.0)
    assert not store.incidents.look_again(claimed, at=300.0)
    assert store.incidents.claim_due(now=12.0, lease_seconds=30) is not None


def test_an_alert_that_fires_anew_during_a_look_keeps_the_incident_open(store: Store) -> None:
    incident_id = opened(store, now=10.0)
    read = store.incidents.get(incident_id)
    assert read is not None
    opened(store, now=50.0)
    assert not store.incidents.close(read, "recovered", "An old heartbeat was seen.", now=51.0)
    assert store.incidents.lasting("demo1", 101) is not None


def test_an_attempt_counts_on_its_incident_and_in_its_window(store: Store) -> None:
    incident_id = opened(store)
    run = store.runs.start_attempt(incident_id, "reset", "w", now=12.0, lease_seconds=30)
    assert run is not None
    assert store.runs.attempts_since("demo1", 101, since=0.0) == 0  # PVE has not been asked yet
    store.runs.intend(run.id, "w", call="reset", node="pve1", now=13.0)
    assert store.runs.attempts_since("demo1", 101, since=0.0) == 1
    assert store.runs.attempts_since("demo1", 101, since=13.0) == 0
    assert store.runs.newest_attempt_at("demo1", 101) == 13.0
    incident = store.incidents.get(incident_id)
    assert incident is not None
    assert incident.attempts == 1


def test_what_a_person_did_to_a_guest_begins_its_cool_down_and_uses_up_no_attempt(store: Store) -> None:
    run = store.runs.request(
        cluster="demo1", kind="qemu", vmid=101, guest_name=None, action="reset", requested_by="anna", now=10.0
    )
    store.runs.claim_next("w", now=11.0, lease_seconds=30)
    store.runs.intend(run.id, "w", call="reset", node="pve1", now=13.0)
    assert store.runs.newest_attempt_at("demo1", 101) == 13.0
    assert store.runs.attempts_since("demo1", 101, since=0.0) == 0


def test_each_end_is_counted_audited_and_told(store: Store) -> None:
    incident_id = opened(store)
    refused = store.runs.record_refusal(incident_id, "reset", "locked", "It is locked.", now=12.0)
    assert refused is not None
    assert ("refusals", {"reason": "locked"}, 1) in store.counters.all()
    assert ("actions", {"action": "reset", "origin": "automation", "outcome": "refused"}, 1) in store.counters.all()
    entry = store.audit.recent(1)[0]
    assert (entry.event, entry.guest, entry.detail["reason"]) == ("action.refused", "qemu/101", "It is locked.")
    assert "It is locked." in store.runs.events(refused.id)[-1].text


def test_counters_lose_nothing_between_threads(store: Store) -> None:
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda _: store.counters.add("logins", outcome="accepted"), range(30)))
    assert store.counters.all() == (("logins", {"outcome": "accepted"}, 30),)


def test_old_rows_are_removed_but_runs_stay(store: Store) -> None:
    run_id = requested(store, now=10.0)
    assert store.runs.remove_events_older(11.0) == 1
    assert store.audit.remove_older(11.0) == 1
    assert store.runs.get(run_id) is not None
