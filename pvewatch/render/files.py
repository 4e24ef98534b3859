"""Everything `pvewatch render` writes, and what of it is committed."""

from __future__ import annotations

from pathlib import Path

from pvewatch.bundle import bundle_path
from pvewatch.config import Settings, internal_secret
from pvewatch.render import alertmanager, blackbox, channels, grafana, prometheus
from pvewatch.render.documents import to_json, to_yaml, write
from pvewatch.render.layouts import (
    CHANNEL_SECRETS,
    DISCOVERY_SECRET_COPY,
    TEMPLATES,
    WEBHOOK_SECRET_COPY,
    LayoutName,
    layout,
)
from pvewatch.secrets import MADE_AT_FIRST, InternalSecret

_HEADER = "Written by `pvewatch render` from the configuration: change that and render again, not this file."
_COMMITTED_HEADER = (
    "What `pvewatch render --layout compose` writes for the default settings. After a change of pvewatch/render run\n"
    "`python -m pvewatch.render --write-committed`; a test compares."
)


def write_all(settings: Settings, out: Path, layout_name: LayoutName) -> list[Path]:
    """Write Prometheus', Alertmanager's and Grafana's files below `out`; returns their paths.

    Each file is replaced in one step. `native` uses the addresses of the settings and absolute paths below `out`,
    `compose` the names of the services and the paths inside their containers. The configuration names secrets by path
    only. pvewatch's internal secrets are made where they are missing, so that what is rendered can be started; those
    that Alertmanager and Prometheus show are copied for their containers (readable by their owner alone).
    """
    for secret in MADE_AT_FIRST:
        internal_secret(settings, secret, create=True)
    files = _configuration(settings, out, layout_name, _HEADER)
    for name, rules in prometheus.rule_files(settings).items():
        files[f"prometheus/rules/{name}"] = to_yaml(rules, _HEADER)
    for template in sorted(bundle_path(TEMPLATES).glob("*.tmpl")):
        files[f"{TEMPLATES}/{template.name}"] = template.read_text(encoding="utf-8")
    # Read before anything is written: a missing secret leaves what is rendered as it was.
    secrets = {
        f"{CHANNEL_SECRETS}/{name}": source.secret.resolve().reveal()
        for name, source in channels.secret_files(settings).items()
    }
    for name, dashboard in grafana.dashboards(settings).items():
        files[f"grafana/dashboards/{name}"] = to_json(dashboard)
    written = [write(out / name, secret, mode=0o600) for name, secret in secrets.items()]
    written += [write(out / name, text) for name, text in files.items()]
    if layout_name == "compose":
        copies: tuple[tuple[InternalSecret, str], ...] = (
            ("webhook", WEBHOOK_SECRET_COPY),
            ("discovery", DISCOVERY_SECRET_COPY),
        )
        for name, copy in copies:
            secret_text = internal_secret(settings, name).reveal() + "\n"
            written.append(write(out / copy, secret_text, mode=0o600))
    for folder, pattern in (
        ("prometheus/rules", "*.yml"),
        ("grafana/dashboards", "*.json"),
        (TEMPLATES, "*.tmpl"),
        (CHANNEL_SECRETS, "*"),
    ):
        # What an earlier version wrote and this one does not would otherwise be loaded for ever.
        for stale in set((out / folder).glob(pattern)) - set(written):
            stale.unlink()
    return written


def committed() -> dict[str, str]:
    """Path below the repository's root → text of each rendered file that is committed."""
    return _configuration(Settings(), Path(), "compose", _COMMITTED_HEADER)


def _configuration(settings: Settings, out: Path, layout_name: LayoutName, header: str) -> dict[str, str]:
    where = layout(settings, layout_name, out)
    documents = {
        "prometheus/prometheus.yml": prometheus.prometheus_config(settings, where),
        "blackbox/blackbox.yml": blackbox.blackbox_config(),
        "alertmanager/alertmanager.yml": alertmanager.alertmanager_config(settings, where),
        "grafana/provisioning/datasources/pvewatch.yml": grafana.datasources(settings, where),
        "grafana/provisioning/dashboards/pvewatch.yml": grafana.dashboard_provider(where),
    }
    return {name: to_yaml(document, header) for name, document in documents.items()}
