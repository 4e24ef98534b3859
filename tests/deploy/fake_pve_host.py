"""pveum, pvesh, pveversion and id of a Proxmox VE host that does not exist, as far as a set-up script needs them.

What it prints, how it exits and what it refuses is recorded in fixtures/recorded-pveum.json, and
test_fake_pve_host.py replays that recording against it. The programs themselves are `program.pl`, which asks this
process over a connection: a set-up makes a hundred calls, and an interpreter of Python for each takes minutes.
"""

from __future__ import annotations

import json
import os
import re
import socketserver
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
BUILDS = {"8.4": "pve-manager/8.4.21/2606ac850d46da29", "9.2": "pve-manager/9.2.11/14a22df35955d97d"}
RESOURCES = {
    "/pools": [{"poolid": "web"}, {"poolid": "db"}],
    "/storage": [{"storage": "local", "type": "dir"}, {"storage": "nas", "type": "nfs"}],
    "/nodes": [{"node": "pve1", "status": "online"}],
    "/cluster/resources": [{"vmid": 100, "type": "qemu"}, {"vmid": 101, "type": "lxc"}],
}
TREES = ("/", "/access", "/mapping", "/nodes", "/pool", "/sdn", "/storage", "/vms")
# Options of each command that pveum would accept.
OPTIONS = {
    "role add": {"privs"},
    "role modify": {"privs", "append"},
    "user add": {"comment"},
    "user token add": {"privsep", "expire", "comment"},
    "user token modify": {"privsep", "expire", "comment"},
    "acl modify": {"users", "tokens", "roles", "propagate"},
    "acl delete": {"users", "tokens", "roles"},
}
PLACES = {
    "role add": ("roleid",),
    "role modify": ("roleid",),
    "role delete": ("roleid",),
    "role list": (),
    "user add": ("userid",),
    "user delete": ("userid",),
    "user list": (),
    "user token add": ("userid", "tokenid"),
    "user token modify": ("userid", "tokenid"),
    "user token remove": ("userid", "tokenid"),
    "user token list": ("userid",),
    "acl modify": ("path",),
    "acl delete": ("path",),
    "acl list": (),
}


