"""Who lacks which privilege, and the commands that mend it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from action_api.actions import execution
from action_api.catalogue import CATALOGUE
from pvewatch.pve import parsers_access
from pvewatch.pve.check_privileges import (
    Rights,
    judge_excess,
    judge_features,
    judge_left_out,
    judge_power,
)
from pvewatch.pve.models import AclRow, Permissions
from pvewatch.pve.privileges import calls_of, needs, role
from pvewatch.simulator.permissions import AclEntry, Token

FIXTURES = Path(__file__).parents[1] / "fixtures"
READING = frozenset({"Sys.Audit", "VM.Audit", "Datastore.Audit", "Pool.Audit", "SDN.Audit"})
# `pveum` on 8.4.21 and 9.2.11 was given these and accepted them.
COMMAND = re.compile(
    r'pveum role (add [\w-]+ --privs "[\w. ]+"|modify [\w-]+ --privs "[\w. ]+" --append 1)'
    r"|pveum acl (modify|delete) (/\S*|PATH) (--users \S+@\w+|--tokens '\S+@\w+!\w+') --roles \S+"
    r"|pveum user token (permissions \S+@\w+ \w+|modify \S+@\w+ \w+ --privsep 1)"
)


def recorded(name: str) -> Any:
    return json.loads((FIXTURES / name).read_text())["body"]["data"]


def on(**places: frozenset[str]) -> Permissions:
    """What /access/permissions says of entries on these paths (`root` is /, `pool_web` is /pool/web)."""
    entries = tuple(
        AclEntry("/" if name == "root" else "/" + name.replace("_", "/"), held) for name, held in places.items()
    )
    return parsers_access.permissions(Token("x@pve!y", "", entries).permissions())


def rights(granted: Permissions, major: int = 8, **more: Any) -> Rights:
    return Rights(
        **{"cluster": "home", "holder": "monitor", "token_id": "mon@pve!t", "major": major, "granted": granted} | more
    )


def missing(of: Rights) -> set[tuple[str, str, str, str]]:
    """Feature, privilege, path, who lacks it."""
    return {
        (found.subject, found.privilege, found.path, found.lacking) for found in judge_features(of) if found.lacking
    }


def test_a_token_with_the_advised_role_lacks_nothing() -> None:
    for major in (7, 8, 9):
        assert missing(rights(on(root=frozenset(role("monitor", major))), major)) == set()


def test_the_roles_are_those_that_were_tried_on_8_and_on_9() -> None:
    assert set(role("monitor", 8)) == READING
    assert set(role("monitor", 9)) == READING | {"VM.GuestAgent.Audit"}
    assert role("power", 8) == role("power", 9) == ("VM.Audit", "VM.PowerMgmt")


def test_a_role_names_only_privileges_that_its_version_knows() -> None:
    for version, major in (("8.4", 8), ("9.2", 9)):
        roles = parsers_access.roles(recorded(f"recorded-{version}/access-roles.json"))
        known = roles["Administrator"]
        assert set(role("monitor", major)) | set(role("power", major)) <= known
        assert {need.privilege for need in needs("monitor", major) if need.privilege} <= known
        # The built-in role for reading has all of it.
        assert set(role("monitor", major)) <= roles["PVEAuditor"]


def test_the_user_lacks_it_when_the_user_may_not_and_the_token_when_only_the_token_may_not() -> None:
    without = on(root=READING - {"Datastore.Audit"})

    asking = ("resources", "provisioning", "guest details")

    def told_by(who: str) -> set[tuple[str, str, str, str]]:
        return {(feature, "Datastore.Audit", "/storage", who) for feature in asking}

    assert missing(rights(without, user=on(root=READING - {"Datastore.Audit"}))) == told_by("user")
    assert missing(rights(without, user=on(root=READING))) == told_by("token")
    assert missing(rights(without, user=on(root=READING - {"Datastore.Audit"}, storage_nfs=READING))) == told_by("both")
    assert missing(rights(without)) == told_by("unknown")


def test_the_token_alone_is_given_the_role_when_its_user_has_it() -> None:
    of = rights(on(root=READING - {"Datastore.Audit"}), user=on(root=READING))
    remedy = next(found.remedy for found in judge_features(of) if found.lacking)

    assert remedy.splitlines() == [
        'pveum role add watch-monitor --privs "Sys.Audit VM.Audit Datastore.Audit Pool.Audit SDN.Audit"',
        "pveum acl modify / --tokens 'mon@pve!t' --roles watch-monitor",
    ]


def test_a_role_that_exists_is_not_added_again_but_given_what_it_lacks() -> None:
    roles = {"watch-monitor": READING}
    granted = on(root=READING)
    for major, expected in (
        (8, None),
        (9, 'pveum role modify watch-monitor --privs "VM.GuestAgent.Audit" --append 1'),
    ):
        remedies = {found.remedy for found in judge_features(rights(granted, major, roles=roles)) if found.remedy}
        assert [remedy.splitlines()[0] for remedy in remedies] == ([expected] if expected else [])


def test_what_is_granted_on_some_paths_only_is_a_warning() -> None:
    of = rights(on(root=READING - {"VM.Audit"}, pool_web=frozenset({"VM.Audit"})))
    found = next(found for found in judge_features(of) if found.subject == "resources" and found.path == "/vms")

    assert (found.state, found.lacking) == ("warning", "unknown")
    assert "VM.Audit on some of /vms only" in found.detail


def test_a_guest_that_is_taken_out_again_below_is_a_warning_too() -> None:
    of = rights(on(root=READING, vms_120=frozenset({"VM.PowerMgmt"})))
    assert {path for _, privilege, path, _ in missing(of) if privilege == "VM.Audit"} == {"/vms"}


def test_a_guest_with_no_access_is_known_by_the_acl_and_let_in_again() -> None:
    acl = (
        AclRow("/vms/120", "NoAccess", "token", "mon@pve!t"),
        AclRow("/pool/web", "NoAccess", "user", "mon@pve"),
        AclRow("/vms/7", "PVEVMUser", "user", "somebody@pve"),
    )
    granted = {**on(root=READING), "/vms/7": READING}
    assert missing(rights(granted)) == set(), "/access/permissions names no place where there is nothing"
    found = next(found for found in judge_features(rights(granted, acl=acl, user=granted)) if found.path == "/vms")

    assert found.state == "warning"
    assert found.detail.startswith("VM.Audit on /vms, but not on /pool/web, /vms/120: that is not seen")
    assert found.remedy.splitlines()[-2:] == [
        "pveum acl delete /vms/120 --tokens 'mon@pve!t' --roles NoAccess",
        "pveum acl delete /pool/web --users mon@pve --roles NoAccess",
    ]
    assert all(COMMAND.fullmatch(line) for line in found.remedy.splitlines())


def test_a_privilege_that_does_not_count_below_its_path_is_worth_nothing_there() -> None:
    granted = parsers_access.permissions({"/": {"Sys.Audit": 0}, "/vms": {"VM.Audit": 0}, "/vms/7": {"VM.Audit": 0}})
    assert granted == {"/": {"Sys.Audit"}, "/vms": set(), "/vms/7": {"VM.Audit"}}


def test_features_that_are_switched_off_are_not_missed() -> None:
    of = rights(on(root=READING), 9, switched_off=frozenset({"guest_agent", "addresses"}))
    assert {feature for feature, *_ in missing(of)} == {"guest details"}


def test_on_8_the_agent_is_left_out_with_the_reason_and_wanted_only_when_switched_on() -> None:
    of = rights(on(root=READING))
    assert [found.subject for found in judge_left_out(of)] == ["addresses", "guest_agent"]
    assert "commands inside guests" in next(judge_left_out(of)).detail
    assert list(judge_left_out(rights(on(root=READING), 9))) == []

    wanted = rights(on(root=READING), switched_on=frozenset({"guest_agent"}))
    assert missing(wanted) == {("guest_agent", "VM.Monitor", "/vms", "unknown")}
    assert 'VM.Monitor"' in next(found.remedy for found in judge_features(wanted) if found.lacking)


def test_on_8_the_agents_privilege_is_warned_of_even_where_it_is_wanted() -> None:
    granted = on(root=READING | {"VM.Monitor"})
    for switched_on in (frozenset[str](), frozenset({"guest_agent"})):
        (found,) = judge_excess(rights(granted, switched_on=switched_on))
        assert found.state == "warning"
        assert "VM.Monitor" in found.detail


def test_a_token_that_only_reads_is_not_too_powerful() -> None:
    for version, major in (("8.4", 8), ("9.2", 9)):
        auditor = parsers_access.roles(recorded(f"recorded-{version}/access-roles.json"))["PVEAuditor"]
        assert list(judge_excess(rights(on(root=auditor), major))) == []


def test_an_administrators_token_is_too_powerful_and_its_role_is_taken_away() -> None:
    granted = parsers_access.permissions(recorded("recorded-8.4/access-permissions.json"))
    roles = parsers_access.roles(recorded("recorded-8.4/access-roles.json"))
    acl = (AclRow("/", "Administrator", "token", "mon@pve!t"), AclRow("/", "PVEAuditor", "token", "mon@pve!t"))

    (found,) = judge_excess(rights(granted, roles=roles, acl=acl))

    assert "is too powerful" in found.detail
    assert found.remedy.splitlines()[-1] == "pveum acl delete / --tokens 'mon@pve!t' --roles Administrator"
    # Made without privilege separation a token has no entries of its own.
    (found,) = judge_excess(rights(granted, roles=roles, acl=()))
    assert found.remedy.splitlines()[-1] == "pveum user token modify mon@pve t --privsep 1"


def test_the_recorded_power_token_may_act_on_its_guest_and_sees_it() -> None:
    granted = parsers_access.permissions(recorded("recorded-8.4/as-vmpower-only-100-permissions.json"))
    found = list(judge_power(rights(granted, holder="power")))

    assert found[0].detail == "may start, shut down and reset guests on /vms/100"
    assert {finding.subject for finding in found if finding.state == "warning"} == {"tasks of others"}


def test_a_power_token_that_sees_no_guest_is_told_so() -> None:
    found = list(judge_power(rights(on(root=frozenset({"VM.PowerMgmt"})), holder="power")))

    assert found[0].state == "error"
    assert [finding.subject for finding in found[1:]] == ["finding the guest"]


def test_every_action_of_the_catalogue_is_in_the_table_with_its_calls() -> None:
    for action in CATALOGUE:
        made = {call.verb for calls in execution(action.name).calls.values() for call in calls}
        assert {call.rpartition("/")[2] for call in calls_of(action.name, "power")} == made


@pytest.mark.parametrize("major", [7, 8, 9])
@pytest.mark.parametrize("holder", ["monitor", "power"])
def test_every_command_has_the_form_that_pveum_takes(holder: str, major: int) -> None:
    everything = parsers_access.permissions(recorded("recorded-8.4/access-permissions.json"))
    for granted in (on(), on(pool_web=READING), everything):
        for known in (None, {}, {f"pvewatch-{holder}": frozenset({"VM.Audit"})}):
            of = rights(granted, major, holder=holder, roles=known, acl=None if known is None else ())
            judged = judge_power(of) if holder == "power" else judge_features(of)
            for found in (*judged, *judge_excess(of)):
                for line in found.remedy.splitlines():
                    assert COMMAND.fullmatch(line), line
