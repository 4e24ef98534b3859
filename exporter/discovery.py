"""The lists of Prometheus' http_sd: every guest, every cluster, and the probes that guests ask for.

https://prometheus.io/docs/prometheus/latest/http_sd/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from exporter.collectors.addresses import reported
from exporter.snapshot import Snapshot, View
from pvewatch import probes
from pvewatch.config import Cluster, Settings
from pvewatch.inventory import ProbeEntry
from pvewatch.pve.models import Guest

Groups = list[dict[str, Any]]
Reported = Mapping[str, tuple[str, ...]]
Watched = Mapping[str, tuple[Cluster, tuple[str, ...], Snapshot]]

MOST_CHARACTERS = 1024
# What is probed: a stopped guest is silent by right. While Proxmox VE itself does not know, the probes go on.
_PROBED = {"running", "unknown"}


class Discovery:
    """Makes the lists out of what is known now.

    A cluster that cannot be read keeps its last lists: targets that vanish look as if somebody had removed them.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._last: dict[tuple[str, str], Groups] = {}

    def clusters(self, watched: Watched) -> Groups:
        """One group for each cluster, its configured hosts as targets."""
        return [
            {
                "targets": [str(host) for host in cluster.hosts],
                "labels": {
                    "__meta_pve_cluster": name,
                    "__meta_pve_members": _listed(members),
                    "__meta_pve_version": version.version if (version := snapshot.view().version) else "",
                },
            }
            for name, (cluster, members, snapshot) in watched.items()
        ]

    def guests(self, watched: Watched) -> Groups:
        """One group for each guest that is no template; its target is its first address, else its name."""
        return self._each("guests", watched, self._guest)

    def probes(self, watched: Watched) -> Groups:
        """One group for each probe that is granted."""
        return self._each("probes", watched, self._probes)

    def _each(self, kind: str, watched: Watched, describe: Callable[[str, Guest, View, Reported], Groups]) -> Groups:
        found: Groups = []
        for name, (_, _, snapshot) in watched.items():
            view = snapshot.view()
            if view.resources is not None:
                reported_by = reported(view)
                guests = [guest for guest in view.resources.guests if not guest.template]
                self._last[name, kind] = [
                    group for guest in guests for group in describe(name, guest, view, reported_by)
                ]
            found += self._last.get((name, kind), [])
        return found

    def _guest(self, cluster: str, guest: Guest, view: View, reported_by: Reported) -> Groups:
        addresses = addresses_of(guest, view, reported_by)
        labels = {
            "cluster": cluster,
            "id": guest.id,
            "kind": guest.kind,
            "vmid": str(guest.vmid),
            "name": guest.name or "",
            "node": guest.node,
            "status": guest.status,
            "pool": guest.pool or "",
            "tags": _listed(guest.tag_list),
            "addresses": _listed(addresses),
        }
        ordinary = probes.allowed_addresses(addresses, self._settings.probes)
        target = str(ordinary[0]) if ordinary else guest.name or guest.id
        written = f"[{target}]" if ":" in target else target
        return [{"targets": [written], "labels": {f"__meta_pve_{name}": value for name, value in labels.items()}}]

    def _probes(self, cluster: str, guest: Guest, view: View, reported_by: Reported) -> Groups:
        if guest.status not in _PROBED:
            return []
        return [
            {
                "targets": [probe.target],
                "labels": {
                    "__meta_pve_cluster": cluster,
                    "__meta_pve_id": guest.id,
                    "__meta_pve_module": probe.module,
                    "__meta_pve_probe": probe.request,
                },
            }
            for probe in _granted(guest, view, reported_by, self._settings)
            if isinstance(probe, probes.Probe)
        ]


def addresses_of(guest: Guest, view: View, reported_by: Reported) -> tuple[str, ...]:
    """What the guest reported, then what its configuration fixes, each once."""
    config = view.configs.get(guest.id)
    found = (*reported_by.get(guest.id, ()), *(config.config.addresses if config else ()))
    return tuple(dict.fromkeys(found))


def probe_entries(guest: Guest, view: View, reported_by: Reported, settings: Settings) -> list[ProbeEntry]:
    """What the guest asks for, and what of it is not done and why."""
    return [
        ProbeEntry(request=found.request, module=found.module, target=found.target)
        if isinstance(found, probes.Probe)
        else ProbeEntry(request=found[0], problem=found[1])
        for found in _granted(guest, view, reported_by, settings)
    ]


def _granted(
    guest: Guest, view: View, reported_by: Reported, settings: Settings
) -> list[probes.Probe | tuple[str, str]]:
    if not settings.probes.enabled:
        return []
    config = view.configs.get(guest.id)
    requests = (*probes.in_tags(guest.tag_list), *(config.config.probe_requests if config else ()))
    return probes.granted(requests, addresses_of(guest, view, reported_by), settings.probes)


def _listed(values: tuple[str, ...]) -> str:
    """`,a,b,`: as Prometheus' own discoveries write lists, so that `.*,a,.*` finds one."""
    text = f",{','.join(values)}," if values else ""
    if len(text) <= MOST_CHARACTERS:
        return text
    # Whole values only: half a tag could be another one.
    return text[: text.rindex(",", 0, MOST_CHARACTERS) + 1]
