"""Which heartbeat tokens are valid now: two secrets during a rotation, and guests whose tokens were revoked.

    <data_dir>/secrets/heartbeat            the secret that tokens derive from
    <data_dir>/secrets/heartbeat.previous   the one before, valid as well until the rotation is finished
    <data_dir>/heartbeat-revocations.json   {"lab/101": 1}: how often that guest's token was revoked

`pvewatch agents` writes these files. A running exporter looks with each heartbeat whether they have changed, though not
more often than every LOOK_SECONDS: at each of these system calls other threads take their turn.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Generic, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from exporter.heartbeats.tokens import TokenRefused, token, verify
from pvewatch.config import ConfigError, Problem
from pvewatch.secrets import (
    Secret,
    give_to_owner_of,
    internal_secret_file,
    read_internal_secret,
    replace_internal_secret,
)

REVOCATIONS = "heartbeat-revocations.json"
MAX_REVOCATIONS_BYTES = 16 * 1024 * 1024
# How far back a refused token is looked up to say that it was revoked, and not merely wrong.
REMEMBERED_REVOCATIONS = 8
LOOK_SECONDS = 0.1

Value = TypeVar("Value")
Guest = tuple[str, int]
_Stamp = tuple[int, int, int, int]
_REVOCATIONS = TypeAdapter(dict[str, Annotated[int, Field(ge=1, le=1_000_000)]])
_log = logging.getLogger(__name__)


class TokenRevoked(TokenRefused):
    """The token was valid once and was revoked."""


class RotationUnfinished(Exception):
    """The rotation before is not finished: a third secret would shut out the agents that still have the first."""


class NoRotation(Exception):
    """There is no previous secret to remove."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who a token speaks for, and which secret it derives from (a few letters that tell secrets apart)."""

    cluster: str
    vmid: int
    key_id: str


class _Watched(Generic[Value]):
    """What a file holds, read again whenever the file has changed."""

    def __init__(self, path: Path, read: Callable[[], Value | None]) -> None:
        self._path = path
        self._read = read
        # Of the file that was read last, and of the one whose reading was last told of: like no file's at first.
        self._stamp: _Stamp | None = (0, 0, 0, 0)
        self._told: _Stamp | None = self._stamp
        self._value: Value | None = None

    def get(self) -> Value | None:
        """The newest that could be read; None when there is no file."""
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            try:
                self._value = self._read() if stamp is not None else None
                self._stamp = self._told = stamp
            except ConfigError as error:
                # What counted before goes on counting: a damaged file must not let everybody in, or nobody. It is tried
                # again at the next look, as what was in the way need not show in the file; told once for each change.
                for problem in error.problems if stamp != self._told else ():
                    _log.error("%s: %s; %s", problem.place, problem.message, problem.remedy)
                self._told = stamp
        return self._value


class HeartbeatKeys:
    """Says which guest a token speaks for; may be asked from any thread."""

    def __init__(self, data_dir: Path | None, secret: Secret) -> None:
        """`secret` counts until <data_dir>/secrets/heartbeat has another; without `data_dir` it alone counts.

        A change of the files counts after LOOK_SECONDS at the latest. Raises ConfigError when a file is there and
        cannot be read.
        """
        self._own = secret
        self._looked = -math.inf
        self._known: tuple[tuple[Secret, ...], Mapping[str, int]] = ((secret,), {})
        self._files: tuple[_Watched[Secret], _Watched[Secret]] | None = None
        self._revocations: _Watched[Mapping[str, int]] | None = None
        if data_dir is not None:
            revocations(data_dir)  # a damaged file is a mistake to be told at the start
            self._files = (
                _Watched(
                    internal_secret_file(data_dir, "heartbeat"), lambda: read_internal_secret(data_dir, "heartbeat")
                ),
                _Watched(
                    internal_secret_file(data_dir, "heartbeat.previous"),
                    lambda: read_internal_secret(data_dir, "heartbeat.previous"),
                ),
            )
            self._revocations = _Watched(data_dir / REVOCATIONS, lambda: revocations(data_dir))

    @property
    def current_key_id(self) -> str:
        """The `key_id` of tokens that are printed now."""
        return key_id(self._look()[0][0])

    def verify(self, presented: str) -> Speaker:
        """Who this token speaks for.

        Raises TokenRevoked for one that was valid before its guest's token was revoked, TokenRefused for any other.
        """
        secrets, revoked = self._look()
        generation = revoked.get(guest_of(presented), 0)
        for secret in secrets:
            try:
                cluster, vmid = verify(secret, presented, generation)
            except TokenRefused:
                continue
            return Speaker(cluster, vmid, key_id(secret))
        for older in range(max(0, generation - REMEMBERED_REVOCATIONS), generation):
            for secret in secrets:
                try:
                    verify(secret, presented, older)
                except TokenRefused:
                    continue
                raise TokenRevoked
        raise TokenRefused

    def _look(self) -> tuple[tuple[Secret, ...], Mapping[str, int]]:
        """The secrets that count and the revocations."""
        now = time.monotonic()
        if self._files is not None and self._revocations is not None and now - self._looked >= LOOK_SECONDS:
            # In this order: whoever sees a new secret sees the previous one too.
            current, previous = (file.get() for file in self._files)
            secrets = (current or self._own,) if previous is None else (current or self._own, previous)
            self._known = secrets, self._revocations.get() or {}
            self._looked = now
        return self._known


