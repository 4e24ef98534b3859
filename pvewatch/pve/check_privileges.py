"""What a token may, held against what is needed: which feature lacks what, who lacks it, and the commands that mend it.

A token with privilege separation may do only what its user may, too; `/access/permissions` tells a token what is left
of both. What the user alone may is told to who has Sys.Audit on /access.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pvewatch.pve.check_report import Finding, Lacking, State
from pvewatch.pve.models import AclRow, Permissions, Roles
from pvewatch.pve.privileges import ROLE_NAMES, UNSAFE_TO_READ, Holder, Need, needs, role, taken_away

Extent = Literal["all", "some", "none"]

# The page of a pool's guests: their privileges may come from there.
_POOLS = "/pool/"
_MORE_THAN_SHOWN = 6
_PLACES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Rights:
    """All that is known about one token. What Proxmox VE would not tell is None.

    `granted` is what the token may in effect, `user` what its user may, `features` those that are switched on.
    """

    cluster: str
    holder: Holder
    token_id: str
    major: int
    granted: Permissions
    user: Permissions | None = None
    roles: Roles | None = None
    acl: tuple[AclRow, ...] | None = None
    switched_off: frozenset[str] = frozenset()
    switched_on: frozenset[str] = frozenset()

    @property
    def user_name(self) -> str:
        """The user part of the token's id."""
        return self.token_id.partition("!")[0]

    @property
    def token_name(self) -> str:
        """The part after the exclamation mark."""
        return self.token_id.partition("!")[2]


def extent(granted: Permissions, need: Need, acl: Collection[AclRow] | None) -> Extent:
    """Whether the privilege is there for all of its kind, for some, or not at all. Pure.

    Without the ACL a place where nothing at all is granted, such as by NoAccess, is not known.
    """
    below = f"{need.base.rstrip('/')}/"
    if need.privilege in granted.get(need.base, ()):
        return "some" if _exceptions(granted, need, acl) else "all"
    if "{" not in need.path:  # the cluster-wide calls ask for the privilege on / itself
        return "none"
    places = (below, _POOLS) if need.base == "/vms" else (below,)
    found = any(need.privilege in names and _is(place, *places) for place, names in granted.items())
    return "some" if found else "none"


def _exceptions(granted: Permissions, need: Need, acl: Collection[AclRow] | None) -> list[str]:
    return taken_away(granted, acl or (), need.privilege, need.base) if "{" in need.path else []


def _is(place: str, *prefixes: str) -> bool:
    return place.startswith(prefixes) and place not in prefixes


def lacking(rights: Rights, need: Need) -> Lacking:
    """Who lacks it, as far as Proxmox VE tells."""
    if rights.user is None:
        return "unknown"
    of_user = extent(rights.user, need, rights.acl)
    if of_user == "all":
        return "token"
    # What the user lacks hides whether the token's own entries would have it.
    return "user" if of_user == extent(rights.granted, need, rights.acl) else "both"


def judge_features(rights: Rights) -> Iterator[Finding]:
    """One finding for each thing that each feature needs."""
    missing = [need for need in _wanted(rights) if need.privilege and extent(rights.granted, need, rights.acl) != "all"]
    remedy = _remedy(rights, missing) if missing else ""
    for need in _wanted(rights):
        how = extent(rights.granted, need, rights.acl) if need.privilege else "all"
        who: Lacking = "" if how == "all" else lacking(rights, need)
        state: State = "ok" if how == "all" else "error" if how == "none" and need.essential else "warning"
        yield Finding(
            rights.cluster,
            need.feature,
            state,
            _detail(rights, need, how, who),
            "" if how == "all" else remedy,
            about="feature",
            reason="privilege" if state == "error" else "",
            privilege=need.privilege,
            path=need.base if need.privilege else "",
            lacking=who,
        )


