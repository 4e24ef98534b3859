"""People, their sessions, their confirmations, and failed logins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from action_api.store.database import Database
from action_api.store.records import Confirmation, NameTaken, Role, Session, User
from action_api.store.tables import confirmations, login_failures, sessions, users

CONFIRMATION_SECONDS = 300.0
MAX_FAILURES_PER_KEY = 50
MAX_FAILURES = 10_000


class Users:
    """People who may sign in."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, name: str, password_hash: str, role: Role, *, now: float) -> User:
        """Add a person. Raises NameTaken."""
        try:
            with self._database.write() as connection:
                values = {"name": name, "password_hash": password_hash, "role": role, "created_at": now}
                row = connection.execute(insert(users).values(values).returning(users)).mappings().one()
        except IntegrityError as error:
            raise NameTaken(name) from error
        return User(**row)

    def by_name(self, name: str) -> User | None:
        """The person of exactly this name, disabled or not."""
        return self._one(users.c.name == name)

    def by_id(self, user_id: int) -> User | None:
        """The person with this number, disabled or not."""
        return self._one(users.c.id == user_id)

    def list(self) -> tuple[User, ...]:
        """Everybody, by name."""
        with self._database.read() as connection:
            return tuple(User(**row) for row in connection.execute(select(users).order_by(users.c.name)).mappings())

    def set_password(self, user_id: int, password_hash: str, *, now: float) -> None:
        """Change the password and end all of the person's sessions."""
        with self._database.write() as connection:
            connection.execute(update(users).where(users.c.id == user_id).values(password_hash=password_hash))
            _revoke(connection, user_id, now)

    def set_role(self, user_id: int, role: Role) -> None:
        """Change what the person may do; counts from the next request on."""
        self._set(user_id, {"role": role})

    def set_totp_secret(self, user_id: int, secret: str | None) -> None:
        """Store a new second-factor secret (None removes it). It counts only after confirm_totp."""
        self._set(user_id, {"totp_secret": secret, "totp_confirmed_at": None, "last_totp_step": None})

    def confirm_totp(self, user_id: int, *, now: float) -> None:
        """The person has shown a valid code of the stored secret."""
        self._set(user_id, {"totp_confirmed_at": now})

    def use_totp_step(self, user_id: int, step: int) -> bool:
        """Spend the time step of a valid code. False when this or a later one was used before: a replay."""
        unused = users.c.last_totp_step.is_(None) | (users.c.last_totp_step < step)
        with self._database.write() as connection:
            change = update(users).where(users.c.id == user_id, unused).values(last_totp_step=step)
            return connection.execute(change).rowcount == 1

    def disable(self, user_id: int, *, now: float) -> None:
        """Refuse the person from now on and end all of their sessions."""
        with self._database.write() as connection:
            still = update(users).where(users.c.id == user_id, users.c.disabled_at.is_(None))
            connection.execute(still.values(disabled_at=now))
            _revoke(connection, user_id, now)

    def enable(self, user_id: int) -> None:
        """Let the person sign in again."""
        self._set(user_id, {"disabled_at": None})

    def _set(self, user_id: int, values: Mapping[str, Any]) -> None:
        with self._database.write() as connection:
            connection.execute(update(users).where(users.c.id == user_id).values(dict(values)))

    def _one(self, condition: Any) -> User | None:
        with self._database.read() as connection:
            row = connection.execute(select(users).where(condition)).mappings().one_or_none()
        return None if row is None else User(**row)


