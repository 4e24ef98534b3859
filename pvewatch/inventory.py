"""What the exporter tells the action API: one JSON document of everything known, with ages.

This module is the contract of both sides and the client of one of them.
"""

from __future__ import annotations

from typing import Literal

import requests
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pvewatch.secrets import Secret

INVENTORY_PATH = "/api/v1/inventory"
MAX_INVENTORY_BYTES = 64 * 1024 * 1024
_CHUNK_BYTES = 256 * 1024

GuestKind = Literal["qemu", "lxc"]


class _Entry(BaseModel):
    # An older action API reads a newer exporter: what it does not know yet is not an error.
    model_config = ConfigDict(extra="ignore", frozen=True)


class HeartbeatEntry(_Entry):
    """The newest heartbeat of a guest's agent. Times are the server's clock, unix seconds.

    `identity_shared`: two machines use this guest's token, so what it says is not to be trusted. `previous_secret`: its
    token derives from the secret before the last rotation. `outdated`: this pvewatch has a newer agent.
    """

    last_seen: float
    boot_id: str
    agent_version: str
    sequence: int
    silent: bool
    timeout_seconds: float
    identity_shared: bool = False
    agent_platform: str | None = None
    previous_secret: bool = False
    outdated: bool = False


class ProbeEntry(_Entry):
    """A probe that a guest's tags or notes ask for, as written; `problem` says why it is not made."""

    request: str
    module: str | None = None
    target: str | None = None
    problem: str | None = None


class GuestEntry(_Entry):
    """A VM or container. A figure that is not known is None.

    `booted_at` (unix seconds) is the end of the newest task that started, restarted or reset it, as far back as Proxmox
    VE's task list goes: a reset does not show in `uptime_seconds`.
    """

    cluster: str
    kind: GuestKind
    vmid: int
    id: str
    name: str | None
    node: str
    status: str
    template: bool
    lock: str | None = None
    tags: list[str] = Field(default_factory=list)
    ha_state: str | None = None
    uptime_seconds: float | None = None
    booted_at: float | None = None
    onboot: bool | None = None
    expected_running: bool = False
    pool: str | None = None
    cpu_ratio: float | None = None
    memory_used_bytes: float | None = None
    memory_limit_bytes: float | None = None
    addresses: list[str] = Field(default_factory=list)
    probes: list[ProbeEntry] = Field(default_factory=list)
    heartbeat: HeartbeatEntry | None = None


class SnapshotEntry(_Entry):
    """A snapshot of a guest; `taken_at` is unix seconds, None when PVE does not say."""

    name: str
    parent: str | None = None
    taken_at: float | None = None
    description: str = ""
    with_memory: bool = False


class TaskEntry(_Entry):
    """A task about a guest. Times are unix seconds; a running one has no end and no `ok`."""

    upid: str
    type: str
    user: str
    node: str
    started: float
    ended: float | None = None
    running: bool = False
    exit_status: str | None = None
    ok: bool | None = None


class AddressEntry(_Entry):
    """An address of a guest: of which card, and whether its system reports it or its configuration sets it."""

    interface: str
    address: str
    source: Literal["guest", "configuration"]


class BackupEntry(_Entry):
    """A backup of a guest; `taken_at` is unix seconds, `volid` such as `nas:backup/vzdump-qemu-100-….vma.zst`."""

    volid: str
    taken_at: float | None = None
    size_bytes: float | None = None
    storage: str


class GuestDetail(_Entry):
    """One guest with all that was read for this purpose at `read_at` (unix seconds).

    What could not be read is None, and `errors` says why, by the name of the field. `configuration` holds the settings
    that cannot carry a secret; the others are named in `withheld`. `backups` is never empty: Proxmox VE hides them from
    who may not restore them, so with none seen it is None. With some seen there may be others.
    """

    read_at: float
    guest: GuestEntry
    configuration: dict[str, str | int | float | bool] | None = None
    withheld: list[str] = Field(default_factory=list)
    snapshots: list[SnapshotEntry] | None = None
    tasks: list[TaskEntry] | None = None
    addresses: list[AddressEntry] | None = None
    backups: list[BackupEntry] | None = None
    errors: dict[str, str] = Field(default_factory=dict)


class BridgeEntry(_Entry):
    """A bridge that guests' network cards can be joined to. `type` is bridge, OVSBridge or, of the SDN, vnet."""

    name: str
    type: str
    active: bool


class TemplateEntry(_Entry):
    """A container template. One on a shared storage stands once, with the node that was asked."""

    volid: str
    storage: str
    node: str
    size_bytes: float | None = None


class ApplianceEntry(_Entry):
    """A container template that could be downloaded; `template` is the file's name."""

    template: str
    os: str | None = None
    version: str | None = None
    section: str | None = None
    headline: str | None = None
    architecture: str | None = None