class Refused(Exception):
    """What pveum says on its standard error, and how it exits."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.text = text
        self.code = code


def fail(text: str, code: int = 255) -> NoReturn:
    raise Refused(text + "\n", code)


def usage(command: str) -> str:
    places = " ".join(f"<{place}>" for place in PLACES[command])
    required = " --roles <string>" if command == "acl modify" else ""
    formats = " [FORMAT_OPTIONS]" if command.startswith("user token") else ""
    return f"pveum {command} {places}{required} [OPTIONS]{formats}"


def bad(command: str, parameter: str, reason: str, *, blank: bool = True) -> NoReturn:
    gap = "\n" if blank else ""
    fail(f"400 Parameter verification failed.\n{parameter}: {reason}\n{gap}{usage(command)}")


class Host:
    """The state in one file, and pveum's commands on it."""

    def __init__(self, file: Path, version: str) -> None:
        self.file = file
        self.version = version
        self.said = ""  # on standard error, besides a refusal
        recorded = json.loads((FIXTURES / f"recorded-{version}" / "access-roles.json").read_text())["body"]["data"]
        special = {
            row["roleid"]: row["privs"].split(",") for row in recorded if row.get("special") and row.get("privs")
        }
        self.privileges = set(special["Administrator"])
        self.special = special
        empty: dict[str, Any] = {"roles": {}, "users": {}, "acl": []}
        self.state = json.loads(file.read_text()) if file.exists() else empty

    def save(self) -> None:
        self.file.write_text(json.dumps(self.state))

    def privs(self, command: str, text: str) -> list[str]:
        found = [part for part in re.split(r"[ ,;]+", text) if part]
        for privilege in found:
            if privilege not in self.privileges:
                bad(command, "privs", f"invalid format - invalid privilege '{privilege}'")
        return found

    def role_add(self, role: str, privs: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9.\-_]+", role):
            bad("role add", "roleid", f"invalid format - role name '{role}' contains invalid characters")
        wanted = self.privs("role add", privs)
        if role.lower().startswith("pve"):
            reason = "cannot use role ID starting with the (case-insensitive) 'PVE' namespace"
            bad("role add", "roleid", reason, blank=False)
        if role in self.state["roles"]:
            fail(f"create role failed: role '{role}' already exists")
        self.state["roles"][role] = wanted

    def role_modify(self, role: str, privs: str = "", append: str | None = None) -> None:
        wanted = self.privs("role modify", privs)
        if role in self.special:
            fail(f"auto-generated role '{role}' cannot be modified")
        if role not in self.state["roles"]:
            fail(f"update role failed: role '{role}' does not exist")
        kept = self.state["roles"][role] if append else []
        self.state["roles"][role] = sorted({*kept, *wanted})

    def role_delete(self, role: str) -> None:
        if role in self.special:
            fail(f"auto-generated role '{role}' cannot be deleted")
        if role not in self.state["roles"]:
            if self.version < "9":  # the entries of the deleted role, until the next write
                self.said += f"user config - ignore invalid acl role '{role}'\n"
            fail(f"delete role failed: role '{role}' does not exist")
        del self.state["roles"][role]
        self.state["acl"] = [row for row in self.state["acl"] if row["roleid"] != role]

    def role_list(self) -> list[dict[str, Any]]:
        own = [{"roleid": role, "privs": ",".join(privs), "special": 0} for role, privs in self.state["roles"].items()]
        return [*own, *({"roleid": r, "privs": ",".join(p), "special": 1} for r, p in self.special.items())]

    def user_add(self, user: str, comment: str = "") -> None:
        if "@" not in user:
            bad("user add", "userid", f"invalid format - value '{user}' does not look like a valid user name")
        if user in self.state["users"]:
            fail(f"create user failed: user '{user}' already exists", 2)
        self.state["users"][user] = {"comment": comment, "tokens": {}}

    def user_delete(self, user: str) -> None:
        if user in self.state["users"]:
            del self.state["users"][user]
            rows = self.state["acl"]
            self.state["gone"] = sorted({r["ugid"] for r in rows if r["ugid"].startswith(f"{user}!")})
        elif self.version >= "9":
            for token in self.state.pop("gone", []):
                self.said += f"user config - ignore invalid acl token '{token}'\n"
        self.state["acl"] = [row for row in self.state["acl"] if row["ugid"].partition("!")[0] != user]

    def user_list(self) -> list[dict[str, Any]]:
        rows = []
        for user in self.state["users"]:
            realm = user.rpartition("@")[2]
            rows.append(
                {"userid": user, "enable": 1, "expire": 0} | ({"realm-type": realm} if realm in ("pve", "pam") else {})
            )
        return rows

    def tokens(self, user: str) -> dict[str, Any]:
        if user not in self.state["users"]:
            fail(f"no such user ('{user}')")
        found: dict[str, Any] = self.state["users"][user]["tokens"]
        return found

    def user_token_add(self, user: str, name: str, **given: str) -> dict[str, Any]:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9.\-_]+", name):
            bad("user token add", "tokenid", "value does not match the regex pattern", blank=False)
        tokens = self.tokens(user)
        if name in tokens:
            bad("user token add", "tokenid", "Token already exists.", blank=False)
        value = os.urandom(16).hex()
        tokens[name] = {"expire": int(given.get("expire", 0)), "privsep": int(given.get("privsep", 1)), "value": value}
        return {"full-tokenid": f"{user}!{name}", "info": {"privsep": 1} | given, "value": value}

    def user_token_modify(self, user: str, name: str, **given: str) -> dict[str, Any]:
        token = self.tokens(user)[name]
        renewed = given.pop("regenerate", None)
        token.update({key: int(text) if text.isdigit() else text for key, text in given.items()})
        shown = {key: value for key, value in token.items() if key != "value"}
        if renewed:
            token["value"] = os.urandom(16).hex()
            shown |= {"full-tokenid": f"{user}!{name}", "value": token["value"]}
        return shown

    def user_token_remove(self, user: str, name: str) -> None:
        if name not in self.tokens(user):
            fail(f"no such token '{name}' for user '{user}'")
        del self.tokens(user)[name]
        self.state["acl"] = [row for row in self.state["acl"] if row["ugid"] != f"{user}!{name}"]

    def user_token_list(self, user: str) -> list[dict[str, Any]]:
        rows = self.tokens(user).items()
        return [{"tokenid": name, **{k: v for k, v in token.items() if k != "value"}} for name, token in rows]

    def acl_modify(self, path: str, roles: str, propagate: str = "1", **whom: str) -> None:
        if path != "/" and f"/{path.split('/')[1]}" not in TREES:
            bad("acl modify", "path", f"invalid ACL path '{path}'", blank=False)
        for row in self.rows(path, roles, whom):
            others = [r for r in self.state["acl"] if {**r, "propagate": 0} != {**row, "propagate": 0}]
            self.state["acl"] = [*others, row | {"propagate": int(propagate)}]

    def acl_delete(self, path: str, roles: str, **whom: str) -> None:
        for row in self.rows(path, roles, whom):
            self.state["acl"] = [r for r in self.state["acl"] if {**r, "propagate": 1} != row]

    def rows(self, path: str, roles: str, whom: dict[str, str]) -> list[dict[str, Any]]:
        (plural, name), *_ = whom.items()
        if plural == "tokens" and "!" not in name:
            reason = f"invalid format - value '{name}' does not look like a valid token ID"
            bad("acl modify", "tokens", reason)
        user, _, token = name.partition("!")
        for role in roles.split(","):
            if role not in self.state["roles"] and role not in self.special:
                fail(f"ACL update failed: role '{role}' does not exist")
        if user not in self.state["users"]:
            fail(f"ACL update failed: user '{user}' does not exist")
        if token and token not in self.state["users"][user]["tokens"]:
            fail(f"ACL update failed: no such token '{token}' for user '{user}'")
        kind = plural.removesuffix("s")
        return [{"path": path, "propagate": 1, "roleid": r, "type": kind, "ugid": name} for r in roles.split(",")]

    def acl_list(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.state["acl"]
        return sorted(rows, key=lambda row: row["path"])


@dataclass(frozen=True)
class Call:
    """One run of a program: its name and arguments, and what the environment wants to go wrong.

    `refuses` is a beginning of pveum's arguments that is refused, as without quorum; `ignores` one that exits 0 and
    does nothing, as pveum is known to do at times. `user` is what `id -u` says.
    """

    refuses: str
    ignores: str
    user: str
    name: str
    arguments: list[str]


def pveum(call: Call, host: Host) -> str:
    line = " ".join(call.arguments)
    if call.refuses and line.startswith(call.refuses):
        fail("cluster not ready - no quorum?")
    if call.ignores and line.startswith(call.ignores):
        return ""
    words = 3 if call.arguments[:2] == ["user", "token"] else 2
    command = " ".join(call.arguments[:words]).replace("token delete", "token remove")
    places, given = options(command, call.arguments[words:], host.version)
    if len(places) < len(PLACES[command]):
        fail(f"400 not enough arguments\n{usage(command)}")
    as_json = given.pop("output-format", "") == "json"
    answer = getattr(host, command.replace(" ", "_"))(*places, **given)
    host.save()
    if answer is None:
        return ""
    text = json.dumps(answer, separators=(",", ":"), sort_keys=True)
    return f"{text}\n" if as_json else f"+---+\n{list(answer)}\n+---+\n"


def options(command: str, arguments: list[str], version: str) -> tuple[list[str], dict[str, str]]:
    known = OPTIONS.get(command, set()) | {"output-format"}
    if command == "user token modify" and version >= "9":
        known |= {"regenerate"}
    places: list[str] = []
    given: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            places.append(word)
            continue
        name = word.removeprefix("--")
        if name not in known:
            fail(f"Unknown option: {name}\n400 unable to parse option\n{usage(command)}")
        given[name] = rest.pop(0) if rest and not rest[0].startswith("--") else "1"
    return places, given


def answer(call: Call, state: Path, version: str) -> tuple[int, str, str]:
    """How one program exits, and what it prints on standard output and standard error; `state` is kept there."""
    if call.name == "pvesh":
        return 0, json.dumps(RESOURCES[call.arguments[1]]) + "\n", ""
    if call.name == "pveversion":
        return 0, f"{BUILDS[version]} (running kernel: 6.8.12-1-pve)\n", ""
    if call.name == "id":
        return 0, f"{call.user}\n", ""
    host = Host(state, version)
    try:
        return 0, pveum(call, host), host.said
    except Refused as refusal:
        return refusal.code, "", host.said + refusal.text


class Programs(socketserver.TCPServer):
    """Answers program.pl, one call after the other, on a port of the loopback."""

    def __init__(self, state: Path, version: str) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.state = state
        self.version = version


class _Conversation(socketserver.StreamRequestHandler):
    server: Programs
    timeout = 30

    def handle(self) -> None:
        refuses, ignores, user, name, *arguments = self.rfile.read().decode().split("\0")[:-1]
        call = Call(refuses, ignores, user or "0", name, arguments)
        code, out, err = answer(call, self.server.state, self.server.version)
        self.wfile.write(f"{code}\0{out}\0{err}".encode())
