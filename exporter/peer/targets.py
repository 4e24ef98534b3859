"""Which host `/pve?target=` may ask, and with whose login.

Allowed are the targets of exporter.pve_targets, asked with the module's login, and the hosts of the clusters, asked
with their cluster's monitor token. A login never goes to any other host or port.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from exporter.peer.modules import DEFAULT_MODULE
from pvewatch.config import Cluster, HostPort, Secret, TokenRef
from pvewatch.pve.one_host import Login
from pvewatch.pve.transport import trust_of
from pvewatch.settings import DEFAULT_PVE_PORT

Address = tuple[str, int]


class UnknownModule(Exception):
    """The module is not configured."""


class NotAllowed(Exception):
    """The target is not among those that may be asked; the message names the setting."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """A host with the login that it is asked with; `key` tells it from all others."""

    key: tuple[str, str, int]
    login: Login


class Targets:
    """All pairs of target and module that may be asked."""

    def __init__(self, modules: Mapping[str, Login], targets: tuple[str, ...], clusters: tuple[Cluster, ...]) -> None:
        """Raises ConfigError when a cluster's token cannot be read."""
        self._modules = dict(modules)
        self._allowed: dict[tuple[str, Address], Allowed] = {}
        self.modules = tuple(sorted({*modules, *((DEFAULT_MODULE,) if clusters else ())}))
        for cluster in clusters:
            if cluster.monitor is None:
                continue
            secret = cluster.monitor.secret.resolve()
            for host in cluster.hosts:
                address = (_plain(host.host), host.port)
                login = _login_of(cluster, host, cluster.monitor, secret)
                self._allowed[DEFAULT_MODULE, address] = Allowed((f"cluster {cluster.name}", *address), login)
        # Later, and so stronger: who names a host here wants the module's login for it.
        for name, login in modules.items():
            for target in targets:
                address = split(target, login.port)
                self._allowed[name, address] = Allowed((f"module {name}", *address), login)

    def find(self, target: str, module: str) -> Allowed:
        """The host and its login. Raises UnknownModule and NotAllowed."""
        if module not in self.modules:
            raise UnknownModule(f"Module '{module[:100]}' not found in config")
        known = self._modules.get(module)
        try:
            address = split(target, known.port if known else DEFAULT_PVE_PORT)
        except ValueError as error:
            raise NotAllowed(
                f"target {target[:200]!r} is not host or host:port; exporter.pve_targets says which may be asked"
            ) from error
        found = self._allowed.get((module, address))
        if found is None:
            raise NotAllowed(
                f"target {target[:200]!r} may not be asked with module {module!r}: add it to exporter.pve_targets "
                "(or start the exporter with --pve-target); port and spelling count"
            )
        return found


def split(target: str, default_port: int) -> Address:
    """Host and port of `host`, `host:port`, an IPv4 or an IPv6 address, bare or in brackets. Raises ValueError."""
    text = target.strip()
    parsed = HostPort.parse(text)
    named = not _is_bare(text) and text.rpartition(":")[2].isdecimal() and not text.endswith("]")
    return _plain(parsed.host), parsed.port if named else default_port


def _is_bare(text: str) -> bool:
    """Without a port: no colon at all, or an IPv6 address without brackets."""
    return ":" not in text or (text.count(":") > 1 and not text.startswith("["))


def _plain(host: str) -> str:
    """One spelling for each host."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.lower().rstrip(".")


def _login_of(cluster: Cluster, host: HostPort, token: TokenRef, secret: Secret) -> Login:
    user, _, token_name = token.token_id.partition("!")
    fingerprint = host.fingerprint or cluster.fingerprint
    return Login(
        user=user,
        secret=secret,
        token_name=token_name,
        verify=trust_of(cluster, fingerprint),
        fingerprint=fingerprint,
        port=host.port,
    )