def judge_who(rights: Rights, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Why it is not told who lacks something."""
    if any(finding.lacking == "unknown" for finding in findings):
        detail = "Proxmox VE tells who of user and token lacks something only to a token with Sys.Audit on /access"
        yield Finding(rights.cluster, f"{rights.holder} token", "ok", detail, about="token")


def judge_left_out(rights: Rights) -> Iterator[Finding]:
    """What is not asked because its privilege permits more than reading."""
    for feature in sorted(_unsafe_features(rights) - rights.switched_on - rights.switched_off):
        detail = "asks no guest agent: before PVE 9 that privilege, VM.Monitor, also permits commands inside guests"
        yield Finding(rights.cluster, feature, "ok", detail, about="token")


def _unsafe_features(rights: Rights) -> frozenset[str]:
    """The collectors that can be switched on with a privilege that permits more than reading."""
    unsafe = (need.feature for need in needs(rights.holder, rights.major) if need.privilege in UNSAFE_TO_READ)
    return frozenset(feature for feature in unsafe if " " not in feature)


def _wanted(rights: Rights) -> Iterator[Need]:
    for need in needs(rights.holder, rights.major):
        unsafe = need.privilege in UNSAFE_TO_READ and need.feature not in rights.switched_on
        if need.feature not in rights.switched_off and not unsafe:
            yield need


def _detail(rights: Rights, need: Need, how: Extent, who: Lacking) -> str:
    if not need.privilege:
        return "any token may ask"
    if how == "all":
        return f"{need.privilege} on {need.base}"
    words = {
        "user": f"its user {rights.user_name} lacks it, and so the token",
        "token": f"its user {rights.user_name} has it, the token itself lacks it",
        "both": f"its user {rights.user_name} has it in some places only, the token in fewer",
        "unknown": "user or token lacks it",
    }
    who_lacks = f" ({words[who]})" if who else ""
    if how == "some" and need.privilege in rights.granted.get(need.base, ()):
        places = _exceptions(rights.granted, need, rights.acl)
        shown = ", ".join(places[:_PLACES_SHOWN]) + (" …" if len(places) > _PLACES_SHOWN else "")
        return f"{need.privilege} on {need.base}, but not on {shown}: that is not seen{who_lacks}"
    if how == "some":
        return f"{need.privilege} on some of {need.base} only: the rest is not seen{who_lacks}"
    return f"{need.privilege} on {need.base} is missing: {need.loss}{who_lacks}"


def _remedy(rights: Rights, missing: Sequence[Need]) -> str:
    wanted = dict.fromkeys(role(rights.holder, rights.major))
    # What is not in the advised role comes with its need: the agent's right on PVE 8, tasks of others.
    wanted |= dict.fromkeys(need.privilege for need in missing)
    token_only = all(lacking(rights, need) == "token" for need in missing)
    path = "/" if rights.holder == "monitor" else "/pool/POOL"
    if rights.holder == "power" and all(need.base != "/vms" for need in missing):
        return "\n".join(_commands(rights, "watch-look", tuple(need.privilege for need in missing), "/nodes", False))
    commands = _commands(rights, ROLE_NAMES[rights.holder], tuple(wanted), path, token_only)
    return "\n".join([*commands, *_readmissions(rights, missing)])


def _readmissions(rights: Rights, missing: Sequence[Need]) -> Iterator[str]:
    """The commands that take NoAccess back where it shuts out the token or its user; it outdoes every other role."""
    places = {place for need in missing for place in _exceptions(rights.granted, need, rights.acl)}
    for row in rights.acl or ():
        option = {rights.token_id: f"--tokens '{row.holder}'", rights.user_name: f"--users {row.holder}"}
        if row.role == "NoAccess" and row.path in places and row.holder in option:
            yield f"pveum acl delete {row.path} {option[row.holder]} --roles NoAccess"


def _commands(rights: Rights, name: str, privileges: tuple[str, ...], path: str, token_only: bool) -> Iterator[str]:
    """The pveum commands that give a role on a path to the token, and to its user as well unless that has it."""
    privileges = tuple(dict.fromkeys(privileges))
    known = (rights.roles or {}).get(name)
    absent = [privilege for privilege in privileges if privilege not in (known or ())]
    if known is None:
        yield f'pveum role add {name} --privs "{" ".join(privileges)}"'
    elif absent:
        yield f'pveum role modify {name} --privs "{" ".join(absent)}" --append 1'
    if not token_only:
        yield f"pveum acl modify {path} --users {rights.user_name} --roles {name}"
    yield f"pveum acl modify {path} --tokens '{rights.token_id}' --roles {name}"


def judge_power(rights: Rights) -> Iterator[Finding]:
    """The power token: where it may act, and what is missing for that."""
    together = {need.privilege for need in needs("power", rights.major) if need.essential}
    places = sorted(path for path, privileges in rights.granted.items() if together <= privileges)
    if not places:
        missing = [need for need in needs("power", rights.major) if need.essential]
        detail = f"{' and '.join(sorted(together))} are nowhere granted together"
        remedy = _remedy(rights, missing)
        yield Finding(rights.cluster, "power token", "error", detail, remedy, about="token", reason="privilege")
        yield from (finding for finding in judge_features(rights) if finding.state == "error")
        return
    outermost = [path for path in places if path == "/" or not _covered(path, places)]
    shown = ", ".join(outermost[:5]) + (" …" if len(outermost) > 5 else "")
    yield Finding(
        rights.cluster, "power token", "ok", f"may start, shut down and reset guests on {shown}", about="token"
    )
    # Reaching some guests only is how a power token should be.
    yield from (
        finding for finding in judge_features(rights) if not (finding.state == "warning" and finding.path == "/vms")
    )


def _covered(path: str, places: Sequence[str]) -> bool:
    """Whether another place in the list lies above this one."""
    return any(path != place and path.startswith(place.rstrip("/") + "/") for place in places)


def judge_excess(rights: Rights) -> Iterator[Finding]:
    """A warning about what the token may beyond its task."""
    subject = f"{rights.holder} token"
    excess = {name: _places(rights.granted, name) for name in sorted(_beyond(rights, *rights.granted.values()))}
    if set(excess) & UNSAFE_TO_READ and rights.switched_on & _unsafe_features(rights):
        excess = {name: places for name, places in excess.items() if name not in UNSAFE_TO_READ}
        names = sorted(rights.switched_on & _unsafe_features(rights))
        wants = f"{' and '.join(names)} want{'' if len(names) > 1 else 's'}"
        detail = f"may also run commands inside guests: on PVE 8 VM.Monitor, which {wants}, permits that"
        switches = " and ".join(f"exporter.collectors.{name}.enabled" for name in names)
        remedy = f"set {switches} to false, or go to PVE 9, which has VM.GuestAgent.Audit"
        yield Finding(rights.cluster, subject, "warning", detail, remedy, about="token")
    if excess:
        shown = ", ".join(list(excess)[:_MORE_THAN_SHOWN]) + (" …" if len(excess) > _MORE_THAN_SHOWN else "")
        where = ", ".join(sorted({place for places in excess.values() for place in places})[:3])
        task = "reading" if rights.holder == "monitor" else "starting, shutting down and resetting guests"
        detail = f"is too powerful: {task} does not need {shown} ({len(excess)} in all, on {where})"
        yield Finding(rights.cluster, subject, "warning", detail, _less(rights, set(excess)), about="token")


def _beyond(rights: Rights, *held: frozenset[str]) -> set[str]:
    """Privileges that can change something, or look into guests, and are not needed."""
    allowed = {need.privilege for need in needs(rights.holder, rights.major) if need.privilege not in UNSAFE_TO_READ}
    return {
        name
        for names in held
        for name in names
        if name not in allowed and not name.endswith(".Audit") and name != "Sys.Syslog"
    }


def _places(granted: Permissions, privilege: str) -> list[str]:
    places = [place for place, names in granted.items() if privilege in names]
    return [place for place in places if place == "/" or not _covered(place, places)]


def _less(rights: Rights, excess: set[str]) -> str:
    """The commands that leave the token its task and no more."""
    name = ROLE_NAMES[rights.holder]
    path = "/" if rights.holder == "monitor" else "/pool/POOL"
    grant = list(_commands(rights, name, role(rights.holder, rights.major), path, token_only=True))
    if rights.acl is None or rights.roles is None:
        return "\n".join(
            [
                *grant,
                f"pveum user token permissions {rights.user_name} {rights.token_name}",
                f"pveum acl delete PATH --tokens '{rights.token_id}' --roles ROLE",
            ]
        )
    guilty = [
        row
        for row in rights.acl
        if row.kind == "token" and row.holder == rights.token_id and rights.roles.get(row.role, frozenset()) & excess
    ]
    if not guilty:  # Its user's privileges are the token's: it was made without privilege separation.
        return "\n".join([*grant, f"pveum user token modify {rights.user_name} {rights.token_name} --privsep 1"])
    return "\n".join(
        [*grant, *(f"pveum acl delete {row.path} --tokens '{rights.token_id}' --roles {row.role}" for row in guilty)]
    )
