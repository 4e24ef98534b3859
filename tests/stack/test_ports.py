from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvewatch.config import Settings
from pvewatch.stack import ports
from pvewatch.stack.processes import StackError

NAMES = [listener.name for listener in ports.LISTENERS]


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield int(other.getsockname()[1])


def free_addresses() -> dict[str, str]:
    return {name: f"127.0.0.1:{ports.free_port()}" for name in NAMES}


def test_the_default_ports_are_those_of_the_documentation() -> None:
    assert ports.choose(None, {}) == {
        "exporter": 9221,
        "heartbeats": 9223,
        "action-api": 9280,
        "prometheus": 9090,
        "alertmanager": 9093,
        "blackbox": 9115,
        "grafana": 3000,
    }


@given(base=st.integers(1, 65500), moved=st.dictionaries(st.sampled_from(NAMES), st.integers(1, 65535)))
def test_ports_are_as_asked_for_and_never_shared(base: int, moved: dict[str, int]) -> None:
    wanted = [moved.get(name, base + position) for position, name in enumerate(NAMES)]
    if len(set(wanted)) < len(NAMES):
        with pytest.raises(StackError, match="were both given port"):
            ports.choose(base, moved)
        return

    chosen = ports.choose(base, moved)

    assert len(set(chosen.values())) == len(NAMES)
    assert moved.items() <= chosen.items()


def test_an_unknown_listener_is_named_with_those_there_are() -> None:
    with pytest.raises(StackError, match=r"--port promehteus=…: there is no such listener; there are exporter, .*prom"):
        ports.choose(None, {"promehteus": 9090})


def test_a_taken_port_is_named_with_the_part_that_wanted_it_and_the_remedy(taken: int) -> None:
    listening = {**free_addresses(), "alertmanager": f"127.0.0.1:{taken}"}

    with pytest.raises(StackError) as refused:
        ports.require_free(listening, remedy="set {setting} in pvewatch.yaml to another address")

    assert f"127.0.0.1:{taken} is taken by another program" in str(refused.value)
    assert "set alertmanager.listen in pvewatch.yaml" in str(refused.value)


def test_all_taken_ports_are_named_at_once(taken: int) -> None:
    listening = {**free_addresses(), "exporter": f"127.0.0.1:{taken}", "prometheus": f"127.0.0.1:{taken}"}

    with pytest.raises(StackError) as refused:
        ports.require_free(listening, remedy="--port {name}=PORT")

    assert "--port exporter=PORT" in str(refused.value)
    assert "--port prometheus=PORT" in str(refused.value)


def test_the_port_of_a_part_that_is_not_started_may_be_taken(taken: int) -> None:
    listening = {**free_addresses(), "grafana": f"127.0.0.1:{taken}"}

    ports.require_free(listening, remedy="", unless=["grafana"])


def test_the_addresses_looked_at_are_those_of_the_configuration() -> None:
    settings = Settings.model_validate({"prometheus": {"listen": "127.0.0.1:19090"}})

    assert ports.addresses(settings)["prometheus"] == "127.0.0.1:19090"
    assert ports.addresses(settings)["heartbeats"] == "127.0.0.1:9223"