def guest_of(presented: str) -> str:
    """The `cluster/vmid` that a token names, not yet verified; anything for what is no token."""
    parts = presented.split(".", 3)
    return f"{parts[1]}/{parts[2]}" if len(parts) == 4 else ""


def key_id(secret: Secret) -> str:
    """A few letters by which a secret is told from another; they say nothing about the secret itself."""
    return hashlib.sha256(b"pvewatch key id " + secret.reveal().encode()).hexdigest()[:8]


def current_token(data_dir: Path, cluster: str, vmid: int) -> str:
    """The guest's token that is valid now; the secret is made if there is none yet.

    Raises ConfigError, and ValueError for a name or number that no guest can have.
    """
    secret = read_internal_secret(data_dir, "heartbeat", create=True)
    return token(secret, cluster, vmid, revocations(data_dir).get(f"{cluster}/{vmid}", 0))


def rotate(data_dir: Path) -> None:
    """Make a new secret; the one until now stays valid until `finish_rotation`.

    Raises RotationUnfinished, and ConfigError when the files cannot be written.
    """
    old = read_internal_secret(data_dir, "heartbeat", create=True)
    with _locked(data_dir / "secrets" / ".lock"):
        if internal_secret_file(data_dir, "heartbeat.previous").exists():
            raise RotationUnfinished
        # In this order: at every moment the files together hold the secret that agents use.
        replace_internal_secret(data_dir, "heartbeat.previous", old)
        replace_internal_secret(data_dir, "heartbeat", None)


def finish_rotation(data_dir: Path) -> None:
    """Remove the previous secret: its tokens are refused from now on. Raises NoRotation."""
    with _locked(data_dir / "secrets" / ".lock"):
        try:
            internal_secret_file(data_dir, "heartbeat.previous").unlink()
        except FileNotFoundError:
            raise NoRotation from None


def revoke(data_dir: Path, cluster: str, vmid: int) -> None:
    """Make all tokens printed so far for this guest invalid; a new one can be printed. Raises ConfigError."""
    path = data_dir / REVOCATIONS
    # Beside its own file: in a container the exporter may not write among the secrets.
    with _locked(data_dir / f".{REVOCATIONS}.lock"):
        known = dict(revocations(data_dir))
        known[f"{cluster}/{vmid}"] = known.get(f"{cluster}/{vmid}", 0) + 1
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with os.fdopen(
                os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
            ) as file:
                give_to_owner_of(data_dir, file.fileno())
                json.dump(known, file, indent=1, sort_keys=True)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(path)
        except OSError as error:
            scratch.unlink(missing_ok=True)
            remedy = "let the exporter's user write there, and revoke again"
            raise ConfigError([Problem(str(path), f"cannot be written: {error.strerror}", remedy)]) from error


def revocations(data_dir: Path) -> Mapping[str, int]:
    """How often each guest's token was revoked, by `cluster/vmid`. Raises ConfigError for a damaged file."""
    path = data_dir / REVOCATIONS
    try:
        with path.open("rb") as file:
            return _REVOCATIONS.validate_json(file.read(MAX_REVOCATIONS_BYTES))
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is damaged"
        remedy = "restore it from a backup; removing it would make revoked tokens valid again"
        raise ConfigError([Problem(str(path), f"cannot be read: {why}", remedy)]) from error


class _locked:  # noqa: N801 - used like a function
    """One writer at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            give_to_owner_of(self._path.parent, self._file)
        except OSError as error:
            remedy = "run it as the exporter's user, where that may write (in containers: docs/agents.md)"
            raise ConfigError([Problem(str(self._path), f"cannot be written: {error.strerror}", remedy)]) from error
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._file)


def _stamp(path: Path) -> _Stamp | None:
    """What changes whenever the file does; None when there is none."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        # It may be there, and what it held counts on: a folder that was locked must not make revoked tokens valid.
        return -1, error.errno or 0, 0, 0
    # The inode too: files are replaced whole, perhaps twice within the clock's resolution. The time of the last change
    # of owner or mode, as either may make a file readable that was not.
    return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size
