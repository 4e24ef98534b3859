from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.heartbeats.keys import (
    REVOCATIONS,
    HeartbeatKeys,
    NoRotation,
    RotationUnfinished,
    TokenRevoked,
    current_token,
    finish_rotation,
    revocations,
    revoke,
    rotate,
)
from exporter.heartbeats.tokens import TokenRefused
from pvewatch.config import ConfigError
from pvewatch.secrets import Secret, read_internal_secret


@pytest.fixture
def keys(tmp_path: Path) -> HeartbeatKeys:
    """Those of a running exporter."""
    return HeartbeatKeys(tmp_path, read_internal_secret(tmp_path, "heartbeat", create=True))


def speaks(keys: HeartbeatKeys, token: str) -> tuple[str, int]:
    speaker = keys.verify(token)
    return speaker.cluster, speaker.vmid


def test_after_a_rotation_old_and_new_tokens_are_valid_until_it_is_finished(
    keys: HeartbeatKeys, tmp_path: Path
) -> None:
    old = current_token(tmp_path, "lab", 101)
    assert speaks(keys, old) == ("lab", 101)
    rotate(tmp_path)
    new = current_token(tmp_path, "lab", 101)
    assert new != old
    assert speaks(keys, old) == speaks(keys, new) == ("lab", 101)
    assert keys.verify(old).key_id != keys.verify(new).key_id == keys.current_key_id

    finish_rotation(tmp_path)
    assert speaks(keys, new) == ("lab", 101)
    with pytest.raises(TokenRefused):
        keys.verify(old)


def test_a_second_rotation_waits_for_the_first(keys: HeartbeatKeys, tmp_path: Path) -> None:
    old = current_token(tmp_path, "lab", 101)
    rotate(tmp_path)
    with pytest.raises(RotationUnfinished):
        rotate(tmp_path)
    assert speaks(keys, old) == ("lab", 101)
    finish_rotation(tmp_path)
    with pytest.raises(NoRotation):
        finish_rotation(tmp_path)
    rotate(tmp_path)


def test_a_rotated_secret_is_nobody_elses_to_read(tmp_path: Path) -> None:
    rotate(tmp_path)
    for name in ("heartbeat", "heartbeat.previous"):
        assert (tmp_path / "secrets" / name).stat().st_mode & 0o777 == 0o600


def test_a_revoked_token_is_refused_at_once_and_a_new_one_taken(keys: HeartbeatKeys, tmp_path: Path) -> None:
    first, other = current_token(tmp_path, "lab", 101), current_token(tmp_path, "lab", 102)
    elsewhere = current_token(tmp_path, "home", 101)
    assert speaks(keys, first) == ("lab", 101)
    revoke(tmp_path, "lab", 101)
    with pytest.raises(TokenRevoked):
        keys.verify(first)
    assert speaks(keys, other) == ("lab", 102)
    assert speaks(keys, elsewhere) == ("home", 101)

    second = current_token(tmp_path, "lab", 101)
    assert speaks(keys, second) == ("lab", 101)
    revoke(tmp_path, "lab", 101)
    for revoked in (first, second):
        with pytest.raises(TokenRevoked):
            keys.verify(revoked)
    assert speaks(keys, current_token(tmp_path, "lab", 101)) == ("lab", 101)


def test_revocation_outlives_the_process_and_a_rotation(keys: HeartbeatKeys, tmp_path: Path) -> None:
    token = current_token(tmp_path, "lab", 101)
    revoke(tmp_path, "lab", 101)
    rotate(tmp_path)
    started_again = HeartbeatKeys(tmp_path, read_internal_secret(tmp_path, "heartbeat"))
    for known in (keys, started_again):
        with pytest.raises(TokenRevoked):
            known.verify(token)


def test_two_people_who_revoke_at_once_both_succeed(tmp_path: Path) -> None:
    threads = [threading.Thread(target=revoke, args=(tmp_path, "lab", 100 + n % 4)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert revocations(tmp_path) == {f"lab/{vmid}": 5 for vmid in range(100, 104)}


@pytest.mark.parametrize("damage", ["", "[]", '{"lab/101": "often"}', '{"lab/101": 0}', "{"])
def test_a_damaged_list_of_revocations_lets_nobody_back_in(keys: HeartbeatKeys, tmp_path: Path, damage: str) -> None:
    token = current_token(tmp_path, "lab", 101)
    revoke(tmp_path, "lab", 101)
    with pytest.raises(TokenRevoked):
        keys.verify(token)
    (tmp_path / REVOCATIONS).write_text(damage)
    with pytest.raises(TokenRevoked):
        keys.verify(token)
    for attempt in (lambda: revoke(tmp_path, "lab", 102), lambda: HeartbeatKeys(tmp_path, Secret("x"))):
        with pytest.raises(ConfigError) as caught:
            attempt()
        assert caught.value.problems[0].place.endswith(REVOCATIONS)
        assert "restore it" in caught.value.problems[0].remedy


def test_a_secret_that_cannot_be_read_any_more_goes_on_counting(keys: HeartbeatKeys, tmp_path: Path) -> None:
    token = current_token(tmp_path, "lab", 101)
    assert speaks(keys, token) == ("lab", 101)
    (tmp_path / "secrets" / "heartbeat").write_text("")
    assert speaks(keys, token) == ("lab", 101)


@given(st.text(max_size=120))
def test_any_text_that_is_no_token_is_refused(presented: str) -> None:
    with pytest.raises(TokenRefused):
        HeartbeatKeys(None, Secret("of this exporter")).verify(presented)
