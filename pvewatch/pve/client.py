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
from pvewatch.pve import parsers
from pvewatch.pve.addresses import reported_addresses
from pvewatch.pve.errors import AuthFailed, BadAnswer, Forbidden, NotFound, PveError, Rejected, Unreachable
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
from pvewatch.pve.transport import AnswerTooLarge, NotJson, connect

_log = logging.getLogger(__name__)
_Parsed = TypeVar("_Parsed")

# PVE gives up on a node after 30 s and answers 595; waiting longer lets it say so itself.
READ_TIMEOUT_SECONDS = 35.0
CONNECT_TIMEOUT_SECONDS = 5.0
HOST_REST_SECONDS = 60.0
POOL_SIZE = 8
_GONE_STATUS = {595, 596, 599}
_NOT_THERE = ("does not exist", "no such", "not exist")
_HOST_BROKEN = ("RPCEnvironment init request failed", "ipcc_send_rec", "Connection refused")

Observer = Callable[[str, str, str, float], None]


class PveClient:
    """One cluster seen with one token. Safe for use by several threads.

    `observe(host, endpoint, outcome, seconds)` is called after every request; `endpoint` is a template such as
    `/nodes/{node}/status`, never the path of one guest; `outcome` is "ok" or the error class.
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
    ) -> None:
        self.cluster = cluster
        self.token_id = token.token_id
        self._observe = observe or (lambda *_: None)
        self._lock = threading.Lock()
        self._current = 0
        self._rests_until: dict[HostPort, float] = {}
        secret = token.secret.resolve()
        self._links: dict[HostPort, tuple[ProxmoxResource, requests.Session]] = {
            host: connect(
                cluster,
                host,
                token.token_id,
                secret,
                connect_timeout=connect_timeout,
                read_timeout=read_timeout,
                pool_size=pool_size,
            )
            for host in cluster.hosts
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the kept connections."""
        for _, session in self._links.values():
            session.close()

    # ── the cluster ──────────────────────────────────────────────────────────────────────────────────────────────

    def version(self) -> Version:
        """`GET /version`: of the host that answers. Any token may."""
        return self._get("/version", parsers.version)

    def permissions(self) -> Permissions:
        """`GET /access/permissions`: what this token may, by path. Empty: nothing at all."""
        return self._get("/access/permissions", parsers.permissions)

    def cluster_status(self) -> ClusterStatus:
        """`GET /cluster/status`: quorum and nodes. Needs Sys.Audit on /."""
        return self._get("/cluster/status", parsers.cluster_status)

    def cluster_resources(self) -> Resources:
        """`GET /cluster/resources`: all that this token may see, 200 also when that is nothing."""
        return self._get("/cluster/resources", parsers.resources)

    def cluster_tasks(self) -> tuple[Task, ...]:
        """`GET /cluster/tasks`: the newest tasks of all nodes, newest first; only own ones without Sys.Audit on /."""
        return self._get("/cluster/tasks", parsers.tasks)

    # ── nodes and guests ─────────────────────────────────────────────────────────────────────────────────────────

    def node_status(self, node: str) -> NodeDetail:
        """`GET /nodes/{node}/status`. Needs Sys.Audit on the node."""
        return self._get("/nodes/{node}/status", lambda data: parsers.node_status(data, node), node=node)

    def guest_config(self, node: str, kind: GuestKind, vmid: int) -> GuestConfig:
        """`GET /nodes/{node}/{kind}/{vmid}/config`. Needs VM.Audit on the guest."""
        return self._get("/nodes/{node}/{kind}/{vmid}/config", parsers.guest_config, node=node, kind=kind, vmid=vmid)

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
        resource = self._links[host][0](path.lstrip("/"))
        begun = time.monotonic()
        outcome = "ok"
        try:
            data = resource.post(**params) if method == "POST" else resource.get(**params)
            return parse(data)
        except ResourceException as error:
            translated = _translate(error, str(host), path)
            outcome = translated.error_class
            raise translated from error
        except (NotJson, parsers.WrongShape, AnswerTooLarge, requests.TooManyRedirects) as error:
            outcome = BadAnswer.error_class
            raise BadAnswer(str(error), host=str(host), path=path) from error
        except (requests.RequestException, HTTPException, OSError) as error:
            outcome = Unreachable.error_class
            raise Unreachable(_connection_words(error), host=str(host), path=path) from error
        finally:
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
        return _certificate_trouble(cause) is not None
    reason = getattr(cause.args[0], "reason", None) if cause is not None and cause.args else None
    return type(reason).__name__ in {"NewConnectionError", "NameResolutionError", "ConnectTimeoutError"}


def _certificate_trouble(error: requests.exceptions.SSLError) -> str | None:
    """What is wrong with the host's certificate; None when TLS itself failed, before or after the request."""
    text = str(error)
    if "Fingerprints did not match" in text:
        return "the certificate is not the one whose fingerprint is configured"
    if "CERTIFICATE_VERIFY_FAILED" in text or "CertificateError" in text:
        return "the certificate cannot be verified; configure fingerprint or ca_file"
    return None


def _is_the_hosts_fault(error: PveError, method: str) -> bool:
    if isinstance(error, Unreachable) and error.status is None:
        if _never_connected(error.__cause__):
            return True
        # A lost answer about one node is more likely that node's fault; about the cluster it is this host's.
        return method == "GET" and not error.path.startswith("/nodes/")
    broken = any(words in error.reason for words in _HOST_BROKEN)
    return method == "GET" and broken and not error.path.startswith("/nodes/")


def _translate(error: ResourceException, host: str, path: str) -> PveError:
    status = int(error.status_code)
    # proxmoxer puts the reason phrase into `content`; it is the only text that a 401 or 595 has.
    reason = " ".join(str(error.content or error.status_message or "").split())[:500]
    if isinstance(error.errors, dict):
        reason += " (" + "; ".join(f"{key}: {value}" for key, value in sorted(error.errors.items())).strip()[:500] + ")"
    kind: type[PveError]
    if status in _GONE_STATUS or "RPCEnvironment init request failed" in reason:
        kind = Unreachable
    elif status == 401:
        kind = AuthFailed
    elif status == 403:
        kind = Forbidden
    elif status == 404 or (status in (400, 500) and any(words in reason for words in _NOT_THERE)):
        kind = NotFound
    else:
        kind = Rejected
    return kind(f"{status} {reason}".strip(), host=host, path=path, status=status, reason=reason)


def _connection_words(error: BaseException) -> str:
    """Why there was no answer, in words that fit a table; urllib3's own text repeats addresses and object ids."""
    text = str(error)
    if isinstance(error, requests.exceptions.SSLError):
        return _certificate_trouble(error) or "the encrypted connection failed; is this a Proxmox VE host's port?"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, requests.exceptions.Timeout):
        return "no answer in time"
    for words in ("Connection refused", "No route to host", "Name or service not known", "reset by peer"):
        if words in text:
            return words.lower()
    return f"the connection failed ({type(error).__name__})"
