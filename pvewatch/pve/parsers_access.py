"""Who may what: the answers below /access."""

from __future__ import annotations

from pvewatch.pve.models import AclRow, Permissions, Roles
from pvewatch.pve.parsers import mapping, number, rows

# Nothing is ever asked about these themselves, only about what is below them.
_CONTAINERS = frozenset({"/vms", "/nodes", "/storage", "/pool"})


def permissions(data: object) -> Permissions:
    """`/access/permissions`: path → privileges. An empty mapping means that the token may nothing.

    The value 0 says that a privilege does not count below its path: on `/vms` and its like it is worth nothing.
    """
    return {
        str(path): frozenset(
            str(name)
            for name, value in privileges.items()
            if value is not None and (path not in _CONTAINERS or number(value) != 0)
        )
        for path, privileges in mapping(data).items()
        if isinstance(privileges, dict)
    }


def roles(data: object) -> Roles:
    """`/access/roles`: role → privileges."""
    return {
        str(row["roleid"]): frozenset(filter(None, str(row.get("privs") or "").replace(" ", ",").split(",")))
        for row in rows(data)
        if row.get("roleid") is not None
    }


def acl(data: object) -> tuple[AclRow, ...]:
    """`/access/acl`: which role is given to whom, where."""
    return tuple(
        AclRow(str(row.get("path")), str(row.get("roleid")), str(row.get("type")), str(row.get("ugid")))
        for row in rows(data)
    )
