"""prometheus.yml and the rules that go with it."""

from __future__ import annotations

from typing import Any

import yaml

from pvewatch.bundle import bundle_path
from pvewatch.config import Settings
from pvewatch.probes import PROBES_PATH
from pvewatch.render import durations
from pvewatch.render.layouts import Layout, Target
from pvewatch.render.links import relinked


def prometheus_config(settings: Settings, layout: Layout) -> dict[str, Any]:
    """The content of prometheus.yml: what is scraped, which rules are evaluated, who is told."""
    interval = settings.prometheus.scrape_interval_seconds
    return {
        "global": {
            "scrape_interval": durations.written(interval),
            "scrape_timeout": durations.written(min(interval, 10)),
            "evaluation_interval": durations.written(settings.prometheus.evaluation_interval_seconds),
            # Stands on every alert and on everything that is sent to a remote store.
            "external_labels": {"monitor": "pvewatch"},
        },
        "rule_files": [layout.rules],
        "alerting": {
            "alertmanagers": [
                {
                    "scheme": target.scheme,
                    "path_prefix": target.prefix or "/",
                    "static_configs": [{"targets": [target.address]}],
                }
                for target in (layout.alertmanager, *layout.more_alertmanagers)
            ]
        },
        "scrape_configs": [
            # The exporter's own labels win: `node` and the like mean the Proxmox VE node, not where it was scraped.
            {**_job("pvewatch", layout.exporter), "honor_labels": True},
            _job("pvewatch-action-api", layout.action_api),
            _job("prometheus", layout.prometheus),
            _job("alertmanager", layout.alertmanager, *layout.more_alertmanagers),
            _job("blackbox", layout.blackbox),
            _probes(settings, layout),
        ],
    }


def _probes(settings: Settings, layout: Layout) -> dict[str, Any]:
    """What guests ask to be probed: the exporter lists it, the blackbox exporter carries it out."""
    interval = settings.probes.interval_seconds

    def taken(source: str, target: str) -> dict[str, Any]:
        return {"source_labels": [source], "target_label": target}

    return {
        "job_name": "probes",
        "metrics_path": f"{layout.blackbox.prefix}/probe",
        "scheme": layout.blackbox.scheme,
        "scrape_interval": durations.written(interval),
        # Longer than the time of a probe (5 s in blackbox.yml) where the interval permits.
        "scrape_timeout": durations.written(min(interval, 10)),
        "http_sd_configs": [
            {
                "url": f"{layout.exporter.url}{PROBES_PATH}",
                "authorization": {"type": "Bearer", "credentials_file": layout.discovery_secret},
                "refresh_interval": durations.written(min(interval, 30)),
            }
        ],
        "relabel_configs": [
            taken("__address__", "__param_target"),
            taken("__address__", "instance"),
            taken("__meta_pve_module", "__param_module"),
            taken("__meta_pve_cluster", "cluster"),
            taken("__meta_pve_id", "id"),
            taken("__meta_pve_probe", "probe"),
            {"target_label": "__address__", "replacement": layout.blackbox.address},
        ],
    }


def _job(name: str, target: Target, *more: Target) -> dict[str, Any]:
    job: dict[str, Any] = {"job_name": name}
    if target.scheme != "http":
        job["scheme"] = target.scheme
    if target.prefix:
        job["metrics_path"] = f"{target.prefix}/metrics"
    # These labels are Prometheus' own way for a target that differs from its job.
    others = [
        {
            "targets": [other.address],
            "labels": {"__scheme__": other.scheme, "__metrics_path__": f"{other.prefix}/metrics"},
        }
        for other in more
    ]
    return {**job, "static_configs": [{"targets": [target.address]}, *others]}


def prometheus_flags(settings: Settings) -> list[str]:
    """The command line that belongs to the configuration: history, address, reload.

    The caller adds --config.file and --storage.tsdb.path, which it alone knows.
    """
    return [
        f"--storage.tsdb.retention.time={settings.prometheus.retention}",
        f"--web.listen-address={settings.prometheus.listen}",
        f"--web.external-url={settings.prometheus_url}",
        "--web.enable-lifecycle",
    ]


def rule_files(settings: Settings) -> dict[str, dict[str, Any]]:
    """File name → content of every shipped rule file, with waits scaled and links made to the configured addresses.

    A group with an interval of its own is evaluated no more often than the others.
    """
    files = {}
    for path in sorted(bundle_path("prometheus/rules").glob("*.yml")):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        for group in document["groups"]:
            if "interval" in group:
                seconds = durations.parse(group["interval"]) * settings.alerting.time_scale
                group["interval"] = durations.written(max(seconds, settings.prometheus.evaluation_interval_seconds))
            for rule in group["rules"]:
                _scale(rule, settings.alerting.time_scale)
                annotations = rule.get("annotations", {})
                for name in annotations:
                    annotations[name] = relinked(annotations[name], settings)
        files[path.name] = document
    return files


def _scale(rule: dict[str, Any], factor: float) -> None:
    for field in ("for", "keep_firing_for"):
        if field in rule:
            rule[field] = durations.scaled(str(rule[field]), factor)
