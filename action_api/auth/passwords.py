"""Password hashes (Argon2id) and the rules for new passwords and names."""

from __future__ import annotations

import re
import secrets
import threading
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MIN_PASSWORD_CHARACTERS = 12
# Argon2 reads all of what it is given; a bound keeps a request from handing it megabytes.
MAX_PASSWORD_CHARACTERS = 512

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")
_hasher = PasswordHasher()
# One hash takes 64 MiB: without a limit, a flood of sign-ins would take all memory.
_at_once = threading.BoundedSemaphore(2)


def hash_password(password: str) -> str:
    """The hash to store."""
    with _at_once:
        return _hasher.hash(password)


def verify_password(stored_hash: str | None, password: str) -> bool:
    """Whether the password is the one that was hashed. `None`, nobody of that name, is False after the same work."""
    if len(password) > MAX_PASSWORD_CHARACTERS:
        return False
    with _at_once:
        try:
            _hasher.verify(stored_hash or _nobodys_hash(), password)
        except (VerificationError, InvalidHashError):
            return False
    return stored_hash is not None


def random_password() -> str:
    """A password that nobody guesses: 120 random bits, 20 characters."""
    return secrets.token_urlsafe(15)


def password_problem(password: str) -> str | None:
    """What is wrong with a new password, or None."""
    if len(password) < MIN_PASSWORD_CHARACTERS:
        return f"a password has at least {MIN_PASSWORD_CHARACTERS} characters"
    if len(password) > MAX_PASSWORD_CHARACTERS:
        return f"a password has at most {MAX_PASSWORD_CHARACTERS} characters"
    return None


def name_problem(name: str) -> str | None:
    """What is wrong with a new person's name, or None."""
    if _NAME.fullmatch(name):
        return None
    return "a name has 1 to 64 letters, digits, and . _ @ -, and begins with a letter or digit"


@cache
def _nobodys_hash() -> str:
    return _hasher.hash(secrets.token_urlsafe(32))
