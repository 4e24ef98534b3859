"""`pvewatch check`: connect to every cluster and say what works, what does not, and the command that mends it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import click

from pvewatch.config import Cluster, ConfigError, Settings, TokenRef
from pvewatch.pve.client import PveClient
from pvewatch.pve.errors import AuthFailed, PveError, Unreachable
from pvewatch.pve.models import Permissions, Version

State = Literal["ok", "warning", "error"]

MONITOR_PRIVILEGES = ("Sys.Audit", "VM.Audit", "Datastore.Audit", "Pool.Audit", "SDN.Audit")
# PVE 9 split the guest agent's read-only calls off; on 8 the right for them (VM.Monitor) also permits commands
# inside the guest, so it is not part of a read-only role there.
MONITOR_PRIVILEGES_9 = (*MONITOR_PRIVILEGES, "VM.GuestAgent.Audit")
POWER_PRIVILEGES = ("VM.Audit", "VM.PowerMgmt")

# What the monitor token is for: feature, ACL path, privilege, what is lost without it.
_FEATURES = (
    ("guests", "/vms", "VM.Audit", "no guest is seen, and none can be missed"),
    ("node figures", "/nodes", "Sys.Audit", "nodes have a status and no figures"),
    ("quorum and tasks", "/", "Sys.Audit", "no quorum, no node list, only own tasks"),
    ("storage", "/storage", "Datastore.Audit", "no storage is seen"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `remedy` is a command or a setting; empty when nothing is to do."""

    cluster: str
    subject: str
    state: State
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, in the order of the configuration."""

    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True when there is no error; warnings are things that can be lived with."""
        return all(finding.state != "error" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """The report for scripts."""
        return {"ok": self.ok, "findings": [asdict(finding) for finding in self.findings]}


def check_all(settings: Settings) -> Report:
    """Ask all clusters side by side (reads only). Raises nothing of PVE's: a failure is a finding."""
    with ThreadPoolExecutor(max_workers=min(8, max(1, len(settings.clusters)))) as pool:
        findings = [finding for found in pool.map(_check_cluster, settings.clusters) for finding in found]
    if any(not cluster.verify_tls for cluster in settings.clusters):
        findings.append(
            Finding(
                "",
                "TLS",
                "warning",
                "verify_tls: false lets anyone on the network take the token",
                "give the cluster a fingerprint or a ca_file",
            )
        )
    return Report(findings)


def print_report(report: Report) -> None:
    """Print what was found, cluster by cluster, then each remedy once, in a form that can be copied."""
    colours = {"ok": "green", "warning": "yellow", "error": "red"}
    width = max((len(finding.subject) for finding in report.findings), default=0)
    cluster = None
    for finding in report.findings:
        if finding.cluster != cluster:
            cluster = finding.cluster
            click.secho(cluster or "all clusters", bold=True)
        mark = click.style(f"{finding.state:<9}", fg=colours[finding.state])
        click.echo(f"  {mark}{finding.subject:<{width}}  {finding.detail}")
    remedies: dict[tuple[str, str], list[str]] = {}
    for finding in report.findings:
        if finding.remedy:
            remedies.setdefault((finding.cluster, finding.remedy), []).append(finding.subject)
    if remedies:
        click.secho("\nTo mend it", bold=True)
    for (where, remedy), subjects in remedies.items():
        click.echo(f"  {where + ': ' if where else ''}{', '.join(subjects)}")
        for line in remedy.splitlines():
            click.echo(f"      {line}")
    errors = sum(finding.state == "error" for finding in report.findings)
    click.echo("\nEverything needed is there." if report.ok else f"\n{errors} to mend.")


def _check_cluster(cluster: Cluster) -> list[Finding]:
    findings: list[Finding] = []
    version: Version | None = None
    if cluster.monitor is None:
        findings.append(
            Finding(cluster.name, "monitor token", "error", "is not configured", "add monitor: to the cluster")
        )
    else:
        for host in cluster.hosts:
            alone = cluster.model_copy(update={"hosts": (host,)})
            found = _ask_version(alone, cluster.monitor, findings)
            version = version or found
        if version is not None:  # another host stands in for one that is gone
            findings[:] = [replace(found, state="warning") if found.state == "error" else found for found in findings]
        if version is not None:
            _check_monitor(cluster, cluster.monitor, version, findings)
    if cluster.power is None:
        detail = "is not configured: guests can be watched, not started, shut down or reset"
        findings.append(
            Finding(cluster.name, "power token", "warning", detail, "add power: to the cluster when wanted")
        )
    else:
        _check_power(cluster, cluster.power, findings)
    return findings


def _ask_version(cluster: Cluster, token: TokenRef, findings: list[Finding]) -> Version | None:
    subject = f"host {cluster.hosts[0]}"
    try:
        with PveClient(cluster, token, read_timeout=15) as client:
            version = client.version()
    except (PveError, ConfigError) as error:
        findings.append(Finding(cluster.name, subject, "error", _words(error), _remedy(cluster, token, error)))
        return None
    findings.append(Finding(cluster.name, subject, "ok", f"Proxmox VE {version.version}"))
    return version


def _check_monitor(cluster: Cluster, token: TokenRef, version: Version, findings: list[Finding]) -> None:
    try:
        with PveClient(cluster, token, read_timeout=15) as client:
            granted = client.permissions()
            for feature, path, privilege, loss in _FEATURES:
                if privilege in granted.get(path, ()):
                    findings.append(Finding(cluster.name, feature, "ok", f"{privilege} on {path}"))
                elif _anywhere(granted, path, privilege):
                    detail = f"{privilege} on some of {path} only: the rest is not seen"
                    findings.append(Finding(cluster.name, feature, "warning", detail))
                else:
                    remedy = grant_commands(token.token_id, "watch-monitor", _monitor_role(version), "/")
                    detail = f"{privilege} on {path} is missing: {loss}"
                    findings.append(Finding(cluster.name, feature, "error", detail, remedy))
            if granted:
                seen = client.cluster_resources()
                detail = f"{len(seen.nodes)} nodes, {len(seen.guests)} guests, {len(seen.storages)} storages"
                findings.append(Finding(cluster.name, "seen", "ok", detail))
    except (PveError, ConfigError) as error:
        remedy = _remedy(cluster, token, error)
        findings.append(Finding(cluster.name, "privileges", "error", _words(error), remedy))


def _check_power(cluster: Cluster, token: TokenRef, findings: list[Finding]) -> None:
    try:
        with PveClient(cluster, token, read_timeout=15) as client:
            granted = client.permissions()
    except (PveError, ConfigError) as error:
        remedy = _remedy(cluster, token, error)
        findings.append(Finding(cluster.name, "power token", "error", _words(error), remedy))
        return
    places = sorted(path for path, privileges in granted.items() if set(POWER_PRIVILEGES) <= privileges)
    if places:
        outermost = [path for path in places if path == "/" or not _covered(path, places)]
        shown = ", ".join(outermost[:5]) + (" …" if len(outermost) > 5 else "")
        detail = f"may start, shut down and reset guests on {shown}"
        findings.append(Finding(cluster.name, "power token", "ok", detail))
    else:
        remedy = grant_commands(token.token_id, "watch-power", POWER_PRIVILEGES, "/pool/POOL")
        detail = f"{' and '.join(POWER_PRIVILEGES)} are nowhere granted together"
        findings.append(Finding(cluster.name, "power token", "error", detail, remedy))


def grant_commands(token_id: str, role: str, privileges: tuple[str, ...], path: str) -> str:
    """The pveum commands that give a token a role on a path: to the user *and* to the token.

    A token with privilege separation may do only what both may.
    """
    user = token_id.partition("!")[0]
    return "\n".join(
        (
            f'pveum role add {role} --privs "{" ".join(privileges)}"',
            f"pveum acl modify {path} --users {user} --roles {role}",
            f"pveum acl modify {path} --tokens '{token_id}' --roles {role}",
        )
    )


def _monitor_role(version: Version) -> tuple[str, ...]:
    return MONITOR_PRIVILEGES_9 if (version.major or 0) >= 9 else MONITOR_PRIVILEGES


def _anywhere(granted: Permissions, path: str, privilege: str) -> bool:
    if path == "/":  # the cluster-wide calls ask for the privilege on / itself
        return False
    below = f"{path}/"
    return any(privilege in names for place, names in granted.items() if place.startswith((below, "/pool/")))


def _covered(path: str, places: list[str]) -> bool:
    """Whether another place in the list lies above this one."""
    return any(path != place and path.startswith(place.rstrip("/") + "/") for place in places)


def _words(error: PveError | ConfigError) -> str:
    if isinstance(error, ConfigError):
        return "; ".join(f"{problem.place} {problem.message}" for problem in error.problems)
    if isinstance(error, AuthFailed):
        return "401: the token is unknown, expired or disabled, or its secret is wrong (PVE does not say which)"
    return str(error).removeprefix(f"{error.host} ")


def _remedy(cluster: Cluster, token: TokenRef, error: PveError | ConfigError) -> str:
    if isinstance(error, ConfigError):
        return "; ".join(problem.remedy for problem in error.problems)
    if isinstance(error, AuthFailed):
        user, _, name = token.token_id.partition("!")
        return f"look on the host: pveum user token list {user} (is {name!r} there?), or make a new secret"
    if isinstance(error, Unreachable) and "certificate" in str(error):
        return "on the host: openssl x509 -noout -fingerprint -sha256 -in /etc/pve/local/pve-ssl.pem"
    if isinstance(error, Unreachable):
        return f"is {cluster.hosts[0]} the right address, and is pveproxy running there?"
    return "see the text of Proxmox VE"
