"""The exporter without its listeners: pollers, snapshots, the page, heartbeats, wired together."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from exporter import inventory, outcomes, thresholds
from exporter.collectors import COLLECTORS
from exporter.collectors.selection import selected
from exporter.discovery import Discovery, Watched
from exporter.exposition import Metric, Page
from exporter.guest_detail import CALL_SECONDS, GuestReader, backup_storages
from exporter.heartbeats.http import HeartbeatApp
from exporter.heartbeats.keys import HeartbeatKeys
from exporter.heartbeats.page import HeartbeatPage
from exporter.heartbeats.store import HeartbeatStore
from exporter.jobs import Pace
from exporter.own_metrics import OwnMetrics
from exporter.poller import THREADS, ClusterPoller
from exporter.snapshot import EVERYTHING, GuestConfigs, Snapshot
from exporter.stops import StopStore
from pvewatch.config import Cluster, ConfigError, ExporterSettings, Problem, Secret, Settings
from pvewatch.inventory import GuestDetail, GuestKind, Inventory
from pvewatch.pve.client import PveClient
from pvewatch.pve.grouping import Group
from pvewatch.pve.models import Resources

_log = logging.getLogger(__name__)

STOP_SECONDS = 1.0
# Calls to the nodes of one cluster: what runs seldom waits for its turn.
CALLS_PER_SECOND = 20.0
CALLS_AT_ONCE = 60.0


def tables(settings: Callable[[], Settings]) -> tuple[tuple[str, tuple[Metric, ...]], ...]:
    """The families about clusters in the order of the page, as (collector, its families)."""
    return (
        *((collector.name, collector.metrics) for collector in COLLECTORS),
        ("resources", thresholds.metrics(settings)),
        (EVERYTHING, outcomes.METRICS),
    )


# With the default configuration, for whoever asks what families there are.
TABLES = tables(Settings)


@dataclass(frozen=True, slots=True)
class _Watched:
    """One cluster being watched; `made_of` says whether a new configuration still means the same."""

    group: Group
    made_of: tuple[object, ...]
    on_demand: PveClient
    snapshot: Snapshot
    poller: ClusterPoller


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
        self.own = OwnMetrics()
        self.discovery = Discovery(settings)
        self._clock = clock
        self._page = Page(tables(lambda: self.settings))
        self._ids: dict[str, tuple[Resources | None, Mapping[int, str] | None]] = {}
        self._configs: dict[str, tuple[tuple[Snapshot, int], Sequence[GuestConfigs]]] = {}
        self._changing = threading.Lock()
        self._started = False
        self._watched: Mapping[str, _Watched] = {}
        identities = _identities(groups, settings.exporter)
        self._stops = StopStore(settings.data_dir / "exporter.db")
        self._heartbeat_keys = HeartbeatKeys(settings.data_dir, heartbeat_secret)
        self.heartbeats = HeartbeatStore(settings.data_dir / "heartbeats.db")
        self._watched = {
            group.cluster.name: self._watch(group, identity, settings.exporter, None)
            for group, identity in zip(groups, identities, strict=True)
        }
        self._guest_reader = GuestReader(clock=clock)
        self.heartbeat_app = HeartbeatApp(
            self.heartbeats,
            self._heartbeat_keys,
            frozenset(self._watched),
            self._kind_of,
            uuid_of=self._uuid_of,
            max_bytes=settings.exporter.max_heartbeat_bytes,
        )
        self._heartbeat_page = HeartbeatPage(
            self.heartbeats.records,
            lambda: {name: self._guest_ids(name) for name in self._watched},
            self.heartbeat_app.rejected,
            clock,
            timeout=settings.exporter.heartbeat_timeout_seconds,
            keep=settings.exporter.heartbeat_keep_seconds,
            forget=self.heartbeats.forget,
        )

    @property
    def groups(self) -> tuple[Group, ...]:
        """The clusters that are watched, with the configured names that belong to each."""
        return tuple(watched.group for watched in self._watched.values())

    @property
    def pollers(self) -> list[ClusterPoller]:
        """One for each cluster."""
        return [watched.poller for watched in self._watched.values()]

    @property
    def snapshots(self) -> dict[str, Snapshot]:
        """What is known, by configured cluster."""
        return {name: watched.snapshot for name, watched in self._watched.items()}

    def start(self) -> None:
        """Begin to poll all clusters."""
        with self._changing:
            self._started = True
            for poller in self.pollers:
                poller.start()
        self._heartbeat_page.start()

    def stop(self) -> None:
        """End polling and close the stores."""
        self._heartbeat_page.stop()
        with self._changing:
            self._end(list(self._watched.values()))
        self.heartbeats.close()
        self._stops.close()

    def reload(self, settings: Settings, groups: tuple[Group, ...]) -> None:
        """Watch these clusters from now on; those that are configured as before are not touched.

        A cluster with another token or other intervals keeps its figures until there are new ones. Thresholds and
        alerting modes are shown as of now with each cluster's next answer. Raises ConfigError with all clusters'
        mistakes, and then nothing has changed. Listeners and files stay as they were at the start.
        """
        identities = _identities(groups, settings.exporter)
        with self._changing:
            before = self._watched
            after: dict[str, _Watched] = {}
            for group, identity in zip(groups, identities, strict=True):
                known = before.get(group.cluster.name)
                same = known is not None and known.made_of == identity
                after[group.cluster.name] = (
                    known if known is not None and same else self._watch(group, identity, settings.exporter, known)
                )
            kept = {id(watched) for watched in after.values()}
            ended = [watched for watched in before.values() if id(watched) not in kept]
            self.settings = self.settings.model_copy(
                update={
                    "clusters": settings.clusters,
                    "thresholds": settings.thresholds,
                    "alerting": settings.alerting,
                }
            )
            # In one assignment: whoever is answering meanwhile sees all the old clusters or all the new ones.
            self._watched = after
            self.heartbeat_app.accept(frozenset(after))
            self._end(ended)
            shown = {id(watched.snapshot) for watched in after.values()}
            for watched in ended:
                if id(watched.snapshot) not in shown:
                    self._page.forget(watched.snapshot)
                    self._ids.pop(watched.snapshot.cluster, None)
                    self._configs.pop(watched.snapshot.cluster, None)
            known_pollers = {id(watched.poller) for watched in before.values()}
            for watched in after.values():
                self._page.refresh(watched.snapshot)
                if self._started and id(watched.poller) not in known_pollers:
                    watched.poller.start()
        _log.info(
            "clusters read again: %d as before, %d new or changed, %d gone",
            len(kept & {id(watched) for watched in before.values()}),
            len(kept - {id(watched) for watched in before.values()}),
            len(before.keys() - after.keys()),
        )

    def is_watched(self, cluster: str) -> bool:
        """Whether that is a cluster's name, under which its guests' heartbeats are taken."""
        return cluster in self._watched

    @property
    def untried(self) -> list[str]:
        """The clusters that have not been asked once yet."""
        return [poller.cluster.name for poller in self.pollers if not poller.tried]

    def metrics_pieces(self) -> list[bytes]:
        """The page of /metrics as of now, in pieces to be sent one after the other."""
        self._expire()
        now = self._clock()
        ages = {name: _age(watched.snapshot, now) for name, watched in self._watched.items()}
        self.own.show_clusters(ages, self._page.series())
        return [*self._page.pieces(), *self._heartbeat_page.pieces(), self.own.text()]

    def metrics(self) -> bytes:
        """The page of /metrics as of now."""
        return b"".join(self.metrics_pieces())

    def watched(self) -> Watched:
        """Per cluster what the lists of service discovery are made of, as of now."""
        self._expire()
        return {name: (one.group.cluster, one.group.members, one.snapshot) for name, one in self._watched.items()}

    def inventory(self) -> Inventory:
        """The inventory as of now."""
        self._expire()
        watched = self._watched
        return inventory.build(
            {name: (one.group.cluster, one.group.members) for name, one in watched.items()},
            {name: one.snapshot for name, one in watched.items()},
            self.heartbeats,
            self.settings,
            self._clock(),
            self._heartbeat_keys.current_key_id,
        )

    def guest_detail(self, cluster: str, kind: GuestKind, vmid: int) -> GuestDetail | None:
        """All that can be read of one guest, not older than half a minute; None when there is no such guest.

        Raises exporter.guest_detail.ReaderBusy when too many ask at once.
        """
        self._expire()
        watched = self._watched.get(cluster)
        if watched is None:
            return None
        view = watched.snapshot.view()
        entry = inventory.find_guest(
            cluster,
            kind,
            vmid,
            view,
            self.heartbeats,
            self.settings,
            self._clock(),
            self._heartbeat_keys.current_key_id,
        )
        if entry is None:
            return None
        return self._guest_reader.read(watched.on_demand, entry, backup_storages(view, entry.node))

    def _watch(
        self, group: Group, identity: tuple[object, ...], settings: ExporterSettings, before: _Watched | None
    ) -> _Watched:
        cluster = group.cluster
        assert cluster.monitor is not None  # noqa: S101 - _identities has looked
        stopped = threading.Event()
        observe = partial(_observe, self.own, cluster.name)
        # For a person who waits: not so patient, and not behind the collectors.
        on_demand = PveClient(cluster, cluster.monitor, read_timeout=CALL_SECONDS, observe=observe)
        client = PveClient(
            cluster,
            cluster.monitor,
            observe=observe,
            # A connection for each thread that may ask at once; fewer would be opened and thrown away all the time.
            pool_size=THREADS + 1,
            pace=Pace(CALLS_PER_SECOND, CALLS_AT_ONCE, stopped).wait,
        )
        # Other hosts altogether are another cluster under the same name: its figures would be wrong here.
        same = before is not None and set(before.group.cluster.hosts) & set(cluster.hosts)
        snapshot = before.snapshot if before is not None and same else Snapshot(cluster.name)
        collectors = selected(COLLECTORS, settings)
        snapshot.forget_collectors(frozenset(collector.name for collector in collectors))
        # An empty page first: HELP and TYPE of all families are there before anything has been asked.
        self._page.refresh(snapshot)
        poller = ClusterPoller(
            cluster,
            client,
            snapshot,
            settings,
            self._stops,
            collectors,
            partial(self._page.refresh, considerate=True),
            clock=self._clock,
            ran=partial(self.own.collector_ran, cluster.name),
            stopped=stopped,
        )
        return _Watched(group, identity, on_demand, snapshot, poller)

    @staticmethod
    def _end(ended: Sequence[_Watched]) -> None:
        for watched in ended:
            watched.poller.stop()
            watched.on_demand.close()
        deadline = time.monotonic() + STOP_SECONDS
        for watched in ended:
            watched.poller.join(deadline - time.monotonic())

    def _expire(self) -> None:
        # At each reading, not only after each poll: a poll that hangs must not keep old figures alive.
        for watched in self._watched.values():
            if watched.snapshot.expire(self._clock()):
                self._page.refresh(watched.snapshot)

    def _guest_ids(self, cluster: str) -> Mapping[int, str] | None:
        """VMID → id of the cluster's guests; None while they are not known, or none may be seen."""
        watched = self._watched.get(cluster)
        if watched is None:
            return None
        resources = watched.snapshot.resources()
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

    def _uuid_of(self, cluster: str, vmid: int) -> str | None:
        watched = self._watched.get(cluster)
        if watched is None:
            return None
        state = (watched.snapshot, watched.snapshot.generation("config"))
        known = self._configs.get(cluster)
        if known is None or known[0] != state:
            known = self._configs[cluster] = (state, watched.snapshot.answers("config", GuestConfigs)[::-1])
        guest = f"qemu/{vmid}"
        # Of two nodes that both know it the later one counts, as in a view.
        return next((one.by_id[guest].config.smbios_uuid for one in known[1] if guest in one.by_id), None)


