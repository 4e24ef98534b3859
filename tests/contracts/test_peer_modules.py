"""Every pve.yml that prometheus-pve-exporter works with is taken; any other is refused with what to do about it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.peer.modules import LONGEST_TIMEOUT_SECONDS, read_modules
from pvewatch.config import ConfigError
from pvewatch.pve.one_host import Login

Read = Callable[..., Login]

TOKEN = {"user": "prometheus@pve", "token_name": "exporter", "token_value": '"s3cret"'}


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads a pve.yml with a token's login, changed as given; None takes a key away."""

    def login(**changed: str | None) -> Login:
        path = tmp_path / "pve.yml"
        lines = [f"    {key}: {value}" for key, value in {**TOKEN, **changed}.items() if value is not None]
        path.write_text("\n".join(["default:", *lines]) + "\n")
        path.chmod(0o600)
        return read_modules(path)["default"]

    return login


def test_a_number_without_quotes_is_the_text_that_the_other_sends(read: Read) -> None:
    login = read(token_name="7", token_value="12345")
    assert (login.token_name, login.secret.reveal()) == ("7", "12345")
    login = read(user="1000", password="12.5", token_name=None, token_value=None)
    assert (login.user, login.secret.reveal()) == ("1000", "12.5")


@pytest.mark.parametrize(
    ("written", "verify"),
    [("0", False), ("1", True), ("false", False), ("yes", True), ("/etc/pve-root-ca.pem", "/etc/pve-root-ca.pem")],
)
def test_verify_ssl_is_a_boolean_a_bit_or_a_path(read: Read, written: str, verify: bool | str) -> None:
    found = read(verify_ssl=written).verify
    assert (found, type(found)) == (verify, type(verify))


@pytest.mark.parametrize("written", ["90", "3600.5", ".inf", "1" + "0" * 400])
def test_a_timeout_longer_than_an_answer_may_take_is_cut_and_the_log_names_it(
    read: Read, caplog: pytest.LogCaptureFixture, written: str
) -> None:
    assert read(timeout=written).timeout_seconds == LONGEST_TIMEOUT_SECONDS
    (warning,) = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert "default.timeout" in warning
    assert "60 s is used" in warning


def test_a_timeout_within_the_bound_is_taken_in_silence(read: Read, caplog: pytest.LogCaptureFixture) -> None:
    assert read(timeout="60").timeout_seconds == LONGEST_TIMEOUT_SECONDS
    assert caplog.records == []


@pytest.mark.parametrize(
    ("key", "written"),
    [
        ("verify_ssl", "2"),
        ("verify_ssl", "[0]"),
        ("verify_ssl", ""),
        ("timeout", "0"),
        ("timeout", "-1"),
        ("timeout", ".nan"),
        ("timeout", '"90"'),
        ("timeout", "true"),
        ("token_value", "true"),
        ("token_value", "[1]"),
        ("token_value", '""'),
        ("token_value", "2026-01-01"),
        ("path_prefix", "5"),
        ("port", "70000"),
        ("otp", "123456"),
        ("colour", "red"),
    ],
)
def test_anything_else_is_refused_by_its_name_and_with_a_remedy(read: Read, key: str, written: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(**{key: written})
    (problem,) = refused.value.problems
    assert problem.place.endswith(f"default.{key}")
    assert problem.remedy


@pytest.mark.parametrize("written", ["9" * 5000, "2026-13-45", "0x" + "f" * 5000])
def test_what_yaml_itself_cannot_make_a_value_of_is_a_mistake_and_no_crash(read: Read, written: str) -> None:
    with pytest.raises(ConfigError):
        read(token_value=written)
