"""Hosts named one by one in the environment that turn out to be one cluster.

PROXMOX_NODE_<n>_* describes hosts, not clusters. Asking each for `/cluster/status` tells which belong together: the
same cluster name with the same nodes at the same addresses. The decision is kept in <data_dir>/clusters.json, so that
a host that is down at the next start stays where it belongs. Clusters of pvewatch.yaml are never touched.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pvewatch.config import Cluster, ConfigError, Settings
from pvewatch.pve.client import PveClient
from pvewatch.pve.errors import PveError
from pvewatch.pve.models import ClusterStatus

_log = logging.getLogger(__name__)

# The name of PVE's cluster and its nodes' names and addresses: two sites may well both call their cluster "pve".
_Identity = tuple[str, frozenset[tuple[str, str | None]]]
Look = Callable[[Cluster], ClusterStatus | None]


def group(settings: Settings, look: Look | None = None) -> tuple[Settings, dict[str, list[str]]]:
    """Join the hosts of the environment form that are one cluster.

    Returns the settings with clusters in place of hosts, and for each cluster the names of its entries, its own first.
    `look` asks one entry and returns None when it does not answer; the default asks Proxmox VE.
    """
    entries = [cluster for cluster in settings.clusters if cluster.from_environment]
    if len(entries) < 2:
        return settings, {cluster.name: [cluster.name] for cluster in settings.clusters}
    with ThreadPoolExecutor(max_workers=min(8, len(entries))) as pool:
        answers = dict(
            zip((entry.name for entry in entries), pool.map(look or _ask, entries), strict=True),
        )
    file = settings.data_dir / "clusters.json"
    leaders = _leaders(entries, answers, _remembered(file))
    _remember(file, leaders)
    members: dict[str, list[Cluster]] = {}
    for entry in entries:
        members.setdefault(leaders[entry.name], []).append(entry)
    joined = [_join(found) for found in members.values()]
    fixed = [cluster for cluster in settings.clusters if not cluster.from_environment]
    names = {cluster.name: [cluster.name] for cluster in fixed}
    names |= {found[0].name: [entry.name for entry in found] for found in members.values()}
    return settings.model_copy(update={"clusters": (*fixed, *joined)}), names


def _leaders(
    entries: list[Cluster], answers: Mapping[str, ClusterStatus | None], remembered: Mapping[str, str]
) -> dict[str, str]:
    """Entry → the entry after which its cluster is named, itself for a host that stands alone."""
    identities: dict[str, _Identity] = {}
    for name, status in answers.items():
        if status is not None and status.name is not None:
            identities[name] = (status.name, frozenset((node.name, node.ip) for node in status.nodes))
    for entry in entries:
        if answers[entry.name] is None:
            found = _identity_by_address(entry, set(identities.values()))
            if found is not None:
                identities[entry.name] = found
    first: dict[_Identity, str] = {}
    leaders = {}
    for entry in entries:
        identity = identities.get(entry.name)
        if identity is not None:
            leaders[entry.name] = first.setdefault(identity, entry.name)
        elif answers[entry.name] is None and remembered.get(entry.name) in {other.name for other in entries}:
            leaders[entry.name] = remembered[entry.name]
        else:
            leaders[entry.name] = entry.name
    # A remembered leader may itself have become a follower of an earlier entry.
    return {name: leaders.get(leader, leader) for name, leader in leaders.items()}


def _identity_by_address(entry: Cluster, known: Iterable[_Identity]) -> _Identity | None:
    """The one cluster that has a node at the entry's host; None when none or several do."""
    host = entry.hosts[0].host
    matches = [identity for identity in known if any(host in (name, address) for name, address in identity[1])]
    return matches[0] if len(matches) == 1 else None


def _join(entries: list[Cluster]) -> Cluster:
    """One cluster of several hosts; each host keeps the fingerprint that was given for it."""
    hosts = tuple(
        host.model_copy(update={"fingerprint": host.fingerprint or entry.fingerprint})
        for entry in entries
        for host in entry.hosts
    )
    return entries[0].model_copy(
        update={
            "hosts": hosts,
            "fingerprint": None if len(entries) > 1 else entries[0].fingerprint,
            "ca_file": next((entry.ca_file for entry in entries if entry.ca_file), None),
            "verify_tls": all(entry.verify_tls for entry in entries),
            "monitor": next((entry.monitor for entry in entries if entry.monitor), None),
            "power": next((entry.power for entry in entries if entry.power), None),
        }
    )


def _ask(entry: Cluster) -> ClusterStatus | None:
    token = entry.monitor or entry.power
    if token is None:
        return None
    try:
        with PveClient(entry, token, read_timeout=10) as client:
            return client.cluster_status()
    except (PveError, ConfigError) as error:
        _log.warning("%s does not say which cluster it belongs to: %s", entry.name, error)
        return None


def _remembered(file: Path) -> dict[str, str]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in document.items()} if isinstance(document, dict) else {}


def _remember(file: Path, leaders: Mapping[str, str]) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    scratch.write_text(json.dumps(leaders, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    scratch.replace(file)
