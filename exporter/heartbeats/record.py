"""What is known of one guest's heartbeats, and what follows from it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from exporter.heartbeats.progress import NO_PROGRESS, Progress
from exporter.heartbeats.schema import Heartbeat, Platform
from pvewatch import __version__
from pvewatch.inventory import GuestKind, HeartbeatEntry

Guest = tuple[str, int]
"""Configured cluster and VMID."""


@dataclass(frozen=True, slots=True)
class Payload:
    """A heartbeat as it is kept: its JSON text, and what is asked of all guests at once.

    Whole it is dozens of objects. Kept for each of thousands of guests, a thousand new ones a second, they would be
    looked through whenever Python looks for garbage, and every thread would stop for a tenth of a second.
    """

    text: str
    agent_version: str
    agent_platform: Platform
    sequence: int
    interval_seconds: float

    @classmethod
    def of(cls, heartbeat: Heartbeat) -> Payload:
        """What is kept of a heartbeat: all of it."""
        text = heartbeat.model_dump_json(by_alias=True, exclude_none=True)
        agent = heartbeat.agent
        return cls(text, agent.version, agent.platform, heartbeat.sequence, heartbeat.interval_seconds)

    def heartbeat(self) -> Heartbeat:
        """The whole heartbeat, read again."""
        return Heartbeat.model_validate_json(self.text)


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of one guest's heartbeats.

    Times are the server's clock in unix seconds; `last_seen` is the newest message that came in time. `kind` is the one
    last known, None when the guest has never been seen in Proxmox VE. `count` is of all heartbeats ever accepted.
    `payload` is None only when an older pvewatch wrote a form that this one does not read any more. `key_id` tells
    which secret its token derives from.
    """

    cluster: str
    vmid: int
    kind: GuestKind | None
    first_seen: float
    last_seen: float
    boot_id: str
    count: int
    payload: Payload | None
    progress: Progress = NO_PROGRESS
    key_id: str = ""


def to_entry(record: Record, now: float, timeout: float, current_key_id: str = "") -> HeartbeatEntry:
    """The inventory's form of a record; `timeout` as for `is_silent`.

    `current_key_id` is that of the tokens printed now.

    Only the server's clock is asked: what the guest says the time is has no part in it.
    """
    payload = record.payload
    return HeartbeatEntry(
        last_seen=record.last_seen,
        boot_id=record.boot_id,
        agent_version=payload.agent_version if payload else "unknown",
        sequence=payload.sequence if payload else 0,
        silent=is_silent(record, now, timeout),
        timeout_seconds=silent_after(record, timeout),
        identity_shared=record.progress.is_shared(now),
        agent_platform=payload.agent_platform if payload else None,
        previous_secret=bool(current_key_id and record.key_id and record.key_id != current_key_id),
        outdated=is_outdated(payload.agent_version, __version__) if payload else True,
    )


def is_outdated(version: str, newest: str) -> bool:
    """Whether an agent's version is older than `newest`; agents carry the version of the pvewatch they came with."""
    own, current = _numbers(version), _numbers(newest)
    return bool(own and current) and own < current


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d{1,6}(\.\d{1,6}){0,3}", version, re.ASCII)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def is_silent(record: Record, now: float, timeout: float) -> bool:
    """Whether the last heartbeat came too long before `now` (server's clock): see `silent_after`."""
    return now - record.last_seen > silent_after(record, timeout)


def silent_after(record: Record, timeout: float) -> float:
    """Seconds without a heartbeat after which the guest counts as silent: `timeout`, or three of its own intervals.

    Whoever writes an agent of his own may let it speak every five minutes: no guest is reset for keeping to that.
    """
    return max(timeout, 3 * record.payload.interval_seconds) if record.payload else timeout


def is_from(record: Record, kind: GuestKind) -> bool:
    """Whether a guest of this kind can have sent it: a container that took a removed VM's number is another guest."""
    return record.kind in (None, kind)
