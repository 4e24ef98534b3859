"""Which configured entries are one cluster.

The environment form names hosts one by one (PROXMOX_NODE_1_HOST, PROXMOX_NODE_2_HOST, …). Hosts that belong to one
cluster would show every guest several times, so their entries become hosts of one cluster under the name of the
lowest entry. A cluster is known by its own name together with its nodes' names and addresses (`/cluster/status`);
an entry that cannot be reached belongs to the cluster one of whose nodes has its host as address or name.

The decision is kept in <data_dir>/clusters.json, so that a start while hosts are down, and the worker, which does not
ask, come to the same names. Entries of a configuration file are left as they are written.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pvewatch.config import Cluster, Settings
from pvewatch.pve.client import PveClient
from pvewatch.pve.errors import PveError
from pvewatch.pve.models import ClusterStatus

_log = logging.getLogger(__name__)

DECISION_FILE = "clusters.json"
_FORM = 1
_ASK_TIMEOUT_SECONDS = 8.0
_ASK_THREADS = 16


@dataclass(frozen=True, slots=True)
class Group:
    """One cluster as it is to be used, and the configured names it was made of (its own name first)."""

    cluster: Cluster
    members: tuple[str, ...]


Ask = Callable[[Cluster], ClusterStatus | None]


def ask_status(cluster: Cluster) -> ClusterStatus | None:
    """The status of an entry's cluster, None when it cannot be asked now. Raises ConfigError for a missing secret."""
    if cluster.monitor is None:
        return None
    try:
        with PveClient(cluster, cluster.monitor, read_timeout=_ASK_TIMEOUT_SECONDS) as client:
            return client.cluster_status()
    except PveError as error:
        _log.warning("cannot ask %s which cluster it is: %s", cluster.name, error)
        return None


def group_by_asking(settings: Settings, ask: Ask = ask_status) -> tuple[Group, ...]:
    """Ask the entries of the environment form, join those that are one cluster, and keep the decision on disk.

    At most about 13 s, all entries at once. Raises ConfigError when a token's secret cannot be read.
    """
    entries = [cluster for cluster in settings.clusters if cluster.from_environment]
    if len(entries) < 2:
        return tuple(Group(cluster, (cluster.name,)) for cluster in settings.clusters)
    with ThreadPoolExecutor(max_workers=min(_ASK_THREADS, len(entries))) as pool:
        answers = dict(zip((entry.name for entry in entries), pool.map(ask, entries), strict=True))
    path = settings.data_dir / DECISION_FILE
    decision = decide(entries, answers, _read(path))
    _write(path, decision)
    return _groups(settings.clusters, decision)


def group_as_remembered(settings: Settings) -> tuple[Group, ...]:
    """The groups as they were last decided, without asking anybody; entries never asked stay alone."""
    return _groups(settings.clusters, _read(settings.data_dir / DECISION_FILE))


def decide(
    entries: Sequence[Cluster], answers: Mapping[str, ClusterStatus | None], remembered: Mapping[str, str]
) -> dict[str, str]:
    """Entry → the name of its group, which is its lowest entry. Pure.

    `entries` in the order of the configuration; `answers` by entry, None where it could not be asked; `remembered` is
    an earlier decision, which counts only for entries that nothing else is known about.
    """
    identities: dict[str, object] = {}
    for entry in entries:
        answer = answers.get(entry.name)
        if answer is not None:
            # A standalone host has no cluster's name, and many are called `pve`: alike is not the same.
            nodes = frozenset((node.name, node.ip) for node in answer.nodes)
            identities[entry.name] = (answer.name, nodes) if answer.name else ("standalone", entry.name)
    for entry in entries:
        if answers.get(entry.name) is None:
            near = [name for name, answer in answers.items() if answer and _has_host(answer, entry.hosts[0].host)]
            found = {identities[name] for name in near}
            if len(found) == 1:
                identities[entry.name] = found.pop()
    for entry in entries:
        if entry.name not in identities:
            root = remembered.get(entry.name, entry.name)
            fellows = {identities[name] for name, kept in remembered.items() if kept == root and name in identities}
            identities[entry.name] = fellows.pop() if len(fellows) == 1 else ("remembered", root)
    lowest: dict[object, str] = {}
    for entry in entries:
        lowest.setdefault(identities[entry.name], entry.name)
    return {entry.name: lowest[identities[entry.name]] for entry in entries}


def _has_host(status: ClusterStatus, host: str) -> bool:
    names = {node.name for node in status.nodes} | {node.ip for node in status.nodes if node.ip}
    # A standalone `pve` says nothing about another host's name; a cluster knows all its nodes.
    return status.name is not None and (host in names or host.partition(".")[0] in {node.name for node in status.nodes})


def _groups(clusters: Sequence[Cluster], decision: Mapping[str, str]) -> tuple[Group, ...]:
    present = {cluster.name for cluster in clusters if cluster.from_environment}
    members: dict[str, list[Cluster]] = {}
    for cluster in clusters:
        root = decision.get(cluster.name, cluster.name) if cluster.from_environment else cluster.name
        members.setdefault(root if root in present else cluster.name, []).append(cluster)
    return tuple(_join(joined) for joined in members.values())


def _join(entries: Sequence[Cluster]) -> Group:
    first = entries[0]
    # Nodes have certificates of their own: each host keeps the fingerprint that was given for it.
    hosts = dict.fromkeys(
        host.model_copy(update={"fingerprint": host.fingerprint or entry.fingerprint})
        for entry in entries
        for host in entry.hosts
    )
    joined = first.model_copy(
        update={
            "hosts": tuple(hosts),
            "fingerprint": first.fingerprint if len(entries) == 1 else None,
            "ca_file": next((entry.ca_file for entry in entries if entry.ca_file), None),
            "verify_tls": all(entry.verify_tls for entry in entries),
            # Tokens belong to the cluster, not to a host: the first one given is good for all.
            "monitor": next((entry.monitor for entry in entries if entry.monitor), None),
            "power": next((entry.power for entry in entries if entry.power), None),
        }
    )
    return Group(joined, tuple(entry.name for entry in entries))


def _read(path: Path) -> dict[str, str]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        _log.warning("%s cannot be read (%s); hosts are asked anew which cluster they are", path, error)
        return {}
    groups = document.get("groups") if isinstance(document, dict) and document.get("form") == _FORM else None
    if not isinstance(groups, dict):
        return {}
    return {
        member: name
        for name, members in groups.items()
        if isinstance(members, list)
        for member in members
        if isinstance(member, str)
    }


def _write(path: Path, decision: Mapping[str, str]) -> None:
    groups: dict[str, list[str]] = {}
    for member, name in decision.items():
        groups.setdefault(name, []).append(member)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps({"form": _FORM, "groups": groups}, indent=2) + "\n", encoding="utf-8")
    draft.replace(path)
