"""The Proxmox VE API as pvewatch uses it: one method per call, one translation of errors.

A cluster has several hosts. The client stays with the one that answered last; when it cannot be reached another is
tried within the same call, and the bad one rests. An action is sent once: it goes to another host only when the
connection was refused, never when the request may have arrived.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from http.client import HTTPException
from types import TracebackType
from typing import Any, Literal, Self, TypeVar
from urllib.parse import quote

import requests
from proxmoxer import ResourceException
from proxmoxer.core import ProxmoxResource

from pvewatch.config import Cluster, HostPort, TokenRef
from pvewatch.pve import parsers, parsers_access, parsers_guests
from pvewatch.pve.addresses import reported_addresses
from pvewatch.pve.errors import BadAnswer, NotFound, PveError, Unreachable
from pvewatch.pve.models import (
    ClusterStatus,
    GuestConfig,
    GuestKind,
    GuestStatus,
    NodeDetail,
    Permissions,
    Resources,
    Task,
    Version,
)
from pvewatch.pve.models_guests import Filesystem, GuestActivity, GuestSnapshots, NicCounters
from pvewatch.pve.monitoring import MonitoringCalls
from pvewatch.pve.translation import certificate_trouble, connection_words, translate
from pvewatch.pve.transport import AnswerTooLarge, NotJson, connect

_log = logging.getLogger(__name__)
_Parsed = TypeVar("_Parsed")

# PVE gives up on a node after 30 s and answers 595; waiting longer lets it say so itself.
READ_TIMEOUT_SECONDS = 35.0
CONNECT_TIMEOUT_SECONDS = 5.0
HOST_REST_SECONDS = 60.0
# What a host answers out of its own memory: with another host to ask, a silent one is not waited for longer.
OWN_MEMORY_TIMEOUT_SECONDS = 8.0
_OWN_MEMORY = frozenset({"/version", "/cluster/status", "/cluster/resources"})
POOL_SIZE = 8
_GATEWAY_ERRORS = frozenset({502, 503, 504})
_HOST_BROKEN = ("RPCEnvironment init request failed", "ipcc_send_rec", "Connection refused")

Observer = Callable[[str, str, str, float], None]
Pace = Callable[[str], None]


class PveClient(MonitoringCalls):
    """One cluster seen with one token. Safe for use by several threads.

    `observe(host, endpoint, outcome, seconds)` is called after every request; `endpoint` is a template such as
    `/nodes/{node}/status`, never the path of one guest; `outcome` is "ok" or the error class.
    `pace(endpoint)` is called before every request and may wait.
    Every method raises a `PveError` and nothing else.
    """

    def __init__(
        self,
        cluster: Cluster,
        token: TokenRef,
        *,
        connect_timeout: float = CONNECT_TIMEOUT_SECONDS,
        read_timeout: float = READ_TIMEOUT_SECONDS,
        pool_size: int = POOL_SIZE,
        observe: Observer | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.cluster = cluster
        self.token_id = token.token_id
        self._observe = observe or (lambda *_: None)
        self._pace = pace or (lambda _: None)
        self._lock = threading.Lock()
        self._current = 0
        self._rests_until: dict[HostPort, float] = {}
        secret = token.secret.resolve()

        def link(host: HostPort, seconds: float) -> tuple[ProxmoxResource, requests.Session]:
            return connect(
                cluster,
                host,
                token.token_id,
                secret,
                connect_timeout=connect_timeout,
                read_timeout=seconds,
                pool_size=pool_size,
            )

        self._links = {host: link(host, read_timeout) for host in cluster.hosts}
        self._brisk_links = self._links
        if len(cluster.hosts) > 1 and read_timeout > OWN_MEMORY_TIMEOUT_SECONDS:
            self._brisk_links = {host: link(host, OWN_MEMORY_TIMEOUT_SECONDS) for host in cluster.hosts}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the kept connections."""
        for _, session in (*self._links.values(), *self._brisk_links.values()):
            session.close()

    # ── the cluster ──────────────────────────────────────────────────────────────────────────────────────────────

    def version(self) -> Version:
        """`GET /version`: of the host that answers. Any token may."""
        return self._get("/version", parsers.version)

    def permissions(self, of: str = "") -> Permissions:
        """`GET /access/permissions`: what this token may, by path. Empty: nothing at all.

        `of` another user or token needs Sys.Audit on /access.
        """
        return self._get("/access/permissions", parsers_access.permissions, {"userid": of} if of else None)

    def cluster_status(self) -> ClusterStatus:
        """`GET /cluster/status`: quorum and nodes. Needs Sys.Audit on /."""
        return self._get("/cluster/status", parsers.cluster_status)

    def cluster_resources(self, breathe: Callable[[], None] = lambda: None) -> Resources:
        """`GET /cluster/resources`: all that this token may see, 200 also when that is nothing.

        `breathe` is called again and again while the answer is read.
        """
        return self._get("/cluster/resources", lambda data: parsers.resources(data, breathe))

    def cluster_tasks(self) -> tuple[Task, ...]:
        """`GET /cluster/tasks`: the newest tasks of all nodes, newest first; only own ones without Sys.Audit on /."""
        return self._get("/cluster/tasks", parsers.tasks)

    # ── nodes and guests ─────────────────────────────────────────────────────────────────────────────────────────

    def node_status(self, node: str) -> NodeDetail:
        """`GET /nodes/{node}/status`. Needs Sys.Audit on the node."""
        return self._get("/nodes/{node}/status", lambda data: parsers.node_status(data, node), node=node)

    def guest_config(self, node: str, kind: GuestKind, vmid: int) -> GuestConfig:
        """`GET /nodes/{node}/{kind}/{vmid}/config`. Needs VM.Audit on the guest."""
        # Else changes that wait for the VM's next start would count as made (by the API reference), its UUID's too.
        params, path = {"current": 1} if kind == "qemu" else {}, "/nodes/{node}/{kind}/{vmid}/config"
        return self._get(path, parsers.guest_config, params, node=node, kind=kind, vmid=vmid)

    def guest_addresses(self, node: str, kind: GuestKind, vmid: int) -> tuple[str, ...]:
        """A running guest's addresses as its own system reports them.

        Containers: `…/interfaces`, needs VM.Audit. VMs: `…/agent/network-get-interfaces`, needs VM.GuestAgent.Audit,
        before PVE 9 VM.Monitor; Rejected where no agent answers, for which PVE waits 3 s.
        """
        if kind == "lxc":
            return self._get(
                "/nodes/{node}/lxc/{vmid}/interfaces",
                lambda data: reported_addresses(parsers.rows(data or [])),  # null where it has just stopped
                node=node,
                vmid=vmid,
            )
        return self._get(
            "/nodes/{node}/qemu/{vmid}/agent/network-get-interfaces",
            lambda data: reported_addresses(parsers.rows(parsers.mapping(data).get("result"))),
            node=node,
            vmid=vmid,
        )

    def guest_status(self, node: str, kind: GuestKind, vmid: int) -> GuestStatus:
        """`GET /nodes/{node}/{kind}/{vmid}/status/current`. Needs VM.Audit on the guest."""
        return self._get(
            "/nodes/{node}/{kind}/{vmid}/status/current", parsers.guest_status, node=node, kind=kind, vmid=vmid
        )

    def guest_activities(self, node: str, kind: GuestKind, *, full: bool = True) -> dict[str, GuestActivity]:
        """`GET /nodes/{node}/{kind}`, by id; only guests with VM.Audit. `full` asks each VM's QEMU for its counters.

        One call for all guests of a node. A VM whose QEMU is silent has no counters; PVE waits 2 s for it.
        """
        params = {"full": 1} if full and kind == "qemu" else {}
        template = f"/nodes/{{node}}/{kind}"
        return self._get(template, lambda data: parsers_guests.activities(data, kind), params, node=node)

    def node_netstat(self, node: str) -> dict[int, tuple[NicCounters, ...]]:
        """`GET /nodes/{node}/netstat`: network cards by VMID, containers' too. Needs Sys.Audit on the node."""
        return self._get("/nodes/{node}/netstat", parsers_guests.netstat, node=node)

    def guest_snapshots(self, node: str, kind: GuestKind, vmid: int) -> GuestSnapshots:
        """`GET /nodes/{node}/{kind}/{vmid}/snapshot`. Needs VM.Audit on the guest."""
        return self._get(
            "/nodes/{node}/{kind}/{vmid}/snapshot", parsers_guests.snapshots, node=node, kind=kind, vmid=vmid
        )

    def guest_pending_changes(self, node: str, kind: GuestKind, vmid: int) -> int:
        """`GET /nodes/{node}/{kind}/{vmid}/pending`: how many options wait. Needs VM.Audit on the guest."""
        return self._get(
            "/nodes/{node}/{kind}/{vmid}/pending", parsers_guests.pending_changes, node=node, kind=kind, vmid=vmid
        )

    def guest_filesystems(self, node: str, vmid: int) -> tuple[Filesystem, ...]:
        """`GET /nodes/{node}/qemu/{vmid}/agent/get-fsinfo`: needs VM.GuestAgent.Audit, before PVE 9 VM.Monitor.

        Rejected with "QEMU guest agent is not running" when it does not answer; PVE waits 3 s for it.
        """
        return self._get("/nodes/{node}/qemu/{vmid}/agent/get-fsinfo", parsers_guests.filesystems, node=node, vmid=vmid)

    def guest_agent_ping(self, node: str, vmid: int) -> None:
        """`POST /nodes/{node}/qemu/{vmid}/agent/ping`: changes nothing; privileges as for the file systems."""
        self._ask("POST", "/nodes/{node}/qemu/{vmid}/agent/ping", lambda _: None, {}, node=node, vmid=vmid)

    # ── tasks ────────────────────────────────────────────────────────────────────────────────────────────────────

    def node_tasks(
        self,
        node: str,
        *,
        vmid: int | None = None,
        since: float | None = None,
        source: Literal["active", "archive", "all"] = "all",
        limit: int = 500,
    ) -> tuple[Task, ...]:
        """`GET /nodes/{node}/tasks`, newest first. `since` is unix seconds; running ones only with active or all."""
        params: dict[str, Any] = {"source": source, "limit": limit}
        if vmid is not None:
            params["vmid"] = vmid
        if since is not None:
            params["since"] = int(since)
        return self._get("/nodes/{node}/tasks", parsers.tasks, params=params, node=node)

    def task_status(self, upid: str) -> Task:
        """`GET /nodes/{node}/tasks/{upid}/status`, on the task's own node: the others do not know it."""

        def parse(data: object) -> Task:
            found = parsers.task(parsers.mapping(data))
            if found is None:
                raise parsers.WrongShape("the task has no readable id")
            return found

        return self._get("/nodes/{node}/tasks/{upid}/status", parse, node=self._node_of(upid), upid=upid)

    def task_log(self, upid: str, limit: int = 50) -> tuple[str, ...]:
        """`GET /nodes/{node}/tasks/{upid}/log`: at most `limit` lines, from the first."""
        return self._get(
            "/nodes/{node}/tasks/{upid}/log",
            parsers.task_log,
            params={"limit": limit},
            node=self._node_of(upid),
            upid=upid,
        )

    def read(self, template: str, params: dict[str, Any] | None = None, **parts: str | int) -> object:
        """`GET` of any path, its `data` as it came: for what is passed on to people without being understood.

        `template` is such as `/nodes/{node}/qemu/{vmid}/config`; `parts` fill its places and are quoted.
        """
        return self._get(template, lambda data: data, params=params, **parts)

    # ── actions ──────────────────────────────────────────────────────────────────────────────────────────────────

    def guest_action(
        self,
        node: str,
        kind: GuestKind,
        vmid: int,
        action: Literal["start", "stop", "shutdown", "reboot", "reset", "suspend", "resume"],
        **params: str | int,
    ) -> str:
        """`POST /nodes/{node}/{kind}/{vmid}/status/{action}`; the answer is the task's UPID.

        That is a promise only: the task may still fail, and for a guest under HA it ends before anything happened.
        Needs VM.PowerMgmt on the guest. `Unreachable` means that the outcome is not known, unless `.status` is None
        and its cause is a refused connection; containers have no `reset` (501).
        """
        template = "/nodes/{node}/{kind}/{vmid}/status/{action}"
        return self._ask("POST", template, parsers.upid, params, node=node, kind=kind, vmid=vmid, action=action)

    # ── below ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _get(
        self,
        template: str,
        parse: Callable[[object], _Parsed],
        params: dict[str, Any] | None = None,
        **parts: str | int,
    ) -> _Parsed:
        return self._ask("GET", template, parse, params or {}, **parts)

    def _ask(
        self,
        method: Literal["GET", "POST"],
        template: str,
        parse: Callable[[object], _Parsed],
        params: dict[str, Any],
        **parts: str | int,
    ) -> _Parsed:
        path = template.format(**{key: quote(str(value), safe="") for key, value in parts.items()})
        hosts = self._hosts_to_try()
        for attempt, host in enumerate(hosts):
            try:
                return self._once(method, host, template, path, parse, dict(params))
            except PveError as error:
                if not _is_the_hosts_fault(error, method):
                    raise
                self._rest(host, error)
                if attempt == len(hosts) - 1:
                    raise
        raise AssertionError("a cluster has at least one host")

    def _once(
        self,
        method: str,
        host: HostPort,
        template: str,
        path: str,
        parse: Callable[[object], _Parsed],
        params: dict[str, Any],
    ) -> _Parsed:
        links = self._brisk_links if template in _OWN_MEMORY else self._links
        resource = links[host][0](path.lstrip("/"))
        self._pace(template)
        begun = time.monotonic()
        outcome = "ok"
        data: Any = None
        # Tracebacks are taken off: their frames hold the answer, which may be megabytes of what was not asked for, as
        # long as anybody holds the error.
        try:
            data = resource.post(**params) if method == "POST" else resource.get(**params)
            return parse(data)
        except ResourceException as error:
            translated = translate(error, str(host), path)
            outcome = translated.error_class
            raise translated from error.with_traceback(None)
        except (NotJson, parsers.WrongShape, AnswerTooLarge, requests.TooManyRedirects) as error:
            outcome = BadAnswer.error_class
            raise BadAnswer(str(error), host=str(host), path=path) from error.with_traceback(None)
        except (requests.RequestException, HTTPException, OSError) as error:
            outcome = Unreachable.error_class
            raise Unreachable(connection_words(error), host=str(host), path=path) from error.with_traceback(None)
        finally:
            data = None
            self._observe(str(host), template, outcome, time.monotonic() - begun)

    def _node_of(self, upid: str) -> str:
        try:
            return parsers.upid_node(upid)
        except parsers.WrongShape as error:
            raise NotFound(str(error), host=self.cluster.name, path="/nodes/{node}/tasks/{upid}") from error

    def _hosts_to_try(self) -> list[HostPort]:
        """The current host first, then those that do not rest, then the resting ones: with no other left, ask them."""
        with self._lock:
            now = time.monotonic()
            hosts = self.cluster.hosts
            ordered = hosts[self._current :] + hosts[: self._current]
            return sorted(ordered, key=lambda host: self._rests_until.get(host, 0) > now)

    def _rest(self, host: HostPort, error: PveError) -> None:
        with self._lock:
            self._rests_until[host] = time.monotonic() + HOST_REST_SECONDS
            hosts = self.cluster.hosts
            if len(hosts) > 1 and hosts[self._current] == host:
                self._current = (self._current + 1) % len(hosts)
                _log.warning("host %s of %s rests for %.0f s: %s", host, self.cluster.name, HOST_REST_SECONDS, error)


