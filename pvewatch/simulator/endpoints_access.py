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


def roles(call: Call) -> Answer:
    """/access/roles: anybody may see them."""
    names = ",".join(sorted(auditor(call.cluster.world.version.major)))
    return Answer([{"roleid": "PVEAuditor", "special": 1, "privs": names}])


ROUTES = (
    Route("POST", "/access/ticket", ticket, (Parameter("username"), Parameter("password")), anonymous=True),
    Route("GET", "/access/permissions", permissions, (Parameter("userid"),)),
    Route("GET", "/access/roles", roles),
)
