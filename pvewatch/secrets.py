"""Secrets: where they are, how they are read, and those that pvewatch makes for itself.

A `Secret` shows itself only through `.reveal()`, so that no log line, page, traceback or repr can hold one by accident.
"""

from __future__ import annotations

import os
import secrets as random_source
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pvewatch.config_problems import ConfigError, Problem

InternalSecret = Literal[
    "heartbeat", "heartbeat.previous", "inventory", "enrolment", "webhook", "pve-notifications", "discovery"
]
# Those that every installation has; `heartbeat.previous` is there during a rotation only.
MADE_AT_FIRST: tuple[InternalSecret, ...] = (
    "heartbeat",
    "inventory",
    "enrolment",
    "webhook",
    "pve-notifications",
    "discovery",
)


class Secret:
    """A value that does not print itself."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself, for the one call that needs it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret is: a file, or an environment variable."""

    file: Path | None = None
    env: str | None = None

    @property
    def place(self) -> str:
        """A name of the place for messages."""
        return str(self.file) if self.file is not None else f"environment variable {self.env}"

    def resolve(self, env: Mapping[str, str] | None = None) -> Secret:
        """Read the secret, without its trailing newline. Raises ConfigError naming the place and the remedy."""
        if self.file is not None:
            return _read_file(self.file)
        value = (os.environ if env is None else env).get(self.env or "", "").strip()
        if not value:
            raise ConfigError([Problem(self.place, "is not set", f"export {self.env} with the token's secret")])
        return Secret(value)


def _read_file(path: Path) -> Secret:
    try:
        mode = path.stat().st_mode
        value = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        remedy = f"write the secret into it and run: chmod 600 {path}"
        raise ConfigError([Problem(str(path), f"cannot be read: {error.strerror}", remedy)]) from error
    if mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
        raise ConfigError([Problem(str(path), "can be read or changed by others", f"run: chmod 600 {path}")])
    if not value:
        raise ConfigError([Problem(str(path), "is empty", "write the secret into it")])
    return Secret(value)


def internal_secret_file(data_dir: Path, name: InternalSecret) -> Path:
    """The file of a secret that only pvewatch's own processes share."""
    return data_dir / "secrets" / name


def read_internal_secret(data_dir: Path, name: InternalSecret, *, create: bool = False) -> Secret:
    """Read one of pvewatch's own secrets.

    `heartbeat`: agents' tokens derive from it; `heartbeat.previous`: the one before, during a rotation. `inventory`:
    the action API reads the exporter with it. `enrolment`: it asks the exporter for one
    guest's token with it. `pve-notifications`: Proxmox VE calls the action API with it. `webhook`: Alertmanager does.
    `discovery`: Prometheus reads the exporter's lists of guests with it.
    With `create` it is made on first use (43 characters, mode 0600); two processes starting at once agree on one.
    Raises ConfigError when it is missing and may not be made, or cannot be.
    """
    path = internal_secret_file(data_dir, name)
    try:
        if create and not path.exists():
            _make(path)
        missing = not path.exists()
    except OSError as error:
        remedy = "let the user that runs pvewatch write to data_dir, or set another data_dir"
        raise ConfigError([Problem(str(path), f"cannot be made: {error.strerror}", remedy)]) from error
    if missing:
        remedy = "start the exporter or run `pvewatch render` first: they make it"
        raise ConfigError([Problem(str(path), "is missing", remedy)])
    return _read_file(path)


def replace_internal_secret(data_dir: Path, name: InternalSecret, value: Secret | None) -> None:
    """Write a secret in place of the one that is there, in one step; `value` None makes a new random one.

    Raises ConfigError when it cannot be written.
    """
    path = internal_secret_file(data_dir, name)
    try:
        scratch = _write_beside(path, value.reveal() if value else random_source.token_urlsafe(32))
        scratch.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        remedy = "let the user that runs pvewatch write there"
        raise ConfigError([Problem(str(path), f"cannot be written: {error.strerror}", remedy)]) from error


def give_to_owner_of(folder: Path, descriptor: int) -> None:
    """Where root writes, the open file becomes the folder's owner's, who has to read it. Raises OSError."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _write_beside(path: Path, value: str) -> Path:
    """A file of mode 0600 in the same folder that holds the value, on disk."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.{random_source.token_hex(4)}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        give_to_owner_of(path.parent, descriptor)
        file.write(value + "\n")
        file.flush()
        os.fsync(file.fileno())
    return scratch


def _make(path: Path) -> None:
    scratch = _write_beside(path, random_source.token_urlsafe(32))
    try:
        # link() refuses an existing target: of two starters one wins, whole, and both read the winner's file.
        os.link(scratch, path)
    except FileExistsError:
        pass
    finally:
        scratch.unlink()
