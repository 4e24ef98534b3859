"""The calls to one host, each kept a short while: however many Prometheus servers scrape, the host is asked once.

A read runs in a thread of its own and is joined by whoever else wants it. Who cannot wait any longer goes on without
it; the read ends by itself, since every call has a time-out, and the next scrape finds its result.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pvewatch.pve.errors import BadAnswer, Forbidden, NotFound, PveError, Rejected
from pvewatch.pve.one_host import OneHost

_log = logging.getLogger(__name__)

# What a mistake of ours can raise: it costs the one read, not the thread that everybody waits for.
_OWN_FAULTS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)

# Of how many nodes a target keeps what it read; real clusters have no more.
MOST_NODES = 32

Row = Mapping[str, Any]


class TooLate(Exception):
    """The read has not ended in the time that the caller had."""


@dataclass(frozen=True, slots=True)
class Config:
    """One guest's configuration: its kind, VMID, `onboot` where it says so, and when it was read (monotonic)."""

    kind: str
    vmid: str
    onboot: object
    read_at: float


class Kept:
    """One read with its newest outcome. Any thread may `get`."""

    def __init__(self, name: str, read: Callable[[], Any], keep_seconds: float, stale_seconds: float = 0.0) -> None:
        """`keep_seconds` before it is read anew; an older value serves who cannot wait for `stale_seconds` more."""
        self.name = name
        self._read = read
        self._keep_seconds = keep_seconds
        self._stale_seconds = stale_seconds
        self._condition = threading.Condition()
        self._running = False
        self._ended_at: float | None = None
        self._value: Any = None
        self._error: PveError | None = None

    def get(self, deadline: float) -> Any:
        """The value, read anew if it is too old; raises PveError, or TooLate at `deadline` (monotonic).

        The error is kept until the next read: who catches it takes its traceback off, which holds the caller's page.
        """
        with self._condition:
            if not self._running and self._age() > self._keep_seconds:
                threading.Thread(target=self._run, name=f"pve-{self.name}", daemon=True).start()
                self._running = True
            if not self._condition.wait_for(lambda: not self._running, max(0.0, deadline - time.monotonic())) and (
                self._error is not None or self._age() > self._keep_seconds + self._stale_seconds
            ):
                raise TooLate(f"{self.name} has not been answered in time")
            if self._error is not None:
                raise self._error.with_traceback(None)
            return self._value

    def begin(self) -> None:
        """Begin to read if that is due, without waiting: so that several reads run at the same time."""
        try:
            self.get(0.0)
        except (PveError, TooLate) as error:
            error.with_traceback(None)

    def _age(self) -> float:
        return float("inf") if self._ended_at is None else time.monotonic() - self._ended_at

    def _run(self) -> None:
        value: Any = None
        error: PveError | None = None
        try:
            value = self._read()
        except PveError as problem:
            error = problem.with_traceback(None)  # whose frames hold the answer, which may be megabytes
        except _OWN_FAULTS:
            _log.exception("reading %s has a mistake", self.name)
            error = BadAnswer("pvewatch could not read it; its log has the details", host="", path=self.name)
        with self._condition:
            self._value, self._error = value, error
            self._ended_at = time.monotonic()
            self._running = False
            self._condition.notify_all()


class _Calls:
    """Asks the host for what has a certain shape."""

    def __init__(self, host: OneHost) -> None:
        self.host = host

    def _rows(self, template: str, **parts: str) -> list[Row]:
        data = self.host.get(template, **parts)
        if not isinstance(data, list):
            raise BadAnswer("the answer is no list", host=self.host.address, path=template)
        return [row for row in data if isinstance(row, dict)]

    def _row(self, template: str, **parts: str) -> Row:
        data = self.host.get(template, **parts)
        if not isinstance(data, dict):
            raise BadAnswer("the answer is no mapping", host=self.host.address, path=template)
        return data


