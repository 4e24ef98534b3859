"""The first person who may sign in: an administrator with a random password, made when there is nobody yet."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pvewatch.stack.parts import pvewatch
from pvewatch.stack.processes import StackError

FIRST_USER = "admin"
PASSWORD_BYTES = 15
TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class FirstLogin:
    """A name and its password, to be shown once."""

    name: str
    password: str

    def __repr__(self) -> str:
        return f"FirstLogin(name={self.name!r}, password=<hidden>)"


def make_first_login(config: Path | None, environment: Mapping[str, str]) -> FirstLogin | None:
    """Make the first administrator, None when the action API knows somebody already.

    Raises StackError when `pvewatch user` fails.
    """
    if _user(config, environment, "list").strip():
        return None
    login = FirstLogin(FIRST_USER, secrets.token_urlsafe(PASSWORD_BYTES))
    # The password goes over standard input: arguments are visible to every user of the machine.
    _user(config, environment, "add", login.name, "--role", "admin", "--password-stdin", stdin=f"{login.password}\n")
    return login


def _user(config: Path | None, environment: Mapping[str, str], *arguments: str, stdin: str = "") -> str:
    command = pvewatch("user", *arguments, config=config)
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            env=dict(environment),
            # Ctrl-C is for us: half a command would leave half an account.
            start_new_session=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise StackError(f"pvewatch user {arguments[0]} did not end within {TIMEOUT_SECONDS} s") from error
    if done.returncode:
        raise StackError(f"pvewatch user {arguments[0]} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout
