#!/usr/bin/env python3
"""Writes what is generated from the code: the references of settings, commands,
metrics, permissions and alerts, and the agents' schema.

python tools/docs.py            write docs/{configuration,commands,metrics,permissions,alerts}.md and
                                agents/heartbeat.schema.json
python tools/docs.py --check    write nothing; exit 1 and name what is not current
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import yaml
from docs_configuration import NOTE, configuration
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.parser import text_string_to_metric_families

from action_api.routes.metrics import COUNTERS, StoreCollector
from action_api.store import ThresholdOverride
from exporter.exposition import Metric as TableMetric
from exporter.heartbeats.metrics import METRICS as HEARTBEATS
from exporter.heartbeats.metrics import REJECTED_HELP, REJECTED_NAME
from exporter.heartbeats.schema import json_schema_text
from exporter.own_metrics import OwnMetrics
from exporter.peer import families
from exporter.peer.endpoint import COLLECTORS as PEER_COLLECTORS
from exporter.peer.endpoint import Peer
from exporter.peer.reads import Config
from exporter.service import TABLES
from exporter.snapshot import EVERYTHING
from pvewatch.cli import cli
from pvewatch.config import ExporterSettings, Settings
from pvewatch.pve.privileges import NEEDS, ROLE_NAMES, Holder, Need, calls_of, in_words, role, versions

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 100


def commands() -> str:
    """docs/commands.md out of the click commands."""
    lines = ["# Commands", "", NOTE, ""]
    with click.Context(cli, info_name="pvewatch", terminal_width=WIDTH, **cli.context_settings) as context:
        lines += ["```text", cli.get_help(context), "```"]
        for name in cli.list_commands(context):
            command = cli.get_command(context, name)
            if command is not None:
                lines += _command(command, context, name, f"pvewatch {name}")
    return "\n".join(lines) + "\n"


def _command(command: click.Command, parent: click.Context, name: str, title: str) -> Iterator[str]:
    with click.Context(command, parent=parent, info_name=name, terminal_width=WIDTH) as context:
        yield from ("", f"## {title}", "", "```text", command.get_help(context), "```")
        if isinstance(command, click.Group):
            for below in command.list_commands(context):
                found = command.get_command(context, below)
                if found is not None:
                    yield from _command(found, context, below, f"{title} {below}")


METRICS = f"""# Metrics

{NOTE}

What prometheus-pve-exporter exports keeps its name, labels and values, with the label `cluster` added; how it is at
`/pve`, without that label, is in a table of its own. A figure that could not be read is absent; `pve_collector_error`
says why. Calls are below `/api2/json`, GET unless a method stands before. What a missing privilege costs:
[permissions.md](permissions.md).

