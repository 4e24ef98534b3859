"""Whatever a guest sends to the real listener is taken, or refused with a reason; it never ends in a 5xx."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.heartbeats.http import PATHS, HeartbeatApp, RateLimit
from exporter.heartbeats.store import HeartbeatStore
from exporter.heartbeats.tokens import token
from pvewatch.secrets import Secret
from pvewatch.serve import serve
from tests.exporter.heartbeats.test_schema import EXAMPLE, JSON_VALUES, places, replaced

SECRET = Secret("a-secret-of-43-characters-like-the-real-one")

# Requests over loopback, and a commit for each that is taken: fewer examples than of a function, and no deadline.
over_http = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Sender:
    """One guest; keeps its connection for as long as the listener does."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._connection = http.client.HTTPConnection(*address, timeout=20)

    def send(self, body: bytes) -> tuple[int, Any]:
        """The status and the error of the answer."""
        headers = {"Authorization": f"Bearer {token(SECRET, 'home', 101)}"}
        self._connection.request("POST", PATHS[0], body, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text)["error"] if text else None


@pytest.fixture(scope="module")
def sender(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sender]:
    store = HeartbeatStore(Path(tmp_path_factory.mktemp("heartbeats")) / "heartbeats.db")
    limit = RateLimit(per_second=1e6, burst=1e6)
    app = HeartbeatApp(store, SECRET, frozenset(["home"]), lambda *_: "qemu", rate_limit=limit)
    server = serve(app, "127.0.0.1:0", kind="asgi").start()
    yield Sender(server.address)
    server.stop()
    store.close()


COUNTS = st.integers(0, 2**53 - 1)
RATIOS = st.floats(0, 1)
LOADS = st.floats(0, 1e6)
# Surrogates are no characters: no agent can send one in UTF-8.
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64)
NAMES = st.text("abcdefghijklmnopqrstuvwxyzABCDEF0123456789._:-", min_size=1, max_size=64)


def record(required: dict[str, Any], **optional: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional)


SERVICE_STATES = st.sampled_from(["running", "starting", "stopping", "stopped", "failed", "missing", "unknown"])
HEARTBEATS = record(
    {
        "schema": st.just(1),
        "agent": record({"version": WORDS, "platform": st.sampled_from(["linux", "windows"])}),
        "boot_id": NAMES,
        "sequence": COUNTS,
        "time": st.floats(0, 253_402_300_799),
        "uptime_seconds": st.floats(0, 1e11),
        "interval_seconds": st.floats(0, 86_400, exclude_min=True),
    },
    missed=COUNTS,
    cpu=record({}, usage_ratio=RATIOS, cores=st.integers(1, 65_536)),
    load=record({}, **{"1m": LOADS, "5m": LOADS, "15m": LOADS}),
    memory=record({"size_bytes": COUNTS, "available_bytes": COUNTS}),
    swap=record({"size_bytes": COUNTS, "free_bytes": COUNTS}),
    filesystems=st.lists(
        record({"mountpoint": WORDS, "type": WORDS, "size_bytes": COUNTS, "available_bytes": COUNTS}), max_size=4
    ),
    network=st.lists(record({"interface": WORDS, "received_bytes": COUNTS, "sent_bytes": COUNTS}), max_size=4),
    services=st.lists(record({"name": WORDS, "state": SERVICE_STATES}, restarts=COUNTS), max_size=4),
    last_repair=record(
        {
            "time": st.floats(0, 253_402_300_799),
            "service": WORDS,
            "outcome": st.sampled_from(["succeeded", "failed", "given_up"]),
        }
    ),
    pending_reboot=st.booleans(),
    os=record({"name": WORDS}, version=WORDS),
    smbios_uuid=st.uuids().map(str),
    # Of a newer agent.
    weather=JSON_VALUES,
)


@over_http
@given(message=HEARTBEATS)
def test_every_message_that_keeps_to_the_format_is_taken(sender: Sender, message: dict[str, Any]) -> None:
    assert sender.send(json.dumps(message).encode()) == (204, None)


@over_http
@given(value=JSON_VALUES)
def test_any_other_json_is_refused_with_a_reason(sender: Sender, value: object) -> None:
    status, error = sender.send(json.dumps(value).encode())
    assert (status, error["code"]) == (422, "invalid")


@over_http
@given(body=st.binary(max_size=300))
def test_any_bytes_are_refused_with_a_reason(sender: Sender, body: bytes) -> None:
    status, error = sender.send(body)
    assert (status, error["code"]) == (422, "invalid")


@over_http
@given(path=st.sampled_from(list(places(EXAMPLE))), value=JSON_VALUES)
def test_any_value_in_any_place_is_taken_or_refused_with_the_field_named(
    sender: Sender, path: tuple[str | int, ...], value: object
) -> None:
    status, error = sender.send(json.dumps(replaced(EXAMPLE, path, value)).encode())
    assert status in (204, 422)
    if status == 422:
        named = ".".join(map(str, path))
        broken_json = [problem["field"] for problem in error["detail"]] == ["(body)"]
        assert broken_json or any((problem["field"] + ".").startswith(named + ".") for problem in error["detail"])
