"""Each part of the stack is handed the tokens that it needs, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter

from pvewatch.config import Settings, load_settings
from pvewatch.settings_channels import Channel
from pvewatch.stack import parts, tools
from pvewatch.stack.processes import Part

ENVIRONMENT = {
    "PROXMOX_NODE_1_NAME": "home",
    "PROXMOX_NODE_1_HOST": "pve1.home",
    "PROXMOX_NODE_1_TOKEN_ID": "pvewatch@pve!monitor",
    "PROXMOX_NODE_1_TOKEN_SECRET": "monitor-secret",
    "PROXMOX_NODE_1_POWER_TOKEN_ID": "pvewatch@pve!power",
    "PROXMOX_NODE_1_POWER_TOKEN_SECRET": "power-secret",
    "PHONE": "phone-secret",
}
PHONE: Channel = TypeAdapter(Channel).validate_python(
    {"name": "phone", "type": "gotify", "url": "http://127.0.0.1:1", "token": {"env": "PHONE"}}
)


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Part]:
    """What would be started, by name."""
    monkeypatch.setattr(tools, "find", lambda name: tmp_path / name)
    monkeypatch.setattr(tools, "prometheus_assets", lambda _program: None)
    monkeypatch.setattr(parts, "grafana_program", lambda: tmp_path / "bin" / "grafana")
    (tmp_path / "grafana" / "datasources").mkdir(parents=True)
    settings = load_settings(None, {**ENVIRONMENT, "PVEWATCH_DATA_DIR": str(tmp_path / "data")})
    settings = settings.model_copy(update={"channels": (PHONE,)})
    rendered = [tmp_path / "alertmanager.yml", tmp_path / "blackbox.yml", tmp_path / "prometheus.yml"]
    grafana = parts.grafana(settings, tmp_path)
    assert grafana is not None
    return {part.name: part for part in [*parts.services(settings, None), *parts.engines(settings, rendered), grafana]}


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("exporter", {"monitor-secret"}),
        ("worker", {"power-secret"}),
        ("worker-notifications", {"phone-secret"}),
        ("action-api", set()),
        ("alertmanager", set()),
        ("blackbox", set()),
        ("prometheus", set()),
        ("grafana", set()),
    ],
)
def test_a_part_gets_only_the_tokens_that_it_needs(started: dict[str, Part], name: str, needed: set[str]) -> None:
    given = {**ENVIRONMENT, **started[name].environment}

    assert {value for value in given.values() if value.endswith("-secret")} == needed


@pytest.mark.parametrize("name", ["exporter", "worker", "worker-notifications", "action-api"])
def test_a_part_reads_the_same_settings_without_the_others_tokens(started: dict[str, Part], name: str) -> None:
    given = {**ENVIRONMENT, **started[name].environment}

    assert load_settings(None, given).clusters == load_settings(None, ENVIRONMENT).clusters


@pytest.mark.parametrize(
    ("says", "rendered_for"),
    [
        ("alertmanager, version 0.25.0+ds (branch: debian/sid, revision: 0.25.0+ds-1+b5)", "0.25.0"),
        ("alertmanager, version 0.28.1 (branch: HEAD, revision: b2099eaa2c9ebc25edb26517cb9c732738e93910)", "0.28.1"),
        ("nothing that is known", None),
    ],
)
def test_files_are_rendered_for_the_alertmanager_that_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, rendered_for: str | None
) -> None:
    program = tmp_path / "alertmanager"
    program.write_text(f"#!/bin/sh\n[ \"$1\" = --version ] && echo '{says}'\n")
    program.chmod(0o755)
    monkeypatch.setattr(tools, "find", lambda _name: program)

    assert parts.with_alertmanagers_version(Settings()).alertmanager.version == rendered_for


def test_the_version_that_is_set_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(tools, "find")
    settings = Settings.model_validate({"alertmanager": {"version": "0.27"}})

    assert parts.with_alertmanagers_version(settings).alertmanager.version == "0.27"


def test_the_alertmanager_of_this_machine_tells_its_version() -> None:
    version = parts.with_alertmanagers_version(Settings()).alertmanager.version

    assert version is not None
    assert version.startswith("0.")
