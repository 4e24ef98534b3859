"""What `pvewatch render` writes: whole, valid, current, and without secrets where none belongs."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pvewatch.config import Settings
from pvewatch.render import prometheus_flags, write_all
from pvewatch.render.files import committed
from pvewatch.stack import tools

ROOT = Path(__file__).resolve().parents[2]


def render(tmp_path: Path, layout: Any = "native", **sections: Any) -> Path:
    settings = Settings.model_validate({"data_dir": tmp_path / "data", **sections})
    write_all(settings, tmp_path / "out", layout)
    return tmp_path / "out"


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def rules(out: Path) -> dict[str, dict[str, Any]]:
    """Alert name → rule, over all rendered rule files."""
    files = [loaded(path) for path in (out / "prometheus" / "rules").glob("*.yml")]
    found = [rule for document in files for group in document["groups"] for rule in group["rules"]]
    return {rule["alert"]: rule for rule in found if "alert" in rule}


@pytest.mark.parametrize("name", sorted(committed()))
def test_the_committed_file_is_what_the_renderer_writes(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text == committed()[name], f"{name} is not current: run python -m pvewatch.render --write-committed"


def test_prometheus_accepts_the_native_files(tmp_path: Path) -> None:
    out = render(tmp_path)
    command = [str(tools.find("promtool")), "check", "config", str(out / "prometheus" / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("SUCCESS") > len(list((out / "prometheus" / "rules").glob("*.yml")))


def test_the_native_files_use_the_configured_addresses(tmp_path: Path) -> None:
    out = render(
        tmp_path,
        exporter={"listen": "127.0.0.1:19221"},
        action_api={"url": "https://pve.example/pvewatch"},
        alertmanager={"listen": "0.0.0.0:19093"},
    )
    config = loaded(out / "prometheus" / "prometheus.yml")
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    assert jobs["pvewatch"]["static_configs"] == [{"targets": ["127.0.0.1:19221"]}]
    assert jobs["pvewatch-action-api"]["static_configs"] == [{"targets": ["pve.example:443"]}]
    assert jobs["pvewatch-action-api"]["scheme"] == "https"
    assert jobs["pvewatch-action-api"]["metrics_path"] == "/pvewatch/metrics"
    assert config["alerting"]["alertmanagers"][0]["static_configs"] == [{"targets": ["127.0.0.1:19093"]}]


@pytest.mark.parametrize("layout", ["native", "compose"])
def test_every_alertmanager_is_told_and_watched(tmp_path: Path, layout: str) -> None:
    more = ["https://b.example/alerts/", "http://c.example:9093"]
    out = render(tmp_path, layout, alertmanager={"url": "http://a.example:9093", "more_urls": more})
    config = loaded(out / "prometheus" / "prometheus.yml")
    first = "alertmanager:9093" if layout == "compose" else "a.example:9093"
    told = [
        (entry["scheme"], entry["static_configs"][0]["targets"][0], entry["path_prefix"])
        for entry in config["alerting"]["alertmanagers"]
    ]
    assert told == [("http", first, "/"), ("https", "b.example:443", "/alerts"), ("http", "c.example:9093", "/")]
    (job,) = (job for job in config["scrape_configs"] if job["job_name"] == "alertmanager")
    assert job["static_configs"] == [
        {"targets": [first]},
        {"targets": ["b.example:443"], "labels": {"__scheme__": "https", "__metrics_path__": "/alerts/metrics"}},
        {"targets": ["c.example:9093"], "labels": {"__scheme__": "http", "__metrics_path__": "/metrics"}},
    ]
    if layout == "native":
        command = [str(tools.find("promtool")), "check", "config", str(out / "prometheus" / "prometheus.yml")]
        done = subprocess.run(command, capture_output=True, check=False, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_rules_are_the_shipped_ones_where_nothing_is_configured(tmp_path: Path) -> None:
    out = render(tmp_path)
    for shipped in (ROOT / "prometheus" / "rules").glob("*.yml"):
        assert loaded(out / "prometheus" / "rules" / shipped.name) == loaded(shipped)


def test_the_time_scale_multiplies_every_wait_and_nothing_else(tmp_path: Path) -> None:
    usual, fast = rules(render(tmp_path / "a")), rules(render(tmp_path / "b", alerting={"time_scale": 0.1}))
    waits = {name: (rule.get("for"), rule.get("keep_firing_for")) for name, rule in fast.items()}
    assert waits["AgentsOutdated"] == ("36m", None)
    assert waits["GuestClockOff"] == ("1m30s", None)
    assert waits["GuestIdentityShared"] == (None, None)
    assert waits["GuestLocked"] == (None, "6s")
    assert waits["GuestMemoryHigh"] == ("1m30s", "30s")
    assert waits["NodeDown"] == ("6s", None)
    assert waits["WorkerNotRunning"] == ("6s", None)
    for name, rule in usual.items():
        assert {**rule, "for": None, "keep_firing_for": None} == {**fast[name], "for": None, "keep_firing_for": None}


def test_a_group_with_an_interval_of_its_own_follows_the_time_scale_but_not_below_the_usual_interval(
    tmp_path: Path,
) -> None:
    out = render(tmp_path, alerting={"time_scale": 0.05})
    groups = loaded(out / "prometheus" / "rules" / "planning.yml")["groups"]
    assert {group["name"]: group["interval"] for group in groups} == {"planning": "10s", "guest_usage": "12s"}


def test_links_for_people_begin_with_the_configured_addresses(tmp_path: Path) -> None:
    sections = {
        "action_api": {"public_url": "https://actions.example"},
        "grafana": {"url": "https://grafana.example/g"},
    }
    out = render(tmp_path, **sections)
    for rule in rules(out).values():
        notes = rule["annotations"]
        assert notes["runbook_url"].startswith("https://actions.example/runbooks/")
        assert notes["action_url"].startswith("https://actions.example/")
        assert notes["dashboard_url"].startswith("https://grafana.example/g/d/pve-")
    for path in (out / "grafana" / "dashboards").glob("*.json"):
        variables = json.loads(path.read_text(encoding="utf-8"))["templating"]["list"]
        assert {v["query"] for v in variables if v["name"] == "action_api"} == {"https://actions.example"}
        assert "127.0.0.1" not in path.read_text(encoding="utf-8")


def test_grafana_is_given_the_folder_of_the_dashboards_and_the_scrape_interval(tmp_path: Path) -> None:
    out = render(tmp_path, prometheus={"scrape_interval_seconds": 30})
    provider = loaded(out / "grafana" / "provisioning" / "dashboards" / "pvewatch.yml")["providers"][0]
    assert list(Path(provider["options"]["path"]).glob("*.json"))
    sources = loaded(out / "grafana" / "provisioning" / "datasources" / "pvewatch.yml")["datasources"]
    assert sources[0]["jsonData"]["timeInterval"] == "30s"


def test_the_secret_of_the_webhook_is_named_by_path_and_is_there(tmp_path: Path) -> None:
    out = render(tmp_path)
    config = (out / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8")
    webhook = yaml.safe_load(config)["receivers"][1]["webhook_configs"][0]
    named = Path(webhook["http_config"]["authorization"]["credentials_file"])
    assert named.is_absolute()
    assert named.read_text(encoding="utf-8").strip() not in config
    for path in out.rglob("*"):
        if path.is_file():
            assert named.read_text(encoding="utf-8").strip() not in path.read_text(encoding="utf-8")


def test_the_container_of_alertmanager_gets_a_copy_of_the_secret_that_only_its_owner_reads(tmp_path: Path) -> None:
    out = render(tmp_path, "compose")
    copy = out / "alertmanager" / "webhook-secret"
    assert copy.read_text(encoding="utf-8") == (tmp_path / "data" / "secrets" / "webhook").read_text(encoding="utf-8")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    webhook = loaded(out / "alertmanager" / "alertmanager.yml")["receivers"][1]["webhook_configs"][0]
    assert webhook["http_config"]["authorization"]["credentials_file"] == "/etc/alertmanager/webhook-secret"


def test_rendering_again_changes_nothing_and_removes_what_is_no_longer_shipped(tmp_path: Path) -> None:
    out = render(tmp_path)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    stale = out / "prometheus" / "rules" / "older.yml"
    stale.write_text("groups: []\n", encoding="utf-8")
    render(tmp_path)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_history_is_kept_for_as_long_as_configured() -> None:
    assert "--storage.tsdb.retention.time=90d" in prometheus_flags(Settings())
