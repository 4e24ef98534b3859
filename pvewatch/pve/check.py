"""`pvewatch check`: connect to every cluster and say what works, what does not, and the command that mends it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

from pvewatch.config import Cluster, ConfigError, Settings, TokenRef
from pvewatch.pve.check_privileges import (
    Rights,
    judge_excess,
    judge_features,
    judge_left_out,
    judge_power,
    judge_who,
)
from pvewatch.pve.check_report import Finding, Report
from pvewatch.pve.client import PveClient
from pvewatch.pve.errors import AuthFailed, Forbidden, PveError, Unreachable
from pvewatch.pve.models import Version
from pvewatch.pve.models_node import NodeCertificates
from pvewatch.pve.privileges import NEWEST, OLDEST, Holder, features

_Answer = TypeVar("_Answer")

_READ_TIMEOUT_SECONDS = 15.0
_AT_ONCE = 8
# Proxmox VE renews its own certificates two weeks before their end.
_CERTIFICATE_WARNING_SECONDS = 14 * 86400.0
# What a browser and pvewatch are shown where it exists, and what otherwise.
_SHOWN_CERTIFICATES = ("pveproxy-ssl.pem", "pve-ssl.pem")
_SHOW_FINGERPRINT = "on the host: openssl x509 -noout -fingerprint -sha256 -in /etc/pve/local/pve-ssl.pem"


def check_all(settings: Settings) -> Report:
    """Ask all clusters side by side (reads only). Raises nothing of PVE's: a failure is a finding."""
    with ThreadPoolExecutor(max_workers=min(_AT_ONCE, max(1, len(settings.clusters)))) as pool:
        found = pool.map(lambda cluster: _check_cluster(cluster, settings), settings.clusters)
        findings = [finding for of_cluster in found for finding in of_cluster]
    if not settings.clusters:
        detail = "none is configured; the hosts of exporter.pve_targets are not asked"
        findings.append(Finding("", "clusters", "warning", detail, about="configuration"))
    if any(not cluster.verify_tls for cluster in settings.clusters):
        findings.append(
            Finding(
                "",
                "TLS",
                "warning",
                "verify_tls: false lets anyone on the network take the token",
                "give the cluster a fingerprint or a ca_file",
                about="certificate",
            )
        )
    return Report(findings)


def _check_cluster(cluster: Cluster, settings: Settings) -> list[Finding]:
    findings: list[Finding] = []
    version: Version | None = None
    if cluster.monitor is None:
        findings.append(
            Finding(
                cluster.name,
                "monitor token",
                "error",
                "is not configured",
                "add monitor: to the cluster",
                about="configuration",
                reason="configuration",
            )
        )
    else:
        for host in cluster.hosts:
            alone = cluster.model_copy(update={"hosts": (host,)})
            found = _ask_version(alone, cluster.monitor, findings)
            version = version or found
        if version is not None:  # another host stands in for one that is gone
            findings[:] = [
                replace(found, state="warning", reason="") if found.state == "error" else found for found in findings
            ]
            findings += _check_monitor(cluster, cluster.monitor, version, settings)
    if cluster.power is None:
        detail = "is not configured: guests can be watched, not started, shut down or reset"
        remedy = "add power: to the cluster when wanted"
        findings.append(Finding(cluster.name, "power token", "warning", detail, remedy, about="token"))
    else:
        findings += _check_power(cluster, cluster.power, version)
    return findings


def _ask_version(cluster: Cluster, token: TokenRef, findings: list[Finding]) -> Version | None:
    subject = f"host {cluster.hosts[0]}"
    try:
        with _client(cluster, token) as client:
            version = client.version()
    except (PveError, ConfigError) as error:
        findings.append(_trouble(cluster, subject, token, error))
        return None
    findings.append(Finding(cluster.name, subject, "ok", f"Proxmox VE {version.version}, {_trust(cluster)}"))
    major = version.major
    if major is not None and not OLDEST <= major <= NEWEST:
        detail = f"Proxmox VE {major} is {'older' if major < OLDEST else 'newer'} than what pvewatch was tried with"
        findings.append(Finding(cluster.name, subject, "warning", detail, about="version"))
    return version


def _check_monitor(cluster: Cluster, token: TokenRef, version: Version, settings: Settings) -> list[Finding]:
    findings: list[Finding] = []
    try:
        with _client(cluster, token) as client:
            findings += _nodes(client, cluster)
            rights = _rights(client, cluster, token, "monitor", version, settings)
            features_found = list(judge_features(rights))
            findings += [*features_found, *judge_who(rights, features_found)]
            findings += [*judge_left_out(rights), *judge_excess(rights)]
            if rights.granted:
                seen = client.cluster_resources()
                detail = f"{len(seen.nodes)} nodes, {len(seen.guests)} guests, {len(seen.storages)} storages"
                findings.append(Finding(cluster.name, "seen", "ok", detail, about="seen"))
    except (PveError, ConfigError) as error:
        findings.append(_trouble(cluster, "privileges", token, error))
    return findings


def _check_power(cluster: Cluster, token: TokenRef, version: Version | None) -> list[Finding]:
    try:
        with _client(cluster, token) as client, _client(cluster, cluster.monitor or token) as monitor:
            # The monitor token may look into /access; the power token should not.
            rights = _rights(client, cluster, token, "power", version or client.version(), told_by=monitor)
    except (PveError, ConfigError) as error:
        return [_trouble(cluster, "power token", token, error)]
    findings = [*judge_power(rights), *judge_excess(rights)]
    if cluster.monitor is not None and cluster.monitor.token_id == token.token_id:
        detail = "is the monitor token too: whoever breaks into the exporter can act"
        remedy = "make a token of its own: docs/automation.md"
        findings.append(Finding(cluster.name, "power token", "warning", detail, remedy, about="token"))
    return findings


