"""The calls that only monitoring makes: `PveClient` has them beside those that everybody needs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

from pvewatch.pve import parsers_access, parsers_cluster, parsers_disks, parsers_node, parsers_provisioning
from pvewatch.pve.models import AclRow, Number, Roles
from pvewatch.pve.models_cluster import (
    BackupJob,
    HaPlacement,
    HaStatus,
    QDevice,
    ReplicationJob,
    UnprotectedGuests,
    VotingNode,
)
from pvewatch.pve.models_disks import CephStatus, NodeDisks, NodeThinPools, NodeZfs
from pvewatch.pve.models_node import NodeCertificates, NodeHistory, NodeServices, Subscription
from pvewatch.pve.models_provisioning import Appliance, Bridge, ContainerTemplate

_Parsed = TypeVar("_Parsed")


class MonitoringCalls(ABC):
    """One method per call; each raises a `PveError` and nothing else."""

    @abstractmethod
    def _get(
        self,
        template: str,
        parse: Callable[[object], _Parsed],
        params: dict[str, Any] | None = None,
        **parts: str | int,
    ) -> _Parsed:
        """What `parse` makes of the answer to that path, filled in with `parts`."""

    def roles(self) -> Roles:
        """`GET /access/roles`: what each role holds. Any token may."""
        return self._get("/access/roles", parsers_access.roles)

    def acl(self) -> tuple[AclRow, ...]:
        """`GET /access/acl`. Needs Sys.Audit on /access, and is empty without."""
        return self._get("/access/acl", parsers_access.acl)

    def voting_nodes(self) -> tuple[VotingNode, ...]:
        """`GET /cluster/config/nodes`: the configured votes; empty on a standalone host. Needs Sys.Audit on /."""
        return self._get("/cluster/config/nodes", parsers_cluster.voting_nodes)

    def qdevice(self) -> QDevice | None:
        """`GET /cluster/config/qdevice`; None when none is set up. Needs Sys.Audit on /."""
        return self._get("/cluster/config/qdevice", parsers_cluster.qdevice)

    def ha_status(self) -> HaStatus:
        """`GET /cluster/ha/status/current`. Needs Sys.Audit on /."""
        return self._get("/cluster/ha/status/current", parsers_cluster.ha_status)

    def ha_groups(self) -> tuple[HaPlacement, ...]:
        """`GET /cluster/ha/groups`; PVE 9 answers 500 "migrated to rules". Needs Sys.Audit on /."""
        return self._get("/cluster/ha/groups", parsers_cluster.ha_groups)

    def ha_rules(self) -> tuple[HaPlacement, ...]:
        """`GET /cluster/ha/rules`; PVE 8 answers 501. Needs Sys.Audit on /."""
        return self._get("/cluster/ha/rules", parsers_cluster.ha_rules)

    def backup_jobs(self) -> tuple[BackupJob, ...]:
        """`GET /cluster/backup`. Needs Sys.Audit on /."""
        return self._get("/cluster/backup", parsers_cluster.backup_jobs)

    def not_backed_up(self) -> UnprotectedGuests:
        """`GET /cluster/backup-info/not-backed-up`. Needs Sys.Audit on /, and silently VM.Audit on each guest."""
        return self._get("/cluster/backup-info/not-backed-up", parsers_cluster.not_backed_up)

    def replication_jobs(self, node: str) -> tuple[ReplicationJob, ...]:
        """`GET /nodes/{node}/replication`: the jobs that send from there. 403 if VM.Audit is missing on one guest."""
        return self._get("/nodes/{node}/replication", parsers_cluster.replication_jobs, node=node)

    def node_history(self, node: str) -> NodeHistory | None:
        """`GET /nodes/{node}/rrddata` of the last hour: its newest row with figures. Needs Sys.Audit on the node."""
        return self._get(
            "/nodes/{node}/rrddata",
            lambda data: parsers_node.node_history(data, node),
            params={"timeframe": "hour"},
            node=node,
        )

    def services(self, node: str) -> NodeServices:
        """`GET /nodes/{node}/services`. Needs Sys.Audit on the node."""
        return self._get("/nodes/{node}/services", lambda data: parsers_node.services(data, node), node=node)

    def node_time(self, node: str) -> Number:
        """`GET /nodes/{node}/time`: the node's clock in whole unix seconds. Needs Sys.Audit on the node."""
        return self._get("/nodes/{node}/time", parsers_node.node_time, node=node)

    def certificates(self, node: str) -> NodeCertificates:
        """`GET /nodes/{node}/certificates/info`. Any token may."""
        return self._get(
            "/nodes/{node}/certificates/info", lambda data: parsers_node.certificates(data, node), node=node
        )

    def subscription(self, node: str) -> Subscription:
        """`GET /nodes/{node}/subscription`. Any token may."""
        return self._get("/nodes/{node}/subscription", lambda data: parsers_node.subscription(data, node), node=node)

    def disks(self, node: str) -> NodeDisks:
        """`GET /nodes/{node}/disks/list`: runs smartctl on each disk. Needs Sys.Audit on the node."""
        return self._get("/nodes/{node}/disks/list", lambda data: parsers_disks.disks(data, node), node=node)

    def zfs_pools(self, node: str) -> NodeZfs:
        """`GET /nodes/{node}/disks/zfs`: 500 "zfsutils-linux not installed" without. Needs Sys.Audit on /."""
        return self._get("/nodes/{node}/disks/zfs", lambda data: parsers_disks.zfs_pools(data, node), node=node)

    def thin_pools(self, node: str) -> NodeThinPools:
        """`GET /nodes/{node}/disks/lvmthin`. Needs Sys.Audit on /."""
        return self._get("/nodes/{node}/disks/lvmthin", lambda data: parsers_disks.thin_pools(data, node), node=node)

    def bridges(self, node: str) -> tuple[Bridge, ...]:
        """`GET /nodes/{node}/network`: only bridges with SDN.Audit or SDN.Use on their zone, 200 also without any."""
        params = {"type": "any_bridge"}
        return self._get("/nodes/{node}/network", parsers_provisioning.bridges, params, node=node)

    def container_templates(self, node: str, storage: str) -> tuple[ContainerTemplate, ...]:
        """`GET /nodes/{node}/storage/{storage}/content`. Needs Datastore.Audit on the storage."""
        return self._get(
            "/nodes/{node}/storage/{storage}/content",
            lambda data: parsers_provisioning.container_templates(data, storage),
            {"content": "vztmpl"},
            node=node,
            storage=storage,
        )

    def appliances(self, node: str) -> tuple[Appliance, ...]:
        """`GET /nodes/{node}/aplinfo`: what the node could download, out of its own index. Any token may."""
        return self._get("/nodes/{node}/aplinfo", parsers_provisioning.appliances, node=node)

    def ceph_status(self, node: str = "") -> CephStatus:
        """`GET /cluster/ceph/status`, or what that `node` says. Needs Sys.Audit or Datastore.Audit on /.

        500 where there is none: "binary not installed: /usr/bin/ceph-mon" is about the node that answers, "pveceph
        configuration not initialized" about the cluster. Also 500 where Ceph's monitors do not answer.
        """
        if node:
            return self._get("/nodes/{node}/ceph/status", parsers_disks.ceph_status, node=node)
        return self._get("/cluster/ceph/status", parsers_disks.ceph_status)
