"""The addresses the stack listens on: which they are, how they are moved, and whether they are free."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pvewatch.config import Settings
from pvewatch.stack.processes import StackError

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Listener:
    """One port of the stack; `setting` is the line of pvewatch.yaml that moves it."""

    name: str
    default_port: int
    section: str
    key: str = "listen"

    @property
    def setting(self) -> str:
        """The setting as it is written in messages, `exporter.listen`."""
        return f"{self.section}.{self.key}"


LISTENERS = (
    Listener("exporter", 9221, "exporter"),
    Listener("heartbeats", 9223, "exporter", "heartbeat_listen"),
    Listener("action-api", 9280, "action_api"),
    Listener("prometheus", 9090, "prometheus"),
    Listener("alertmanager", 9093, "alertmanager"),
    Listener("grafana", 3000, "grafana"),
    Listener("blackbox", 9115, "blackbox"),
)


def choose(base: int | None, moved: Mapping[str, int]) -> dict[str, int]:
    """The port of each listener: its default, or counted up from `base`, or the one it was `moved` to.

    Raises StackError for a name that is not a listener's, and for a port that two would share.
    """
    names = [listener.name for listener in LISTENERS]
    if unknown := sorted(set(moved) - set(names)):
        raise StackError(f"--port {unknown[0]}=…: there is no such listener; there are {', '.join(names)}")
    ports = {
        listener.name: moved.get(listener.name, listener.default_port if base is None else base + position)
        for position, listener in enumerate(LISTENERS)
    }
    for name, port in ports.items():
        if not 1 <= port <= 65535:
            raise StackError(f"{name}: {port} is not a port; choose one from 1 to 65535")
        if other := next((n for n in names[: names.index(name)] if ports[n] == port), None):
            raise StackError(f"{other} and {name} were both given port {port}; choose another with --port {name}=PORT")
    return ports


def addresses(settings: Settings) -> dict[str, str]:
    """The host:port of each listener as configured."""
    return {listener.name: str(getattr(getattr(settings, listener.section), listener.key)) for listener in LISTENERS}


def require_free(listening: Mapping[str, str], *, remedy: str, unless: Iterable[str] = ()) -> None:
    """Raise StackError naming every address of `listening` that is taken, before anything is started.

    `remedy` says how to move one, with {name} and {setting} to be filled in; names in `unless` are not looked at.
    """
    skipped = set(unless)
    taken = [
        f"{address} is taken by another program, and {listener.name} would listen there: end that program, or "
        + remedy.format(name=listener.name, setting=listener.setting)
        for listener in LISTENERS
        if listener.name not in skipped and not _is_free(address := listening[listener.name])
    ]
    if taken:
        raise StackError("\n".join(taken))


def free_port() -> int:
    """A port of the loopback address that is free now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _is_free(address: str) -> bool:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # As servers do: a port whose last connections are still closing counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise StackError(f"{address} cannot be listened on: {error.strerror}") from error
    return True