def _rights(
    client: PveClient,
    cluster: Cluster,
    token: TokenRef,
    holder: Holder,
    version: Version,
    settings: Settings | None = None,
    told_by: PveClient | None = None,
) -> Rights:
    """What the token may; what `told_by` may not be told about its user is left None. Raises PveError."""
    granted = client.permissions()
    told_by = told_by or client
    names = features(holder)
    chosen = {name: settings.exporter.collector(name).enabled for name in names} if settings else {}
    # Without the privilege Proxmox VE refuses the one and empties the other.
    seen = granted if told_by is client else _or_none(told_by.permissions) or {}
    sees_access = "Sys.Audit" in seen.get("/access", ())
    return Rights(
        cluster=cluster.name,
        holder=holder,
        token_id=token.token_id,
        major=version.major or NEWEST,
        granted=granted,
        user=_or_none(lambda: told_by.permissions(token.token_id.partition("!")[0])) if sees_access else None,
        roles=_or_none(client.roles),
        acl=_or_none(told_by.acl) if sees_access else None,
        switched_off=frozenset(name for name, enabled in chosen.items() if enabled is False),
        switched_on=frozenset(name for name, enabled in chosen.items() if enabled is True),
    )


def _or_none(ask: Callable[[], _Answer]) -> _Answer | None:
    try:
        return ask()
    except PveError:
        return None


def _nodes(client: PveClient, cluster: Cluster) -> Iterator[Finding]:
    """What only each node knows: its version and its certificate. Nodes that are offline are not waited for."""
    try:
        online = [node.name for node in client.cluster_status().nodes if node.online]
    except Forbidden:  # The features say so.
        online = [node.name for node in client.cluster_resources().nodes if node.status == "online"]
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        details = list(pool.map(lambda name: _or_none(lambda: client.node_status(name)), online))
        certificates = list(pool.map(lambda name: _or_none(lambda: client.certificates(name)), online))
    versions = {detail.node: detail.pve_version for detail in details if detail is not None and detail.pve_version}
    yield from _mixture(cluster, versions)
    for found in certificates:
        if found is not None:
            yield from _certificate(cluster, found, time.time())


def _mixture(cluster: Cluster, versions: dict[str, str]) -> Iterator[Finding]:
    kinds = sorted(set(versions.values()))
    if len(kinds) > 1:
        shown = "; ".join(f"{kind}: {', '.join(n for n, found in versions.items() if found == kind)}" for kind in kinds)
        majors = {kind.partition(".")[0] for kind in kinds}
        detail = f"nodes run different versions ({shown})"
        remedy = "bring all nodes to one version" + (
            "; while 8 and 9 are mixed, roles are those of the host that answers" if len(majors) > 1 else ""
        )
        yield Finding(cluster.name, "versions", "warning", detail, remedy, about="version")
    elif kinds:
        yield Finding(cluster.name, "versions", "ok", f"{len(versions)} nodes run {kinds[0]}", about="version")


def _certificate(cluster: Cluster, found: NodeCertificates, now: float) -> Iterator[Finding]:
    by_name = {certificate.filename: certificate for certificate in found.certificates}
    shown = next((by_name[name] for name in _SHOWN_CERTIFICATES if name in by_name), None)
    if shown is None or shown.not_after - now > _CERTIFICATE_WARNING_SECONDS:
        return
    ended = shown.not_after <= now
    day = datetime.fromtimestamp(shown.not_after, UTC).date().isoformat()
    own = shown.filename == _SHOWN_CERTIFICATES[1]
    remedy = f"on {found.node}: " + (
        "pvecm updatecerts --force && systemctl reload pveproxy"
        if own
        else "pvenode acme cert renew, or put a new certificate in"
    )
    detail = f"{shown.filename} {'ended' if ended else 'ends'} on {day}"
    yield Finding(cluster.name, f"certificate of {found.node}", "warning", detail, remedy, about="certificate")


def _trust(cluster: Cluster) -> str:
    if not cluster.verify_tls:
        return "certificate not verified"
    if cluster.ca_file is not None:
        return "certificate vouched for by the ca_file"
    if cluster.hosts[0].fingerprint or cluster.fingerprint:
        return "certificate as pinned"
    return "certificate trusted by this system"


def _client(cluster: Cluster, token: TokenRef) -> PveClient:
    return PveClient(cluster, token, read_timeout=_READ_TIMEOUT_SECONDS)


def _trouble(cluster: Cluster, subject: str, token: TokenRef, error: PveError | ConfigError) -> Finding:
    if isinstance(error, ConfigError):
        reason = "configuration"
    else:
        reason = "certificate" if _of_certificate(error) else error.error_class
    remedy = _remedy(cluster, token, error)
    return Finding(cluster.name, subject, "error", _words(error), remedy, reason=reason)


def _of_certificate(error: PveError) -> bool:
    return isinstance(error, Unreachable) and "certificate" in str(error)


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
    if _of_certificate(error):
        return _SHOW_FINGERPRINT
    if isinstance(error, Unreachable):
        return f"is {cluster.hosts[0]} the right address, and is pveproxy running there?"
    return "see the text of Proxmox VE"
