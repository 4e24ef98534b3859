"""The exporter without its listeners: pollers, snapshots, the page, heartbeats, wired together."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial

from exporter import inventory, outcomes
from exporter.collectors import COLLECTORS
from exporter.discovery import Discovery, Watched
from exporter.exposition import Page, header, write_samples
from exporter.heartbeats.http import HeartbeatApp
from exporter.heartbeats.metrics import families as heartbeat_families
from exporter.heartbeats.store import HeartbeatStore
from exporter.own_metrics import OwnMetrics
from exporter.poller import NODE_THREADS, ClusterPoller
from exporter.snapshot import EVERYTHING, Snapshot
from exporter.stops import StopStore
from pvewatch.config import Cluster, ConfigError, Problem, Secret, Settings
from pvewatch.inventory import GuestKind, Inventory
from pvewatch.pve.client import PveClient
from pvewatch.pve.grouping import Group
from pvewatch.pve.models import Resources

STOP_SECONDS = 1.0
TABLES = (*((collector.name, collector.metrics) for collector in COLLECTORS), (EVERYTHING, outcomes.METRICS))


class Exporter:
    """Everything the routes serve. `start` begins to poll, `stop` ends it within a few seconds."""

    def __init__(
        self,
        settings: Settings,
        groups: tuple[Group, ...],
        heartbeat_secret: Secret,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open the stores and prepare one client per cluster.

        Raises ConfigError with all clusters' mistakes, StoreUnusable or StopsUnusable for the files.
        """
        self.settings = settings
        self.groups = groups
        self.own = OwnMetrics()
        self.discovery = Discovery(settings)
        self._clock = clock
        self._page = Page(TABLES)
        self._ids: dict[str, tuple[Resources | None, Mapping[int, str] | None]] = {}
        clients = self._clients()
        self._stops = StopStore(settings.data_dir / "exporter.db")
        self.heartbeats = HeartbeatStore(settings.data_dir / "heartbeats.db")
        self.snapshots = {group.cluster.name: Snapshot(group.cluster.name) for group in groups}
        # An empty page first: HELP and TYPE of all families are there before anything has been asked.
        for snapshot in self.snapshots.values():
            self._page.refresh(snapshot)
        self.pollers = [
            ClusterPoller(
                group.cluster,
                clients[group.cluster.name],
                self.snapshots[group.cluster.name],
                settings.exporter,
                self._stops,
                COLLECTORS,
                self._page.refresh,
                clock=clock,
            )
            for group in groups
        ]
        self.heartbeat_app = HeartbeatApp(
            self.heartbeats,
            heartbeat_secret,
            frozenset(self.snapshots),
            self._kind_of,
            max_bytes=settings.exporter.max_heartbeat_bytes,
        )

    def start(self) -> None:
        """Begin to poll all clusters."""
        for poller in self.pollers:
            poller.start()

    def stop(self) -> None:
        """End polling and close the stores."""
        for poller in self.pollers:
            poller.stop()
        deadline = time.monotonic() + STOP_SECONDS
        for poller in self.pollers:
            poller.join(deadline - time.monotonic())
        self.heartbeats.close()
        self._stops.close()

    @property
    def untried(self) -> list[str]:
        """The clusters that have not been asked once yet."""
        return [poller.cluster.name for poller in self.pollers if not poller.tried]

    def metrics(self) -> bytes:
        """The page of /metrics as of now."""
        self._expire()
        return b"".join((self._page.text(), self._heartbeat_page(), self.own.text()))

    def watched(self) -> Watched:
        """Per cluster what the lists of service discovery are made of, as of now."""
        self._expire()
        return {
            group.cluster.name: (group.cluster, group.members, self.snapshots[group.cluster.name])
            for group in self.groups
        }

    def inventory(self) -> Inventory:
        """The inventory as of now."""
        self._expire()
        return inventory.build(
            {group.cluster.name: (group.cluster, group.members) for group in self.groups},
            self.snapshots,
            self.heartbeats,
            self.settings,
            self._clock(),
        )

    def _expire(self) -> None:
        # At each reading, not only after each poll: a poll that hangs must not keep old figures alive.
        for snapshot in self.snapshots.values():
            if snapshot.expire(self._clock()):
                self._page.refresh(snapshot)

    def _heartbeat_page(self) -> bytes:
        found = heartbeat_families(
            self.heartbeats.records(),
            {name: self._guest_ids(name) for name in self.snapshots},
            self.heartbeat_app.rejected,
            now=self._clock(),
            timeout=self.settings.exporter.heartbeat_timeout_seconds,
        )
        return b"".join(
            header(family.name, family.type, family.help) + write_samples(family.name, family.labels, family.samples)
            for family in found
        )

    def _guest_ids(self, cluster: str) -> Mapping[int, str] | None:
        """VMID → id of the cluster's guests; None while they are not known, or none may be seen."""
        resources = self.snapshots[cluster].resources()
        known = self._ids.get(cluster)
        if known is None or known[0] is not resources:
            ids = {guest.vmid: guest.id for guest in resources.guests} if resources else {}
            known = self._ids[cluster] = (resources, ids or None)
        return known[1]

    def _kind_of(self, cluster: str, vmid: int) -> GuestKind | None:
        found = (self._guest_ids(cluster) or {}).get(vmid)
        if found is None:
            return None
        return "qemu" if found.startswith("qemu/") else "lxc"

    def _clients(self) -> dict[str, PveClient]:
        clients: dict[str, PveClient] = {}
        problems: list[Problem] = []
        for group in self.groups:
            try:
                clients[group.cluster.name] = self._client(group.cluster)
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)
        return clients

    def _client(self, cluster: Cluster) -> PveClient:
        if cluster.monitor is None:
            remedy = "add monitor: with token_id and token_secret_file; the exporter reads with that token"
            raise ConfigError([Problem(f"clusters: {cluster.name}", "has no monitor token", remedy)])
        observe = partial(_observe, self.own, cluster.name)
        # A connection for each thread that may ask at once; fewer would be opened and thrown away all the time.
        return PveClient(cluster, cluster.monitor, observe=observe, pool_size=NODE_THREADS + 1)


def _observe(own: OwnMetrics, cluster: str, _host: str, endpoint: str, outcome: str, seconds: float) -> None:
    own.pve_request(cluster, endpoint, outcome, seconds)