def was_never_sent(error: PveError) -> bool:
    """Whether the request certainly did not reach PVE, so that nothing can have happened."""
    return isinstance(error, Unreachable) and error.status is None and _never_connected(error.__cause__)


def _never_connected(cause: BaseException | None) -> bool:
    """A refused or timed-out *connect*, or a certificate that is not trusted, as opposed to a lost answer."""
    if isinstance(cause, requests.exceptions.ConnectTimeout):
        return True
    if isinstance(cause, requests.exceptions.SSLError):
        # Only this failure of TLS certainly comes before the request; any other may befall the answer.
        return certificate_trouble(cause) is not None
    reason = getattr(cause.args[0], "reason", None) if cause is not None and cause.args else None
    return type(reason).__name__ in {"NewConnectionError", "NameResolutionError", "ConnectTimeoutError"}


def _is_the_hosts_fault(error: PveError, method: str) -> bool:
    if isinstance(error, Unreachable) and error.status is None and _never_connected(error.__cause__):
        return True
    if method != "GET" or error.path.startswith("/nodes/"):
        # What goes wrong with a question about one node is more likely that node's fault.
        return False
    # About the cluster it is this host's: it cannot be reached, or something in front of it answers in its place.
    in_its_place = isinstance(error, Unreachable | BadAnswer) or error.status in _GATEWAY_ERRORS
    return in_its_place or any(words in error.reason for words in _HOST_BROKEN)
