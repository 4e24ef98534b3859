from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.heartbeats.schema import (
    MAX_FILESYSTEMS,
    MAX_INTERFACES,
    MAX_PROBLEMS,
    MAX_SERVICES,
    Heartbeat,
    InvalidHeartbeat,
    json_schema,
    json_schema_text,
    parse,
)
from pvewatch.bundle import bundle_path

EXAMPLE = json.loads((bundle_path("agents") / "heartbeat.example.json").read_text("utf-8"))


def encode(message: object) -> bytes:
    return json.dumps(message).encode()


def places(message: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every value inside a message."""
    items = message.items() if isinstance(message, dict) else enumerate(message) if isinstance(message, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def replaced(message: Any, path: tuple[str | int, ...], value: object) -> Any:
    changed = copy.deepcopy(message)
    inside = changed
    for step in path[:-1]:
        inside = inside[step]
    inside[path[-1]] = value
    return changed


def test_the_published_json_schema_is_the_one_of_the_code() -> None:
    published = (bundle_path("agents") / "heartbeat.schema.json").read_text("utf-8")
    assert published == json_schema_text(), "run: make docs"


def test_the_published_json_schema_is_itself_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_the_example_is_a_heartbeat_and_loses_nothing_when_read() -> None:
    jsonschema.Draft202012Validator(json_schema()).validate(EXAMPLE)
    assert json.loads(parse(encode(EXAMPLE)).model_dump_json(by_alias=True)) == EXAMPLE


def test_fields_of_a_newer_agent_are_ignored_at_every_depth() -> None:
    newer = replaced(EXAMPLE, ("temperatures",), {"cores": []})
    newer = replaced(newer, ("memory", "huge_pages_bytes"), 5)
    newer = replaced(newer, ("filesystems", 0, "inodes"), "many")
    assert parse(encode(newer)) == parse(encode(EXAMPLE))


@pytest.mark.parametrize(
    "field",
    [
        "cpu",
        "load",
        "memory",
        "swap",
        "filesystems",
        "os",
        "missed",
        "network",
        "services",
        "last_repair",
        "pending_reboot",
        "smbios_uuid",
    ],
)
def test_what_an_agent_cannot_read_may_be_left_out(field: str) -> None:
    del (shorter := dict(EXAMPLE))[field]
    parse(encode(shorter))


@pytest.mark.parametrize(
    "field", ["schema", "agent", "boot_id", "sequence", "time", "uptime_seconds", "interval_seconds"]
)
def test_what_a_heartbeat_is_made_of_may_not_be_left_out(field: str) -> None:
    del (shorter := dict(EXAMPLE))[field]
    with pytest.raises(InvalidHeartbeat) as caught:
        parse(encode(shorter))
    assert [name for name, _ in caught.value.problems] == [field]


@pytest.mark.parametrize("path", list(places(EXAMPLE)), ids=lambda path: ".".join(map(str, path)))
@pytest.mark.parametrize("wrong", [True, [["?"]], {"a": {}}], ids=["boolean", "list", "object"])
def test_a_field_of_the_wrong_type_is_refused_and_named(path: tuple[str | int, ...], wrong: object) -> None:
    name = ".".join(map(str, path))
    if name == "pending_reboot" and wrong is True:
        return  # the one field that is true or false
    if isinstance(wrong, dict) and name in ("cpu", "load"):
        # All their fields may be missing, so an object with unknown ones is what an agent without figures sends.
        parse(encode(replaced(EXAMPLE, path, wrong)))
        return
    with pytest.raises(InvalidHeartbeat) as caught:
        parse(encode(replaced(EXAMPLE, path, wrong)))
    assert any(field == name or field.startswith(f"{name}.") for field, _ in caught.value.problems)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), 2),
        (("boot_id",), "x" * 65),
        (("boot_id",), "with space"),
        (("boot_id",), "ends\n"),
        (("sequence",), -1),
        (("sequence",), 2**53),
        (("sequence",), 1.5),
        (("time",), -1),
        (("time",), 1e30),
        (("time",), float("nan")),
        (("uptime_seconds",), float("inf")),
        (("interval_seconds",), 0),
        (("cpu", "usage_ratio"), 1.01),
        (("agent", "version"), "v" * 65),
        (("agent", "version"), ""),
        (("agent", "platform"), "plan9"),
        (("filesystems", 0, "mountpoint"), "/" + "m" * 255),
        (("filesystems",), [EXAMPLE["filesystems"][0]] * (MAX_FILESYSTEMS + 1)),
        (("network",), [EXAMPLE["network"][0]] * (MAX_INTERFACES + 1)),
        (("services",), [EXAMPLE["services"][0]] * (MAX_SERVICES + 1)),
        (("services", 0, "state"), "well"),
        (("last_repair", "outcome"), "maybe"),
        (("smbios_uuid",), "64574daf5cf2450b9466bedf8f66e766"),
    ],
    ids=str,
)
def test_a_value_out_of_bounds_is_refused_and_named(path: tuple[str | int, ...], value: object) -> None:
    with pytest.raises(InvalidHeartbeat) as caught:
        parse(encode(replaced(EXAMPLE, path, value)))
    assert caught.value.problems[0][0] == ".".join(map(str, path))


def test_a_refusal_repeats_nothing_that_was_sent_and_is_bounded() -> None:
    hostile = {"boot_id": "<script>" * 100, "filesystems": [{"type": "<script>"}] * MAX_FILESYSTEMS}
    with pytest.raises(InvalidHeartbeat) as caught:
        parse(encode(hostile))
    assert len(caught.value.problems) == MAX_PROBLEMS
    assert "script" not in repr(caught.value.problems)
    assert len(str(caught.value)) < 300


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=10), inside, max_size=4),
    max_leaves=12,
)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_heartbeat_or_refused(body: bytes) -> None:
    with pytest.raises(InvalidHeartbeat):
        parse(body)


@given(path=st.sampled_from(list(places(EXAMPLE))), value=JSON_VALUES)
def test_any_value_in_any_place_is_read_as_the_json_schema_says_or_refused(
    path: tuple[str | int, ...], value: object
) -> None:
    message = replaced(EXAMPLE, path, value)
    try:
        heartbeat = parse(encode(message))
    except InvalidHeartbeat:
        return
    jsonschema.Draft202012Validator(json_schema()).validate(message)
    assert parse(heartbeat.model_dump_json(by_alias=True, exclude_none=True).encode()) == heartbeat


@given(st.builds(Heartbeat.model_validate, st.just(EXAMPLE)), st.floats(0, 1), st.integers(0, 2**53 - 1))
def test_what_is_stored_is_what_was_read(heartbeat: Heartbeat, ratio: float, sequence: int) -> None:
    message = replaced(replaced(EXAMPLE, ("cpu", "usage_ratio"), ratio), ("sequence",), sequence)
    read = parse(encode(message))
    assert read.cpu is not None
    assert (read.cpu.usage_ratio, read.sequence) == (ratio, sequence)
    assert parse(read.model_dump_json(by_alias=True).encode()) == read
    assert read.agent == heartbeat.agent