class Reads(_Calls):
    """All reads of one host."""

    def __init__(self, host: OneHost, cache_seconds: float, node_seconds: float, config_seconds: float) -> None:
        super().__init__(host)
        self._seconds = cache_seconds, node_seconds, config_seconds
        self._lock = threading.Lock()
        self._locals: dict[str, LocalReads] = {}
        self.status = Kept("status", lambda: self._rows("/cluster/status"), cache_seconds)
        self.resources = Kept("resources", lambda: self._rows("/cluster/resources"), cache_seconds)
        # Not for node_seconds: this alone makes a page, so a host that died would look alive for as long.
        self.version = Kept("version", lambda: self._row("/version"), cache_seconds)
        self.not_backed_up = Kept(
            "not-backed-up", lambda: self._rows("/cluster/backup-info/not-backed-up"), node_seconds
        )
        self.qdevice = Kept("qdevice", self._read_qdevice, cache_seconds)

    def local(self, deadline: float) -> LocalReads:
        """The reads of the node that this host is now. Raises PveError, or TooLate at `deadline` (monotonic)."""
        for row in self.status.get(deadline):
            if row.get("type") == "node" and row.get("local") in (1, True, "1") and isinstance(row.get("name"), str):
                return self._of_node(str(row["name"]))
        raise BadAnswer("does not say which node this host is", host=self.host.address, path="/cluster/status")

    def _of_node(self, node: str) -> LocalReads:
        with self._lock:
            found = self._locals.get(node)
            if found is None:
                if len(self._locals) >= MOST_NODES:
                    del self._locals[next(iter(self._locals))]  # the oldest
                found = self._locals[node] = LocalReads(self.host, node, *self._seconds)
            return found

    def _read_qdevice(self) -> Row:
        # Without a deadline of its own: the call below has a time-out.
        if not any(row.get("type") == "cluster" for row in self.status.get(time.monotonic() + 3600)):
            return {}
        return self._row("/cluster/config/qdevice")


class LocalReads(_Calls):
    """The reads of one node by its name.

    An address may lead to another node from one scrape to the next (a floating address, a name of several hosts): what
    was read of one node is never shown as another's.
    """

    def __init__(
        self, host: OneHost, node: str, cache_seconds: float, node_seconds: float, config_seconds: float
    ) -> None:
        super().__init__(host)
        self.node = node
        self._config_seconds = config_seconds
        self._configs: dict[tuple[str, str], Config] = {}
        self.subscription = Kept(
            "subscription", lambda: self._row("/nodes/{node}/subscription", node=node), node_seconds
        )
        # The list holds what …/{id}/status would say of each job.
        self.replication = Kept(
            "replication", lambda: self._rows("/nodes/{node}/replication", node=node), cache_seconds
        )
        self.configs = Kept("configs", self._read_configs, node_seconds, stale_seconds=2 * config_seconds)

    def _read_configs(self) -> list[Config]:
        """The guests of this node; each configuration is read once within config_seconds."""
        present: dict[tuple[str, str], Config] = {}
        for kind, vmid in self._guests():
            known = self._configs.get((kind, vmid))
            if known is None or time.monotonic() - known.read_at > self._config_seconds:
                try:
                    row = self._row("/nodes/{node}/{kind}/{vmid}/config", node=self.node, kind=kind, vmid=vmid)
                except (NotFound, Forbidden, Rejected):
                    continue  # Removed or moved since the list was made, or not ours to see.
                known = Config(kind, vmid, row.get("onboot"), time.monotonic())
            present[kind, vmid] = known
            self._configs[kind, vmid] = known  # kept even if a later one fails
        self._configs = present
        return list(present.values())

    def _guests(self) -> Iterator[tuple[str, str]]:
        for kind in ("qemu", "lxc"):
            for row in self._rows("/nodes/{node}/{kind}", node=self.node, kind=kind):
                vmid = str(row.get("vmid"))
                if vmid.isdecimal():
                    yield kind, vmid
