"""The worker's connections to Proxmox VE: the power token of every cluster that has one."""

from __future__ import annotations

from pvewatch.config import Settings
from pvewatch.pve.client import PveClient
from pvewatch.pve.errors import PveError
from pvewatch.pve.grouping import Group, group_as_remembered
from pvewatch.pve.models import Guest

_LOOK_CONNECT_SECONDS = 3.0
_LOOK_READ_SECONDS = 6.0


class NoPowerToken(Exception):
    """The worker has no token for this cluster; the message says what to configure."""


class GuestNotSeen(Exception):
    """The power token does not see the guest."""


class Clusters:
    """Two clients per cluster: one that looks and gives up soon, one that acts and waits for PVE's own time-outs.

    Raises ConfigError when made, if a token's secret cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._groups: tuple[Group, ...] = ()
        self._looking: dict[str, PveClient] = {}
        self._acting: dict[str, PveClient] = {}
        self.refresh()

    def refresh(self) -> None:
        """Follow the exporter, which finds out while running which hosts of the environment form are one cluster.

        Raises ConfigError, if a token's secret cannot be read; then everything stays as it was.
        """
        groups = group_as_remembered(self._settings)
        if groups == self._groups:
            return
        looking: dict[str, PveClient] = {}
        acting: dict[str, PveClient] = {}
        for cluster in (group.cluster for group in groups):
            if cluster.power is None:
                continue
            looking[cluster.name] = PveClient(
                cluster, cluster.power, connect_timeout=_LOOK_CONNECT_SECONDS, read_timeout=_LOOK_READ_SECONDS
            )
            acting[cluster.name] = PveClient(cluster, cluster.power)
        # Threads that hold an old client finish their call with it; only kept connections are closed.
        self.close()
        self._groups, self._looking, self._acting = groups, looking, acting

    @property
    def names(self) -> tuple[str, ...]:
        """The clusters in which the worker can act."""
        return tuple(self._acting)

    def looking(self, cluster: str) -> PveClient:
        """The client for reading. Raises NoPowerToken."""
        return self._of(self._looking, cluster)

    def acting(self, cluster: str) -> PveClient:
        """The client for changing. Raises NoPowerToken."""
        return self._of(self._acting, cluster)

    def locate(self, cluster: str, vmid: int) -> Guest:
        """The guest's row as PVE has it now; guests move. Raises PveError, NoPowerToken, GuestNotSeen."""
        resources = self.looking(cluster).cluster_resources()
        guest = next((guest for guest in resources.guests if guest.vmid == vmid), None)
        if guest is None:
            raise GuestNotSeen(not_seen(cluster, vmid))
        return guest

    def close(self) -> None:
        """Close all connections."""
        for client in (*self._looking.values(), *self._acting.values()):
            client.close()

    def _of(self, clients: dict[str, PveClient], cluster: str) -> PveClient:
        if cluster not in clients:
            raise NoPowerToken(f"no power token is configured for cluster {cluster}; set clusters[].power")
        return clients[cluster]


def not_seen(cluster: str, vmid: int) -> str:
    """Why a guest may be missing from an answer that is otherwise well."""
    return f"cluster {cluster} shows no guest {vmid} to the power token; it needs VM.Audit on /vms/{vmid} or its pool"


LookErrors = (PveError, NoPowerToken, GuestNotSeen)
