"""The environment form of the configuration.

`PROXMOX_NODE_<n>_NAME, _HOST, _TOKEN_ID, _TOKEN_SECRET` describe any number of hosts, with `_POWER_TOKEN_ID` and
`_POWER_TOKEN_SECRET` for the worker, `_FINGERPRINT`, `_CA_FILE`, `_VERIFY_TLS` for trust, and `_FILE` after either
secret for a file instead. `PVEWATCH_<SECTION>_<FIELD>` sets every other setting (`PVEWATCH_EXPORTER_LISTEN`,
`PVEWATCH_DATA_DIR`, …). Hosts that turn out to be one cluster are joined later, when they have been asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_origin

from pvewatch.config_problems import Problem

_NODE_VARIABLE = re.compile(r"^PROXMOX_NODE_(\d{1,4})_([A-Z_]+)$")
_NODE_FIELDS = {
    "NAME",
    "HOST",
    "TOKEN_ID",
    "TOKEN_SECRET",
    "TOKEN_SECRET_FILE",
    "POWER_TOKEN_ID",
    "POWER_TOKEN_SECRET",
    "POWER_TOKEN_SECRET_FILE",
    "FINGERPRINT",
    "CA_FILE",
    "VERIFY_TLS",
}
# Read by the command line itself, not settings.
_NOT_SETTINGS = {"PVEWATCH_CONFIG", "PVEWATCH_LOG_LEVEL", "PVEWATCH_LOG_FORMAT"}

# What agents read; a machine may well run an agent and pvewatch side by side.
_AGENT_VARIABLES = {"PVEWATCH_URL", "PVEWATCH_TOKEN_FILE", "PVEWATCH_CA_FILE", "PVEWATCH_INTERVAL"}


def settings_from_environment(
    env: Mapping[str, str], sections: Mapping[str, Mapping[str, Any]], *, has_file: bool
) -> tuple[dict[str, Any], list[Problem]]:
    """Settings named by the environment, shaped like the YAML document, and the mistakes in it.

    `sections` maps section name → field → annotation ("" holds the top level). With `has_file` the clusters come from
    the file alone and PROXMOX_NODE_* is left unread.
    """
    document: dict[str, Any] = {}
    problems: list[Problem] = []
    for variable in sorted(env):
        if variable.startswith("PVEWATCH_") and variable not in _NOT_SETTINGS | _AGENT_VARIABLES:
            problem = _apply(variable, env[variable], sections, document)
            if problem:
                problems.append(problem)
    if not has_file:
        clusters, node_problems = _clusters(env)
        problems += node_problems
        if clusters:
            document["clusters"] = clusters
    return document, problems


def _apply(
    variable: str, text: str, sections: Mapping[str, Mapping[str, Any]], document: dict[str, Any]
) -> Problem | None:
    name = variable.removeprefix("PVEWATCH_").lower()
    for section, fields in sections.items():
        field = name.removeprefix(f"{section}_") if section else name
        if field in fields and (not section or name.startswith(f"{section}_")):
            listed = get_origin(fields[field]) is tuple
            value: Any = [part.strip() for part in text.split(",") if part.strip()] if listed else text
            (document.setdefault(section, {}) if section else document)[field] = value
            return None
    if any(name.startswith(f"{section}_") for section in sections if section):
        return Problem(f"environment: {variable}", "is not a setting", "docs/configuration.md lists the settings")
    # Other programs may share the prefix (PVEWATCH_BOOT_ID of an agent): they are not ours to judge.
    return None


def _clusters(env: Mapping[str, str]) -> tuple[list[dict[str, Any]], list[Problem]]:
    entries: dict[int, dict[str, str]] = {}
    problems: list[Problem] = []
    for variable, value in env.items():
        match = _NODE_VARIABLE.fullmatch(variable)
        if not match:
            continue
        if match[2] not in _NODE_FIELDS:
            remedy = f"known are: {', '.join(sorted(_NODE_FIELDS))}"
            problems.append(Problem(f"environment: {variable}", "is not known", remedy))
            continue
        if value.strip():
            entries.setdefault(int(match[1]), {})[match[2]] = value.strip()
    clusters = []
    for number in sorted(entries):
        clusters.append(_cluster(number, entries[number], problems))
    return clusters, problems


def _cluster(number: int, entry: Mapping[str, str], problems: list[Problem]) -> dict[str, Any]:
    prefix = f"PROXMOX_NODE_{number}_"
    for field in ("NAME", "HOST"):
        if field not in entry:
            problems.append(Problem(f"environment: {prefix}{field}", "is missing", f"set it: {prefix}* names a host"))
    cluster: dict[str, Any] = {
        "name": entry.get("NAME", f"node{number}").lower().replace(".", "-"),
        "hosts": [entry.get("HOST", "missing")],
        "from_environment": True,
    }
    for kind, field in (("monitor", ""), ("power", "POWER_")):
        token_id = entry.get(f"{field}TOKEN_ID")
        has_secret = f"{field}TOKEN_SECRET" in entry or f"{field}TOKEN_SECRET_FILE" in entry
        if token_id and has_secret:
            token: dict[str, Any] = {"token_id": token_id}
            if f"{field}TOKEN_SECRET_FILE" in entry:
                token["token_secret_file"] = entry[f"{field}TOKEN_SECRET_FILE"]
            else:
                token["token_secret_env"] = f"{prefix}{field}TOKEN_SECRET"
            cluster[kind] = token
        elif token_id or has_secret:
            missing = f"{field}TOKEN_SECRET" if token_id else f"{field}TOKEN_ID"
            problems.append(
                Problem(f"environment: {prefix}{missing}", "is missing", "a token is an id and a secret: set both")
            )
    for field, key in (("FINGERPRINT", "fingerprint"), ("CA_FILE", "ca_file"), ("VERIFY_TLS", "verify_tls")):
        if field in entry:
            cluster[key] = entry[field]
    return cluster
