"""Faults that can be put into a running cluster, and taken out again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# What breaks in a node's disks, and in the cluster's Ceph: endpoints_disks.py shows it.
_OF_DISKS = ("disk-failed", "disk-worn", "pool-degraded", "pool-faulted", "thin-metadata", "osd-down")
_OF_CEPH = ("ceph-warning", "ceph-error", "ceph-silent")
_FIELDS: dict[str, set[str]] = {
    "hang": {"guest"},
    "node-offline": {"node"},
    "statistics-stopped": {"node"},
    "lock": {"guest", "lock"},
    "status": {"code", "path"},
    "slow": {"path", "seconds"},
    "garbage": {"path"},
    "large": {"path", "megabytes"},
    **{kind: {"node"} for kind in _OF_DISKS},
    **{kind: set() for kind in _OF_CEPH},
}
KINDS = tuple(_FIELDS)
LOCKS = ("backup", "clone", "create", "migrate", "rollback", "snapshot", "snapshot-delete", "suspended", "suspending")
_REASONS = {401: "Authentication failed!", 403: "Permission check failed", 595: "Connection refused"}
_LONGEST_PATTERN = 200
_LONGEST_WAIT_SECONDS = 120
_LARGEST_MEGABYTES = 256
_GARBAGE = b"<html>\x00\xff not what was asked for"
MOST_FAULTS = 100


class BadFault(ValueError):
    """The description of a fault is wrong; the text says what and what would be right."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. Only the fields of its kind are set."""

    kind: str
    guest: str | None = None
    node: str | None = None
    lock: str | None = None
    code: int | None = None
    path: str | None = None
    seconds: int | None = None
    megabytes: int | None = None

    @property
    def reason(self) -> str:
        """The reason phrase of a forced status."""
        return _REASONS.get(self.code or 0, "simulated fault")

    def hits(self, path: str) -> bool:
        """Whether a forced status or a wait is meant for this API path ("/nodes/pve1/qemu")."""
        return self.path is not None and re.search(self.path, path) is not None

    @property
    def spoilt_body(self) -> bytes:
        """What is sent with status 200 in the place of an answer: no JSON, or very much of it."""
        if self.kind == "garbage":
            return _GARBAGE
        return b'{"data":"' + b"x" * ((self.megabytes or 0) * 2**20) + b'"}'

    def description(self) -> dict[str, Any]:
        """The JSON form that `parse` reads."""
        fields = ("guest", "node", "lock", "code", "path", "seconds", "megabytes")
        return {"fault": self.kind} | {name: getattr(self, name) for name in fields if getattr(self, name) is not None}


def parse(description: object) -> Fault:
    """A fault from its JSON form, for example {"fault": "hang", "guest": "qemu/101"}; raises BadFault."""
    if not isinstance(description, Mapping):
        raise BadFault('a fault is a JSON object such as {"fault": "hang", "guest": "qemu/101"}')
    kind = description.get("fault")
    if kind not in KINDS:
        raise BadFault(f"fault: one of {', '.join(KINDS)}")
    needed = _FIELDS[kind]
    given = set(description) - {"fault"}
    if given != needed:
        raise BadFault(f"{kind} takes exactly: {', '.join(sorted(needed)) or 'nothing else'}")
    values = {name: description[name] for name in needed}
    for name, value in values.items():
        if not isinstance(value, int if name in ("code", "seconds", "megabytes") else str) or isinstance(value, bool):
            raise BadFault(f"{name}: wrong type")
    if kind == "lock" and values["lock"] not in LOCKS:
        raise BadFault(f"lock: one of {', '.join(LOCKS)}")
    if kind == "status" and not 400 <= values["code"] <= 599:
        raise BadFault("code: an HTTP error status from 400 to 599")
    if kind == "slow" and not 0 <= values["seconds"] <= _LONGEST_WAIT_SECONDS:
        raise BadFault(f"seconds: from 0 to {_LONGEST_WAIT_SECONDS}")
    if kind == "large" and not 1 <= values["megabytes"] <= _LARGEST_MEGABYTES:
        raise BadFault(f"megabytes: from 1 to {_LARGEST_MEGABYTES}")
    if "path" in values:
        _check_pattern(values["path"])
    return Fault(kind=kind, **values)


def _check_pattern(pattern: str) -> None:
    if len(pattern) > _LONGEST_PATTERN:
        raise BadFault(f"path: at most {_LONGEST_PATTERN} characters")
    try:
        re.compile(pattern)
    except re.error as error:
        raise BadFault(f"path: not a regular expression ({error})") from error
