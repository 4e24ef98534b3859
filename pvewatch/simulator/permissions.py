"""API tokens and what they may: privileges on paths, as in `pveum acl`.

Names and rules: https://pve.proxmox.com/pve-docs/chapter-pveum.html#pveum_permission_management
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field

from pvewatch.simulator.answers import Refusal, forbidden

_AUDITOR_8 = frozenset({"VM.Audit", "Sys.Audit", "Datastore.Audit", "SDN.Audit", "Pool.Audit", "Mapping.Audit"})
# Paths that /access/permissions always looks at, with or without an ACL entry of their own.
_KNOWN_PATHS = ("/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms")


def auditor(major: int) -> frozenset[str]:
    """The privileges of the built-in role PVEAuditor."""
    if major < 8:
        return _AUDITOR_8 - {"Mapping.Audit"}
    return _AUDITOR_8 if major < 9 else _AUDITOR_8 | {"VM.GuestAgent.Audit"}


def administrator_like(major: int) -> frozenset[str]:
    """Enough of the Administrator role for every endpoint that is simulated."""
    return auditor(major) | {"VM.PowerMgmt", "Sys.Modify", "Sys.PowerMgmt", "Datastore.AllocateSpace"}


@dataclass(frozen=True, slots=True)
class AclEntry:
    """Privileges on a path, for everything below it as well when `propagate`."""

    path: str
    privileges: frozenset[str]
    propagate: bool = True

    def covers(self, path: str) -> bool:
        """Whether this entry says something about `path`."""
        if path == self.path:
            return True
        return self.propagate and (self.path == "/" or path.startswith(self.path + "/"))


@dataclass(frozen=True, slots=True)
class Token:
    """An API token: `id` is "user@realm!name"."""

    id: str
    secret: str = field(repr=False)
    acl: tuple[AclEntry, ...] = ()

    @property
    def user(self) -> str:
        """The user part, "pvewatch@pve"."""
        return self.id.partition("!")[0]

    @property
    def name(self) -> str:
        """The part after the exclamation mark."""
        return self.id.partition("!")[2]

    def privileges(self, path: str, pool: str | None = None) -> frozenset[str]:
        """What the token may on `path`; the entry of the longest path wins, a guest's pool adds to it."""
        covering = [entry for entry in self.acl if entry.covers(path)]
        own = max(covering, key=lambda entry: len(entry.path)).privileges if covering else frozenset()
        return own | self.privileges(f"/pool/{pool}") if pool else own

    def may(self, path: str, *privileges: str, pool: str | None = None) -> bool:
        """Whether one of `privileges` is held on `path`."""
        return not self.privileges(path, pool).isdisjoint(privileges)

    def require(self, path: str, *privileges: str, pool: str | None = None) -> None:
        """Raise the 403 that names what is missing."""
        if not self.may(path, *privileges, pool=pool):
            raise forbidden(path, *privileges)

    def permissions(self, more_paths: Iterable[str] = ()) -> dict[str, dict[str, int]]:
        """The answer of /access/permissions: path → privilege → 1; paths without any are left out.

        `more_paths` are those that anybody has an entry for, and the guests in pools.
        """
        paths = dict.fromkeys((*_KNOWN_PATHS, *(entry.path for entry in self.acl), *more_paths))
        granted = {path: self.privileges(path) for path in paths}
        return {path: dict.fromkeys(sorted(held), 1) for path, held in granted.items() if held}


NOBODY = Token("", "")


def authenticate(header: str | None, tokens: Iterable[Token], *, ticket: str | None = None) -> Token:
    """The token that an Authorization header names, or the user of a login ticket.

    Raises the 401 of the real one, whose reason phrase is all it says: an unknown token, a wrong secret and a malformed
    header cannot be told apart.
    """
    scheme, _, value = (header or "").strip().partition("=")
    if scheme != "PVEAPIToken" and ticket is None:
        raise Refusal(401, "No ticket", empty=True)
    token_id, _, secret = value.partition("=")
    for token in tokens:
        if "!" in token.id and same(token.id, token_id) and same(token.secret, secret):
            return token
        if ticket is not None and "!" not in token.id:
            before, _, signature = ticket.partition("::")
            if before.startswith(f"PVE:{token.id}:") and same(_signature(token, before), signature):
                return token
    raise Refusal(401, "Authentication failed!", empty=True)


def new_ticket(user: str, password: str, tokens: Iterable[Token], now: float) -> str:
    """The ticket of a login with a password. Raises the 401 of the real one, the only one that has a body."""
    for token in tokens:
        if "!" not in token.id and same(token.id, user) and same(token.secret, password):
            before = f"PVE:{user}:{int(now):08X}"
            return f"{before}::{_signature(token, before)}"
    raise Refusal(401, "authentication failure")


def same(known: str, given: str) -> bool:
    """Whether two secrets are equal, without telling by the time it takes how far they are."""
    return hmac.compare_digest(known.encode("utf-8", "replace"), given.encode("utf-8", "replace"))


def _signature(token: Token, text: str) -> str:
    return hmac.new(token.secret.encode(), text.encode(), "sha256").hexdigest()