What is read of physical disks, ZFS and thin pools and of a running Ceph follows Proxmox VE's API reference and source:
the servers whose answers the tests replay had a virtual disk, and neither ZFS nor Ceph. Disks are read once an hour,
since Proxmox VE runs smartctl on each; pools every five minutes, Ceph once a minute. What a host does not have makes no
series and no error. `exporter.collectors` in pvewatch.yaml changes intervals and switches collectors off.
"""
PVE = """`/pve?target=HOST` answers as prometheus-pve-exporter does: [migrating.md](migrating.md). Its collectors have
the names that they have there, and `cluster=0` or `node=0` leaves those of that kind out; those of kind node are about
the node that the target is.
"""
# One row of each kind, so that every family has a sample.
PEER_STATUS = [
    {"type": "cluster", "name": "c", "quorate": 1, "nodes": 1, "version": 1},
    {"type": "node", "id": "node/a", "name": "a", "online": 1, "level": "", "nodeid": 1},
]
PEER_FIGURES = ("maxdisk", "disk", "maxmem", "mem", "netout", "netin", "diskwrite", "diskread", "cpu", "maxcpu")
PEER_RESOURCES = [
    {"type": "qemu", "id": "qemu/1", **dict.fromkeys((*PEER_FIGURES, "uptime"), 1)},
    {"type": "storage", "id": "storage/a/s", "shared": 1},
]
PEER_JOB = dict.fromkeys(("duration", "last_sync", "last_try", "next_sync", "fail_count"), 1)
PEER_PAGES: dict[str, bytes] = {
    "status": families.up(PEER_STATUS, []),
    "resources": families.resources(PEER_RESOURCES),
    "node": families.nodes_info(PEER_STATUS),
    "cluster": families.cluster_info(PEER_STATUS),
    "version": families.version({"release": "", "repoid": "", "version": ""}),
    "backup-info": families.not_backed_up(PEER_STATUS, [{"type": "qemu", "vmid": 1}]),
    "qdevice": families.qdevice(PEER_STATUS, {"State": "Connected"}),
    "subscription": families.subscription("a", {"nextduedate": "2026-01-01"}),
    "config": families.onboot("a", [Config("qemu", "1", 1, 0.0)]),
    "replication": families.replication([{"id": "1-0", **PEER_JOB}]),
}


def metrics() -> str:
    """docs/metrics.md out of the METRICS tables of the collectors, and of the other pages' families."""
    lines = [
        METRICS,
        "## Exporter: clusters",
        "",
        "| metric | type | labels | meaning | collector | calls | privilege |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, (metric, collectors) in _cluster_families().items():
        labels = _labels("cluster", *metric.labels)
        calls, privilege = _sources(collectors)
        where = ", ".join("all" if one == EVERYTHING else one for one in collectors)
        lines.append(f"| `{name}` | {metric.type} | {labels} | {metric.help} | {where} | {calls} | {privilege} |")
    lines += ["", "## Exporter: /pve", "", PVE, *_peer_families()]
    lines += ["", "## Exporter: heartbeats", "", "| metric | type | labels | meaning |", "|---|---|---|---|"]
    for one in HEARTBEATS:
        lines.append(f"| `{one.name}` | {one.type} | {_labels('cluster', 'id', *one.labels)} | {one.help} |")
    lines.append(f"| `{REJECTED_NAME}` | counter | {_labels('reason')} | {REJECTED_HELP} |")
    lines += ["", "## Exporter: itself", "", *_families(_exporter_itself())]
    registry = CollectorRegistry()
    registry.register(StoreCollector(_OneOfEach(), 0))  # type: ignore[arg-type]  # it has what is asked for
    lines += ["", "## Action API", "", *_families(registry.collect())]
    return "\n".join(lines) + "\n"


def _cluster_families() -> dict[str, tuple[TableMetric, list[str]]]:
    """Family → its row and all collectors that give samples of it."""
    found: dict[str, tuple[TableMetric, list[str]]] = {}
    for collector, table in TABLES:
        for metric in table:
            found.setdefault(metric.name, (metric, []))[1].append(collector)
    return found


def _sources(collectors: Iterable[str]) -> tuple[str, str]:
    """Calls and privileges of these collectors."""
    named = [one for one in collectors if one != EVERYTHING]
    calls = dict.fromkeys(f"`{call}`" for one in named for call in calls_of(one))
    privileges = dict.fromkeys(in_words(one) for one in named)
    return ", ".join(calls) or "none", "; ".join(privileges) or "none"


def _labels(*names: str) -> str:
    return ", ".join(names) or "none"


def _peer_families() -> Iterator[str]:
    yield "| metric | type | labels | meaning | collector | kind | calls | privilege |"
    yield "|---|---|---|---|---|---|---|---|"
    for one in PEER_COLLECTORS:
        calls = ", ".join(f"`{call}`" for call in calls_of(one.name, "/pve"))
        for family in text_string_to_metric_families(PEER_PAGES[one.name].decode()):
            row = (*_family(family), one.name, one.scope, calls, in_words(one.name, "/pve"))
            yield f"| {' | '.join(row)} |"
    for family in text_string_to_metric_families(families.outcome({"status": "unreachable"}).decode()):
        yield f"| {' | '.join((*_family(family), 'all', 'both', 'none', 'none'))} |"


def _family(metric: Metric) -> tuple[str, str, str, str]:
    """Name, type, labels and meaning."""
    name = f"{metric.name}_total" if metric.type == "counter" else metric.name
    named = dict.fromkeys(label for sample in metric.samples for label in sample.labels if label != "le")
    return f"`{name}`", metric.type, _labels(*named), metric.documentation


def _exporter_itself() -> Iterator[Metric]:
    """The process's metrics, and those about /pve."""
    own = OwnMetrics()
    own.pve_request("", "", "ok", 0.0)
    own.collector_ran("", "", "ok")
    own.show_clusters({"": 0.0}, {})
    own.http_request("", 200, 0.0)
    yield from text_string_to_metric_families(own.text().decode())
    target = Settings(exporter=ExporterSettings(pve_targets=("localhost",)))
    peer = Peer(target, {"PVE_USER": "nobody@pve", "PVE_PASSWORD": "none"})
    try:
        yield from text_string_to_metric_families(peer.metrics().decode())
    finally:
        peer.close()


def _families(found: Iterable[Metric]) -> Iterator[str]:
    yield "| metric | type | labels | meaning |"
    yield "|---|---|---|---|"
    for metric in sorted(found, key=lambda one: one.name):
        yield f"| {' | '.join(_family(metric))} |"


class _OneOfEach:
    """Stands in for the action API's database, of which only the families' names and labels are wanted."""

    def __init__(self) -> None:
        self.counters = self.incidents = self.runs = self.deliveries = self.threshold_overrides = self

    def all(self) -> list[tuple[str, dict[str, str], int]]:
        return [(family, dict.fromkeys(labels, ""), 0) for family, _, _, labels in COUNTERS]

    def count_by_state(self) -> dict[str, int]:
        return {"open": 0}

    def count_by_channel(self) -> dict[tuple[str, str], int]:
        return {("", "waiting"): 0}

    def present(self, *, now: float) -> list[ThresholdOverride]:
        return [ThresholdOverride("", "", "", 0, set_by="", set_at=now, until=None, comment="")]


PERMISSIONS = f"""# Permissions

{NOTE}

What pvewatch asks Proxmox VE for, which privilege that needs on which path, and what is lost without it; the table is
the one that `pvewatch check` judges tokens by. It was tried privilege by privilege on Proxmox VE 8.4.21 and 9.2.11.

- A token with privilege separation may do only what its user may, too: every role is given to both.
- A guest's privilege may sit on `/vms/VMID`, `/vms`, `/` or `/pool/POOL` of the guest. Deleting a guest deletes what
  was granted on `/vms/VMID`; what was granted on its pool stays.
- *refused* means 403. *less* means 200 with something left out, which looks like less there is: pvewatch asks for its
  own permissions then, and withholds what it cannot know.
- Before PVE 9 the guest agent's privilege is VM.Monitor, which also permits commands inside guests. The advised role
  does without, and `guest_agent` is off there unless `exporter.collectors.guest_agent.enabled` is true.
"""
TOKENS: tuple[Holder, ...] = ("monitor", "power")
HOLDERS: dict[Holder, tuple[str, str]] = {
    "monitor": ("The monitor token", "collector"),
    "power": ("The power token", "action"),
    "/pve": ("A login of /pve", "collector"),
}


def permissions() -> str:
    """docs/permissions.md out of the table of privileges."""
    lines = [PERMISSIONS, "## Roles", ""]
    for major, title in ((8, "Proxmox VE 8"), (9, "Proxmox VE 9")):
        lines += [f"{title}:", "", "```console"]
        lines += [f'# pveum role add {ROLE_NAMES[one]} --privs "{" ".join(role(one, major))}"' for one in TOKENS]
        lines += ["```", ""]
    for holder, (title, what) in HOLDERS.items():
        lines += [f"## {title}", "", f"| {what} | calls | privilege | versions | without it | what is lost |"]
        lines += ["|---|---|---|---|---|---|", *(_need(need) for need in NEEDS if need.holder == holder), ""]
    return "\n".join(lines).rstrip() + "\n"


def _need(need: Need) -> str:
    calls = ", ".join(f"`{call}`" for call in need.calls)
    if not need.privilege:
        return f"| {need.feature} | {calls} | any token | all | | |"
    without = "refused" if need.refused else "less"
    privilege = f"{need.privilege} on `{need.path}`"
    return f"| {need.feature} | {calls} | {privilege} | {versions(need) or 'all'} | {without} | {need.loss} |"


ALERTS = f"""# Alerts

{NOTE}

What the severities mean, which alert silences which, and how a guest is left out:
[runbooks](runbooks/README.md). *After* is how long the condition has lasted when the alert fires,
*kept* for how long it stays after the condition has gone.

| alert | severity | after | kept | meaning | rules |
|---|---|---|---|---|---|
"""


def alerts() -> str:
    """docs/alerts.md out of prometheus/rules and the first sentence of each runbook."""
    rows = []
    for path in sorted((ROOT / "prometheus" / "rules").glob("*.yml")):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                if "alert" in rule:
                    rows.append(_alert(rule, path.name))
    return ALERTS + "\n".join(rows) + "\n"


def _alert(rule: dict[str, Any], file: str) -> str:
    name = rule["alert"]
    page = (ROOT / "docs" / "runbooks" / f"{name}.md").read_text(encoding="utf-8")
    meaning = page.split("**")[1].strip()
    waits = f"{rule.get('for', 'at once')} | {rule.get('keep_firing_for', '')}"
    return f"| [{name}](runbooks/{name}.md) | {rule['labels']['severity']} | {waits} | {meaning} | `{file}` |"


def references() -> dict[Path, str]:
    """Every generated file with its text."""
    return {
        ROOT / "docs" / "configuration.md": configuration(),
        ROOT / "docs" / "commands.md": commands(),
        ROOT / "docs" / "metrics.md": metrics(),
        ROOT / "docs" / "permissions.md": permissions(),
        ROOT / "docs" / "alerts.md": alerts(),
        ROOT / "agents" / "heartbeat.schema.json": json_schema_text(),
    }


def main() -> int:
    """Write the files, or compare them."""
    stale = [path for path, text in references().items() if not path.exists() or path.read_text("utf-8") != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(
                f"{path.relative_to(ROOT)} is not current: run `make docs` and commit the difference", file=sys.stderr
            )
        return 1 if stale else 0
    for path, text in references().items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