def _identities(groups: Sequence[Group], settings: ExporterSettings) -> list[tuple[object, ...]]:
    """What each cluster's watching is made of, its token's secret (as a digest) included.

    Raises ConfigError with every cluster's mistakes.
    """
    found: list[tuple[object, ...]] = []
    problems: list[Problem] = []
    try:
        selected(COLLECTORS, settings)
    except ConfigError as error:
        problems += error.problems
    for group in groups:
        try:
            found.append((group, _secret_digest(group.cluster), settings))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return found


def _secret_digest(cluster: Cluster) -> bytes:
    if cluster.monitor is None:
        remedy = "add monitor: with token_id and token_secret_file; the exporter reads with that token"
        raise ConfigError([Problem(f"clusters: {cluster.name}", "has no monitor token", remedy)])
    return hashlib.sha256(cluster.monitor.secret.resolve().reveal().encode()).digest()


def _age(snapshot: Snapshot, now: float) -> float | None:
    reading = snapshot.reading(("resources", ""))
    return None if reading is None or reading.taken_at is None else max(0.0, now - reading.taken_at)


def _observe(own: OwnMetrics, cluster: str, _host: str, endpoint: str, outcome: str, seconds: float) -> None:
    own.pve_request(cluster, endpoint, outcome, seconds)