class NodeEntry(_Entry):
    """A node of a cluster; `status` is online, offline or unknown.

    `bridges` is None where it is not known. Since PVE 8 a token without SDN.Audit or SDN.Use is shown none, so an empty
    list is not "no bridges". `provisioning_age_seconds` is the age of bridges, templates and appliances,
    `provisioning_error` says why not all of them could be read.
    """

    name: str
    status: str
    uptime_seconds: float | None = None
    cpu_ratio: float | None = None
    memory_used_bytes: float | None = None
    memory_limit_bytes: float | None = None
    bridges: list[BridgeEntry] | None = None
    provisioning_age_seconds: float | None = None
    provisioning_error: str | None = None


class StorageEntry(_Entry):
    """A storage as one node sees it."""

    id: str
    storage: str
    node: str
    status: str
    shared: bool
    used_bytes: float | None = None
    limit_bytes: float | None = None


class ClusterEntry(_Entry):
    """One configured cluster.

    `members` are the configured names that turned out to be this cluster (its own name first); `age_seconds` is the
    age of the guests' figures, None when there are none; `error` says why the newest attempt failed.
    `templates` and `appliances` are None where no node has told; their age is that of the nodes' `provisioning`.
    """

    name: str
    members: list[str]
    web_url: str
    age_seconds: float | None
    error: str | None
    quorate: bool | None
    version: str | None
    nodes: list[NodeEntry] = Field(default_factory=list)
    guests: list[GuestEntry] = Field(default_factory=list)
    storages: list[StorageEntry] = Field(default_factory=list)
    templates: list[TemplateEntry] | None = None
    appliances: list[ApplianceEntry] | None = None


class Inventory(_Entry):
    """Everything the exporter knows at `generated_at` (unix seconds)."""

    generated_at: float
    clusters: list[ClusterEntry]

    def cluster(self, name: str) -> ClusterEntry | None:
        """The cluster of that configured name, or None."""
        return next((entry for entry in self.clusters if entry.name == name), None)

    def guest(self, cluster: str, vmid: int) -> GuestEntry | None:
        """The guest of that cluster and VMID, or None."""
        entry = self.cluster(cluster)
        if entry is None:
            return None
        return next((guest for guest in entry.guests if guest.vmid == vmid), None)


def agent_states(guest: GuestEntry) -> tuple[str, ...]:
    """What is to be said of a guest's agent, in a person's words; `ok` when nothing is."""
    heartbeat = guest.heartbeat
    if heartbeat is None:
        return ("no agent",)
    # A guest that is off cannot speak: nothing is wrong with its agent.
    off = guest.status not in ("running", "unknown")
    said = (
        ("silent", heartbeat.silent and not off),
        ("not running", heartbeat.silent and off),
        ("shared identity", heartbeat.identity_shared),
        ("outdated", heartbeat.outdated),
        ("previous secret", heartbeat.previous_secret),
    )
    return tuple(words for words, holds in said if holds) or ("ok",)


class InventoryUnavailable(Exception):
    """The exporter did not give an inventory; the message says why and where to look."""


class InventoryClient:
    """Reads the exporter's inventory; each read is a request of its own, so threads may share a client."""

    def __init__(self, url: str, token: Secret, timeout: float = 5) -> None:
        self._url = url.rstrip("/") + INVENTORY_PATH
        self._token = token
        self._timeout = timeout

    def fetch(self) -> Inventory:
        """Get the inventory as it is now.

        Raises InventoryUnavailable when the exporter cannot be reached, refuses, or answers something else.
        """
        headers = {"Authorization": f"Bearer {self._token.reveal()}"}
        try:
            with requests.Session() as session:
                # A proxy or .netrc of the environment must neither see the token nor put another in its place.
                session.trust_env = False
                with session.get(
                    self._url, headers=headers, timeout=self._timeout, allow_redirects=False, stream=True
                ) as answer:
                    if answer.status_code != 200:
                        raise InventoryUnavailable(f"the exporter at {self._url} answered {answer.status_code}")
                    body = self._read(answer)
        except requests.RequestException as error:
            reason = type(error).__name__
            raise InventoryUnavailable(
                f"the exporter at {self._url} does not answer ({reason}); is it running?"
            ) from error
        try:
            return Inventory.model_validate_json(body)
        except ValidationError as error:
            raise InventoryUnavailable(
                f"the exporter at {self._url} sent an inventory of another version ({error.error_count()} differences)"
            ) from error

    def _read(self, answer: requests.Response) -> bytes:
        # Not answer.raw: what goes wrong there is no RequestException.
        body = bytearray()
        for chunk in answer.iter_content(_CHUNK_BYTES):
            body += chunk
            if len(body) > MAX_INVENTORY_BYTES:
                raise InventoryUnavailable(f"the exporter at {self._url} sent more than {MAX_INVENTORY_BYTES} bytes")
        return bytes(body)
