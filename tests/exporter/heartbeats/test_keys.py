from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.heartbeats import keys as keys_module
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
from exporter.heartbeats.tokens import TokenRefused, token
from pvewatch.config import ConfigError, Problem
from pvewatch.secrets import InternalSecret, Secret, read_internal_secret


@pytest.fixture
def keys(tmp_path: Path) -> HeartbeatKeys:
    """Those of a running exporter."""
    return HeartbeatKeys(tmp_path, read_internal_secret(tmp_path, "heartbeat", create=True))


def is_valid(keys: HeartbeatKeys, token: str) -> bool:
    try:
        keys.verify(token)
    except TokenRevoked:
        return False
    return True


def current_token_of(secret: str) -> str:
    return token(Secret(secret), "lab", 101, 0)


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


def test_a_running_exporter_hears_of_a_revocation_soon(
    keys: HeartbeatKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys_module, "LOOK_SECONDS", 0.1)
    stolen = current_token(tmp_path, "lab", 101)
    assert speaks(keys, stolen) == ("lab", 101)
    revoke(tmp_path, "lab", 101)
    deadline = time.monotonic() + 30
    while is_valid(keys, stolen):
        assert time.monotonic() < deadline


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


def test_a_secret_whose_reading_failed_counts_once_it_can_be_read_and_is_told_of_once(
    keys: HeartbeatKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keys_module, "LOOK_SECONDS", 0.0)
    old = current_token(tmp_path, "lab", 101)
    assert speaks(keys, old) == ("lab", 101)
    rotate(tmp_path)
    new = current_token(tmp_path, "lab", 101)
    locked = True

    def read(data_dir: Path, name: InternalSecret) -> Secret:
        if locked:  # by what no stat shows, such as a security module
            raise ConfigError([Problem(name, "cannot be read: Permission denied", "unlock it")])
        return read_internal_secret(data_dir, name)

    monkeypatch.setattr(keys_module, "read_internal_secret", read)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert speaks(keys, old) == ("lab", 101)
            with pytest.raises(TokenRefused):
                keys.verify(new)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["heartbeat", "heartbeat.previous"]
    locked = False
    assert speaks(keys, old) == speaks(keys, new) == ("lab", 101)


def test_a_secret_that_others_could_read_counts_once_its_mode_is_mended(
    keys: HeartbeatKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keys_module, "LOOK_SECONDS", 0.0)
    file = tmp_path / "secrets" / "heartbeat"
    former = file.stat()
    file.write_text("another secret")
    file.chmod(0o644)
    token = current_token_of("another secret")
    with pytest.raises(TokenRefused):
        keys.verify(token)
    file.chmod(0o600)
    assert speaks(keys, token) == ("lab", 101)
    # Nothing but owner or mode changed, and what is in the way now is told of.
    file.chmod(0o644)
    assert speaks(keys, token) == ("lab", 101)
    assert former.st_ino == file.stat().st_ino
    assert len(caplog.records) == 2


def test_a_folder_that_cannot_be_entered_lets_no_revoked_token_back_in(
    keys: HeartbeatKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys_module, "LOOK_SECONDS", 0.0)
    token = current_token(tmp_path, "lab", 101)
    revoke(tmp_path, "lab", 101)
    with pytest.raises(TokenRevoked):
        keys.verify(token)

    def refused(path: Path, *_: object, **__: object) -> os.stat_result:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refused)
    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(TokenRevoked):
        keys.verify(token)


def test_what_root_revokes_belongs_to_the_owner_of_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, tuple[int, int]] = {}

    def fchown(descriptor: int, uid: int, gid: int) -> None:
        given[Path(f"/proc/self/fd/{descriptor}").readlink().name] = (uid, gid)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", fchown)
    revoke(tmp_path, "lab", 101)
    owner = tmp_path.stat().st_uid, tmp_path.stat().st_gid
    assert given == {f".{REVOCATIONS}.lock": owner, f".{REVOCATIONS}.{os.getpid()}": owner}


@given(st.text(max_size=120))
def test_any_text_that_is_no_token_is_refused(presented: str) -> None:
    with pytest.raises(TokenRefused):
        HeartbeatKeys(None, Secret("of this exporter")).verify(presented)
