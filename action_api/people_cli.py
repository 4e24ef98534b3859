"""`pvewatch user …`: who may sign in to the action API, managed on the machine itself."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime

import click
import segno

from action_api.auth.passwords import hash_password, name_problem, password_problem, random_password
from action_api.auth.second_factor import new_secret, provisioning_uri
from action_api.catalogue import ROLES, Role
from action_api.console import SettingsSource, actor, opened
from action_api.store import NameTaken, Store, User

MAX_PASSWORD_LINE = 2000


@click.group()
def user() -> None:
    """Manage who may sign in to the action API."""


@user.command()
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="viewer", show_default=True)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input instead of making one.")
@click.pass_obj
def add(source: SettingsSource, name: str, role: Role, password_stdin: bool) -> None:
    """Add a person. Without --password-stdin a random password is made and printed once."""
    problem = name_problem(name)
    if problem:
        raise click.BadParameter(problem, param_hint="NAME")
    password = _new_password(password_stdin)
    with opened(source.load()) as store:
        try:
            store.users.create(name, hash_password(password), role, now=time.time())
        except NameTaken as error:
            raise click.ClickException(f"{error}; change the role with: pvewatch user role {name} {role}") from error
        _audit(store, "user.added", name, role=role)
    click.echo(f"{name} may sign in as {role}.", err=True)
    if not password_stdin:
        click.echo("The password, shown this once:", err=True)
        click.echo(password)


@user.command("list")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@click.pass_obj
def list_people(source: SettingsSource, as_json: bool) -> None:
    """List everybody."""
    with opened(source.load()) as store:
        rows = [_row(person) for person in store.users.list()]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        click.echo("Nobody may sign in yet. Add an administrator: pvewatch user add NAME --role admin", err=True)
        return
    width = max(4, *(len(str(row["name"])) for row in rows))
    click.echo(f"{'NAME':<{width}}  {'ROLE':<8}  {'SECOND FACTOR':<13}  {'SINCE':<10}  STATE")
    for row in rows:
        factor = "yes" if row["second_factor"] else "no"
        state = "disabled" if row["disabled"] else "active"
        click.echo(f"{row['name']:<{width}}  {row['role']:<8}  {factor:<13}  {str(row['created'])[:10]}  {state}")


@user.command()
@click.argument("name")
@click.option("--undo", is_flag=True, help="Let the person sign in again.")
@click.pass_obj
def disable(source: SettingsSource, name: str, undo: bool) -> None:
    """Refuse a person from now on; open sessions end at once."""
    with opened(source.load()) as store:
        person = _find(store, name)
        if undo:
            store.users.enable(person.id)
        else:
            store.users.disable(person.id, now=time.time())
        _audit(store, "user.enabled" if undo else "user.disabled", name)
    click.echo(f"{name} may sign in again." if undo else f"{name} is disabled and signed out everywhere.", err=True)


@user.command()
@click.argument("name")
@click.argument("role", type=click.Choice(ROLES))
@click.pass_obj
def role(source: SettingsSource, name: str, role: Role) -> None:
    """Change what a person may do; counts from the next click on."""
    with opened(source.load()) as store:
        person = _find(store, name)
        store.users.set_role(person.id, role)
        _audit(store, "user.role_changed", name, before=person.role, after=role)
    click.echo(f"{name} is {role} now (was {person.role}).", err=True)


@user.command()
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input instead of making one.")
@click.pass_obj
def password(source: SettingsSource, name: str, password_stdin: bool) -> None:
    """Give a person a new password; open sessions end at once."""
    new = _new_password(password_stdin)
    with opened(source.load()) as store:
        person = _find(store, name)
        store.users.set_password(person.id, hash_password(new), now=time.time())
        _audit(store, "user.password_changed", name)
    click.echo(f"{name} has a new password and is signed out everywhere.", err=True)
    if not password_stdin:
        click.echo(new)


@user.command()
@click.argument("name")
@click.option("--reset", is_flag=True, help="Replace a second factor that is in use, for example after a lost phone.")
@click.pass_obj
def totp(source: SettingsSource, name: str, reset: bool) -> None:
    """Set up a person's second factor: prints the code to scan, once."""
    with opened(source.load()) as store:
        person = _find(store, name)
        if person.totp_confirmed_at is not None and not reset:
            raise click.ClickException(f"{name} has a second factor already; replace it with --reset")
        secret, now = new_secret(), time.time()
        store.users.set_totp_secret(person.id, secret)
        # Whoever runs this hands the code over, so it counts at once: the next sign-in asks for it.
        store.users.confirm_totp(person.id, now=now)
        store.sessions.revoke_all(person.id, now=now)
        _audit(store, "user.second_factor_reset" if reset else "user.second_factor_added", name)
    uri = provisioning_uri(name, secret)
    segno.make(uri, error="m").terminal(out=sys.stdout, compact=True)
    click.echo(uri)
    click.echo(f"Let {name} scan this with an authenticator app. It is not shown again.", err=True)


def _find(store: Store, name: str) -> User:
    person = store.users.by_name(name)
    if person is None:
        raise click.ClickException(f"nobody is named {name!r}; see: pvewatch user list")
    return person


def _new_password(from_stdin: bool) -> str:
    if not from_stdin:
        return random_password()
    given = sys.stdin.readline(MAX_PASSWORD_LINE).rstrip("\r\n")
    problem = password_problem(given)
    if problem:
        raise click.ClickException(f"standard input: {problem}")
    return given


def _audit(store: Store, event: str, name: str, **detail: str) -> None:
    # The person it is about is in the detail.
    store.audit.write(event, actor=actor(), origin="person", now=time.time(), detail={"name": name, **detail})


def _row(person: User) -> dict[str, str | bool]:
    return {
        "name": person.name,
        "role": person.role,
        "second_factor": person.totp_confirmed_at is not None,
        "disabled": person.disabled_at is not None,
        "created": datetime.fromtimestamp(person.created_at, UTC).isoformat(timespec="seconds"),
    }
