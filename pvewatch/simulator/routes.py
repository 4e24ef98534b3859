"""From a request to an answer: the steps and their order are those of the real API server.

Who asks (401) → does the path exist (501) → may they (403) → is the node there (500, 595) → are the parameters right
(400) → do it. The `endpoints_*` modules hold the tables of what exists.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pvewatch.simulator.answers import Answer, Refusal, not_implemented, unknown_node, unreachable
from pvewatch.simulator.cluster import Cluster
from pvewatch.simulator.permissions import NOBODY, Token, authenticate
from pvewatch.simulator.world import Node

_INTEGER = re.compile(r"[+-]?[0-9]{1,15}")
_VMID = re.compile(r"[1-9][0-9]{2,8}")
_TRUE, _FALSE = frozenset({"1", "on", "yes", "true"}), frozenset({"0", "off", "no", "false"})


@dataclass(frozen=True, slots=True)
class Parameter:
    """One optional parameter: its name and type, "integer", "boolean", "string" or the values of an enumeration."""

    name: str
    type: str | tuple[str, ...] = "string"

    def parse(self, text: str) -> int | str:
        """The value, or a ValueError with the words of the schema check."""
        if isinstance(self.type, tuple):
            if text not in self.type:
                raise ValueError(f"value '{text}' does not have a value in the enumeration '{', '.join(self.type)}'")
            return text
        if self.type == "integer":
            if not _INTEGER.fullmatch(text):
                raise ValueError(f"type check ('integer') failed - got '{text}'")
            if int(text) < 0:
                raise ValueError("value must have a minimum value of 0")
            return int(text)
        if self.type == "boolean":
            if text.lower() not in _TRUE | _FALSE:
                raise ValueError(f"type check ('boolean') failed - got '{text}'")
            return int(text.lower() in _TRUE)
        return text


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came in: `path` without /api2/json, `parameters` of query and body together."""

    method: str
    path: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    authorization: str | None = field(default=None, repr=False)
    ticket: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler needs to know: who asks about what, when."""

    cluster: Cluster
    token: Token
    now: float
    names: Mapping[str, str]  # what stood in the path's {places}
    parameters: Mapping[str, int | str]

    @property
    def node(self) -> Node:
        """The node of the path."""
        return self.cluster.world.nodes[self.names["node"]]

    @property
    def vmid(self) -> int:
        """The VMID of the path."""
        return int(self.names["vmid"])


@dataclass(frozen=True, slots=True)
class Route:
    """A method and path with its handler, its parameters and the privilege that it needs on a path."""

    method: str
    path: str
    handler: Callable[[Call], Answer]
    parameters: tuple[Parameter, ...] = ()
    permission: tuple[str, str] | None = None
    anonymous: bool = False  # who asks is not looked at

    def match(self, path: str) -> dict[str, str] | None:
        """The names in the path, None when it is another path."""
        wanted, given = self.path.split("/"), path.split("/")
        if len(wanted) != len(given):
            return None
        names = {}
        for want, give in zip(wanted, given, strict=True):
            if want.startswith("{"):
                if not give:
                    return None
                names[want.strip("{}")] = give
            elif want != give:
                return None
        return names


class Router:
    """Answers requests for one cluster."""

    def __init__(
        self, cluster: Cluster, routes: tuple[Route, ...], sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self._cluster = cluster
        self._sleep = sleep
        self._routes: dict[tuple[str, int], list[Route]] = {}
        self._anonymous = {(route.method, route.path) for route in routes if route.anonymous}
        for route in routes:
            self._routes.setdefault((route.method, route.path.count("/")), []).append(route)

    def answer(self, request: Request) -> Answer:
        """The answer, or the refusal raised."""
        path = request.path.rstrip("/") or "/"
        with self._cluster.lock:
            wait_seconds = self._cluster.wait_seconds(path)
        if wait_seconds:
            self._sleep(wait_seconds)  # without the lock: nobody else waits
        with self._cluster.lock:
            now = self._cluster.advance()
            forced = self._cluster.forced_status(path)
            if forced is not None and forced.code is not None:
                raise Refusal(forced.code, forced.reason, empty=forced.code in (401, 595))
            if (request.method, path) in self._anonymous:
                token = NOBODY
            else:
                token = authenticate(request.authorization, self._cluster.tokens, ticket=request.ticket)
            route, names = self._find(request.method, path)
            self._cluster.requests[f"{route.method} {route.path}"] += 1
            self._check_permission(route, names, token)
            self._check_node(names)
            parameters = _parameters(route, names, request.parameters)
            return route.handler(Call(self._cluster, token, now, names, parameters))

    def _find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        for route in self._routes.get((method, path.count("/")), []):
            names = route.match(path)
            if names is not None:
                return route, names
        raise not_implemented(method, path)

    def spoilt_body(self, request: Request) -> bytes | None:
        """What a fault sends in the place of an answer; None when there is none of that kind."""
        with self._cluster.lock:
            return self._cluster.spoilt_body(request.path.rstrip("/") or "/")

    def _check_permission(self, route: Route, names: Mapping[str, str], token: Token) -> None:
        if route.permission is None:
            return
        template, privilege = route.permission
        vmid = names.get("vmid", "")
        guest = self._cluster.world.guests.get(int(vmid)) if _VMID.fullmatch(vmid) else None
        token.require(template.format_map(names), privilege, pool=guest.pool if guest else None)

    def _check_node(self, names: Mapping[str, str]) -> None:
        name = names.get("node")
        if name is None:
            return
        node = self._cluster.world.nodes.get(name)
        if node is None:
            raise unknown_node(name)
        if node.offline_since is not None:
            raise unreachable()


def _parameters(route: Route, names: Mapping[str, str], given: Mapping[str, str]) -> dict[str, int | str]:
    errors: dict[str, str] = {}
    vmid = names.get("vmid")
    if vmid is not None and not _VMID.fullmatch(vmid):
        errors["vmid"] = (
            "invalid format - value does not look like a valid VM ID\n"
            if _INTEGER.fullmatch(vmid)
            else f"type check ('integer') failed - got '{vmid}'"
        )
    known = {parameter.name: parameter for parameter in route.parameters}
    parsed: dict[str, int | str] = {}
    for name, text in given.items():
        if name in names:
            continue  # the path's value wins
        if name not in known:
            errors[name] = "property is not defined in schema and the schema does not allow additional properties"
            continue
        try:
            parsed[name] = known[name].parse(text)
        except ValueError as error:
            errors[name] = str(error)
    if errors:
        raise Refusal(400, "Parameter verification failed.", errors=errors)
    return parsed
