from __future__ import annotations

import json
from pathlib import Path

import pyotp
import pytest
from click.testing import CliRunner, Result

from action_api.auth.passwords import verify_password
from action_api.people_cli import user
from action_api.store import Store
from pvewatch.config import Settings
from tests.action_api.web.site import Site, settings_for


class Source:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def load(self) -> Settings:
        return self.settings


@pytest.fixture
def command(tmp_path: Path, store: Store) -> Source:
    return Source(settings_for(tmp_path))


def run(source: Source, *arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(user, arguments, obj=source, input=stdin)


def test_a_new_person_gets_a_random_password_shown_once(command: Source, store: Store) -> None:
    result = run(command, "add", "Dora", "--role", "operator")
    assert result.exit_code == 0, result.output
    password = result.stdout.strip()
    person = store.users.by_name("Dora")
    assert person is not None
    assert person.role == "operator"
    assert len(password) == 20
    assert verify_password(person.password_hash, password)
    entry = store.audit.recent(1)[0]
    assert (entry.event, entry.detail) == ("user.added", {"name": "Dora", "role": "operator"})
    assert password not in str(entry)


def test_a_password_can_come_from_standard_input(command: Source, store: Store) -> None:
    result = run(command, "add", "Dora", "--password-stdin", stdin="a long enough password\n")
    assert result.exit_code == 0
    assert "a long enough password" not in result.output
    person = store.users.by_name("Dora")
    assert person is not None
    assert verify_password(person.password_hash, "a long enough password")


@pytest.mark.parametrize(
    ("arguments", "stdin", "words"),
    [
        (("add", "Dora", "--password-stdin"), "short\n", "at least 12 characters"),
        (("add", "Do ra"), "", "1 to 64 letters"),
        (("add", "-", "--role", "king"), "", "king"),
        (("role", "Nobody", "admin"), "", "nobody is named 'Nobody'"),
        (("disable", "Nobody"), "", "pvewatch user list"),
        (("totp", "Nobody"), "", "nobody is named"),
    ],
)
def test_a_mistake_is_explained_and_changes_nothing(
    command: Source, store: Store, arguments: tuple[str, ...], stdin: str, words: str
) -> None:
    result = run(command, *arguments, stdin=stdin)
    assert result.exit_code != 0
    assert words in result.output
    assert store.users.list() == ()


def test_a_name_is_given_once(command: Source) -> None:
    run(command, "add", "Dora")
    result = run(command, "add", "Dora", "--role", "admin")
    assert result.exit_code == 1
    assert "pvewatch user role Dora admin" in result.output


def test_the_list_says_who_may_what(command: Source, site: Site) -> None:
    rows = json.loads(run(command, "list", "--json").stdout)
    assert [(row["name"], row["role"], row["second_factor"], row["disabled"]) for row in rows] == [
        ("Alice", "admin", True, False),
        ("Bob", "operator", True, False),
        ("Charlie", "viewer", False, False),
    ]
    table = run(command, "list").stdout
    assert "Alice" in table
    assert "SECOND FACTOR" in table


def test_an_empty_list_says_how_to_begin(command: Source) -> None:
    assert "pvewatch user add NAME --role admin" in run(command, "list").output


def test_disabling_signs_a_person_out_everywhere(command: Source, site: Site) -> None:
    browser = site.signed_in("Charlie")
    assert run(command, "disable", "Charlie").exit_code == 0
    assert browser.get("/").status_code == 303
    assert run(command, "disable", "Charlie", "--undo").exit_code == 0
    assert site.browser().sign_in("Charlie").location == "/"


def test_a_new_password_signs_a_person_out_everywhere(command: Source, site: Site) -> None:
    browser = site.signed_in("Charlie")
    result = run(command, "password", "Charlie")
    assert browser.get("/").status_code == 303
    assert site.browser().sign_in("Charlie", result.stdout.strip()).location == "/"


def test_a_role_can_be_changed(command: Source, site: Site) -> None:
    browser = site.signed_in("Charlie")
    assert run(command, "role", "Charlie", "admin").exit_code == 0
    assert browser.get("/audit").status_code == 200
    assert site.store.audit.recent(1)[0].detail == {"name": "Charlie", "before": "viewer", "after": "admin"}


def test_a_lost_phone_is_replaced_only_when_asked_for(command: Source, site: Site) -> None:
    result = run(command, "totp", "Bob")
    assert result.exit_code == 1
    assert "--reset" in result.output
    result = run(command, "totp", "Bob", "--reset")
    assert result.exit_code == 0
    uri = next(line for line in result.stdout.splitlines() if line.startswith("otpauth://totp/pvewatch:Bob?"))
    person = site.store.users.by_name("Bob")
    assert person is not None
    assert pyotp.parse_uri(uri).secret == person.totp_secret
    assert person.totp_secret not in str(site.store.audit.recent(1))


def test_a_database_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    source = Source(settings_for(tmp_path, database_url="sqlite:////proc/nowhere/a.db"))
    result = run(source, "list")
    assert result.exit_code == 1
    assert "action_api.database_url" in result.output