class Sessions:
    """Signed-in browsers, known by the SHA-256 of their cookie."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, id_hash: str, user_id: int, *, now: float, expires_at: float) -> Session:
        """Begin a session, without a second factor yet."""
        values = {
            "id_hash": id_hash,
            "user_id": user_id,
            "created_at": now,
            "expires_at": expires_at,
            "last_seen_at": now,
        }
        with self._database.write() as connection:
            row = connection.execute(insert(sessions).values(values).returning(sessions)).mappings().one()
        return Session(**row)

    def find(self, id_hash: str, *, now: float) -> tuple[Session, User] | None:
        """The session and its person; None when unknown, expired, revoked, or the person is disabled."""
        query = select(sessions, *(column.label(f"user_{column.name}") for column in users.c)).join_from(
            sessions, users, sessions.c.user_id == users.c.id
        )
        valid = (sessions.c.expires_at > now, sessions.c.revoked_at.is_(None), users.c.disabled_at.is_(None))
        with self._database.read() as connection:
            row = connection.execute(query.where(sessions.c.id_hash == id_hash, *valid)).one_or_none()
        if row is None:
            return None
        width = len(sessions.c)
        return Session(*row[:width]), User(*row[width:])

    def seen(self, id_hash: str, *, now: float) -> None:
        """Note that the session was used. Call it sparingly (about once a minute): each call is a write."""
        self._set(id_hash, {"last_seen_at": now})

    def second_factor_given(self, id_hash: str, *, now: float) -> None:
        """Note that the second factor was given in this session."""
        self._set(id_hash, {"second_factor_at": now})

    def revoke(self, id_hash: str, *, now: float) -> None:
        """End one session."""
        self._set(id_hash, {"revoked_at": now})

    def revoke_all(self, user_id: int, *, now: float) -> None:
        """End all sessions of a person."""
        with self._database.write() as connection:
            _revoke(connection, user_id, now)

    def remove_expired(self, *, now: float) -> int:
        """Remove sessions (and their confirmations) that ended more than a day ago; answers how many."""
        with self._database.write() as connection:
            connection.execute(delete(confirmations).where(confirmations.c.expires_at < now - 86400))
            return connection.execute(delete(sessions).where(sessions.c.expires_at < now - 86400)).rowcount

    def _set(self, id_hash: str, values: Mapping[str, Any]) -> None:
        with self._database.write() as connection:
            connection.execute(update(sessions).where(sessions.c.id_hash == id_hash).values(dict(values)))


class Confirmations:
    """Single-use tokens of the page that shows what would happen. Known by the SHA-256 of the token."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def issue(
        self,
        token_hash: str,
        session_id_hash: str,
        *,
        cluster: str,
        kind: str,
        vmid: int,
        action: str,
        state_shown: str,
        now: float,
    ) -> None:
        """Remember a token for exactly this session, guest, action and state shown; it lives five minutes."""
        values = {
            "token_hash": token_hash,
            "session_id_hash": session_id_hash,
            "cluster": cluster,
            "kind": kind,
            "vmid": vmid,
            "action": action,
            "state_shown": state_shown,
            "created_at": now,
            "expires_at": now + CONFIRMATION_SECONDS,
        }
        with self._database.write() as connection:
            connection.execute(insert(confirmations).values(values))

    def redeem(
        self, token_hash: str, session_id_hash: str, *, cluster: str, kind: str, vmid: int, action: str, now: float
    ) -> Confirmation | None:
        """Spend a token. None when unknown, spent, expired, or made for another session, guest or action.

        The caller compares ``state_shown`` with the guest's state now.
        """
        wanted = confirmations.c
        spend = (
            update(confirmations)
            .where(
                wanted.token_hash == token_hash,
                wanted.session_id_hash == session_id_hash,
                wanted.cluster == cluster,
                wanted.kind == kind,
                wanted.vmid == vmid,
                wanted.action == action,
                wanted.used_at.is_(None),
                wanted.expires_at > now,
            )
            .values(used_at=now)
            .returning(wanted.cluster, wanted.kind, wanted.vmid, wanted.action, wanted.state_shown, wanted.created_at)
        )
        with self._database.write() as connection:
            row = connection.execute(spend).one_or_none()
        return None if row is None else Confirmation(*row)


class LoginFailures:
    """Failed logins per key (a name, an address), for throttling. Bounded: the oldest go first."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, key: str, *, now: float) -> None:
        """Note a failure."""
        key = key[:128]
        with self._database.write() as connection:
            connection.execute(insert(login_failures).values(key=key, at=now))
            _keep_newest(connection, MAX_FAILURES_PER_KEY, login_failures.c.key == key)
            _keep_newest(connection, MAX_FAILURES)

    def count(self, key: str, *, since: float) -> int:
        """How often it failed after ``since``; at most 50 are remembered."""
        mine = (login_failures.c.key == key[:128], login_failures.c.at > since)
        with self._database.read() as connection:
            return connection.execute(select(func.count()).select_from(login_failures).where(*mine)).scalar_one()

    def newest(self, key: str) -> float | None:
        """When it failed last."""
        query = select(func.max(login_failures.c.at)).where(login_failures.c.key == key[:128])
        with self._database.read() as connection:
            newest: float | None = connection.execute(query).scalar_one()
        return newest

    def clear(self, key: str) -> None:
        """Forget the failures of a key, after a success."""
        with self._database.write() as connection:
            connection.execute(delete(login_failures).where(login_failures.c.key == key[:128]))

    def remove_older(self, before: float) -> int:
        """Remove failures noted before that time; answers how many."""
        with self._database.write() as connection:
            return connection.execute(delete(login_failures).where(login_failures.c.at < before)).rowcount


def _keep_newest(connection: Connection, keep: int, *conditions: Any) -> None:
    oldest = select(login_failures.c.id).where(*conditions).order_by(login_failures.c.id.desc()).offset(keep).limit(1)
    last_to_go = connection.execute(oldest).scalar_one_or_none()
    if last_to_go is not None:
        connection.execute(delete(login_failures).where(login_failures.c.id <= last_to_go, *conditions))


def _revoke(connection: Connection, user_id: int, now: float) -> None:
    mine = update(sessions).where(sessions.c.user_id == user_id, sessions.c.revoked_at.is_(None))
    connection.execute(mine.values(revoked_at=now))
