"""/access: logins, and who may what."""

from __future__ import annotations

from pvewatch.simulator.answers import Answer
from pvewatch.simulator.permissions import NOBODY, auditor, new_ticket
from pvewatch.simulator.routes import Call, Parameter, Route


def ticket(call: Call) -> Answer:
    """POST /access/ticket: the login with a password."""
    user, password = str(call.parameters.get("username")), str(call.parameters.get("password"))
    given = new_ticket(user, password, call.cluster.tokens, call.now)
    return Answer({"username": user, "ticket": given, "CSRFPreventionToken": "simulated", "cap": {}})


def permissions(call: Call) -> Answer:
    """/access/permissions: the caller's own, or with Sys.Audit on /access those of another user or token."""
    asked = call.parameters.get("userid", call.token.id)
    if asked != call.token.id:
        call.token.require("/access", "Sys.Audit")
    whose = next((token for token in call.cluster.tokens if token.id == asked), NOBODY)
    entries = [entry.path for token in call.cluster.tokens for entry in token.acl]
    pooled = [f"/vms/{guest.vmid}" for guest in call.cluster.world.guests.values() if guest.pool]
    return Answer(whose.permissions([*entries, *pooled]))


def acl(call: Call) -> Answer:
    """/access/acl: all entries, without Sys.Audit on /access none."""
    if not call.token.may("/access", "Sys.Audit"):
        return Answer([])
    names = {privileges: name for name, privileges in _roles(call).items()}
    return Answer(
        [
            {"path": entry.path, "roleid": names[entry.privileges], "propagate": int(entry.propagate)}
            | {"type": "token" if token.name else "user", "ugid": token.id}
            for token in call.cluster.tokens
            for entry in token.acl
        ]
    )


def roles(call: Call) -> Answer:
    """/access/roles: anybody may see them."""
    return Answer(
        [
            {"roleid": name, "special": int(not name.startswith("role")), "privs": ",".join(sorted(privileges))}
            for name, privileges in _roles(call).items()
        ]
    )


def _roles(call: Call) -> dict[str, frozenset[str]]:
    """Two built-in roles, and one for each other set of privileges that somebody is given."""
    built_in = {"NoAccess": frozenset[str](), "PVEAuditor": auditor(call.cluster.world.version.major)}
    given = dict.fromkeys(entry.privileges for token in call.cluster.tokens for entry in token.acl)
    own = [privileges for privileges in given if privileges not in built_in.values()]
    return built_in | {f"role{number}": privileges for number, privileges in enumerate(own)}


ROUTES = (
    Route("POST", "/access/ticket", ticket, (Parameter("username"), Parameter("password")), anonymous=True),
    Route("GET", "/access/permissions", permissions, (Parameter("userid"),)),
    Route("GET", "/access/acl", acl),
    Route("GET", "/access/roles", roles),
)
