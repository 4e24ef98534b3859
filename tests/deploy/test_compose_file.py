"""What compose.yaml, Dockerfile and their companions promise, read without an engine."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
VERSION = PYPROJECT["project"]["version"]
HADOLINT = Path(sys.executable).with_name("hadolint")

every_service = pytest.mark.parametrize("name", sorted(SERVICES))


def sources(name: str) -> set[str]:
    """What a service mounts: volume names, paths, and the variables they come from."""
    mounts = SERVICES[name].get("volumes", [])
    return {mount["source"] if isinstance(mount, dict) else re.split(r":(?=/)", mount)[0] for mount in mounts}


def who_mounts(text: str) -> set[str]:
    return {name for name in SERVICES if any(text in source for source in sources(name))}


@every_service
def test_a_service_runs_without_privileges(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "privileged" not in service


@every_service
def test_a_service_cannot_use_up_the_machine(name: str) -> None:
    service = SERVICES[name]
    assert service["mem_limit"]
    assert 0 < service["pids_limit"] <= 256
    assert all("size=" in entry for entry in service["tmpfs"])
    assert service["logging"]["options"]["max-size"]


@every_service
def test_a_service_is_watched_and_started_again_or_ends_by_itself(name: str) -> None:
    service = SERVICES[name]
    if service["restart"] == "no":
        assert service["healthcheck"] == {"disable": True}
        return
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["healthcheck"]["timeout"]


@every_service
def test_ports_are_published_on_loopback_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:"), f"{name} publishes {port}"


@every_service
def test_an_image_is_pinned_to_a_version(name: str) -> None:
    assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+(\.\d+|-[a-z]+)", SERVICES[name]["image"])


@every_service
def test_no_service_is_given_a_secret_in_its_environment(name: str) -> None:
    for variable in SERVICES[name].get("environment", {}):
        assert not re.search(r"SECRET|PASSWORD(?!_{1,2}FILE$)|TOKEN", variable), variable


def test_each_token_is_mounted_by_the_one_process_that_uses_it() -> None:
    assert who_mounts("PVEWATCH_MONITOR_TOKENS") == {"exporter"}
    assert who_mounts("PVEWATCH_POWER_TOKENS") == {"worker"}
    assert who_mounts("PVEWATCH_CHANNEL_SECRETS") == {"config", "worker-notifications"}
    assert who_mounts("demo-monitor") == {"exporter", "demo-tokens"}
    assert who_mounts("demo-power") == {"worker", "demo-tokens"}
    assert who_mounts("demo-simulator") == {"simulator", "demo-tokens", "demo-guests"}


def test_the_engines_see_none_of_pvewatchs_own_secrets_but_the_webhooks() -> None:
    assert who_mounts("internal-secrets") == {"config", "exporter", "action-api", "worker", "demo-guests"}
    # The configuration of Alertmanager has a copy of the one that it needs.
    assert who_mounts("alertmanager-config") == {"config", "alertmanager"}


def test_no_file_of_a_foreign_image_gets_into_a_volume() -> None:
    for name in ("prometheus", "alertmanager", "grafana", "blackbox"):
        for mount in SERVICES[name]["volumes"]:
            assert mount["volume"]["nocopy"] is True, f"{name}: {mount}"


def test_only_action_api_and_workers_share_the_database() -> None:
    assert who_mounts("action-data") == {"action-api", "worker", "worker-notifications"}
    assert who_mounts("exporter-data") == {"exporter"}


def test_the_web_process_is_on_no_network_with_the_worker_or_proxmox() -> None:
    on = {name: set(service.get("networks", [])) for name, service in SERVICES.items()}
    assert on["grafana"] == {"front"}
    assert on["action-api"] == {"front", "database-web"}
    assert on["simulator"] == {"back"}
    assert on["worker"] == {"back", "database-worker"}
    assert on["worker-notifications"] == {"messages", "database-notifications"}
    assert {name for name, networks in on.items() if "messages" in networks} == {"alertmanager", "worker-notifications"}
    for network in ("database-web", "database-worker", "database-notifications"):
        assert COMPOSE["networks"][network] == {"internal": True}
        assert len([name for name in on if network in on[name]]) == 2, "the database and one user of it"
    assert not any("ports" in SERVICES[name] for name in ("worker", "worker-notifications"))


def test_history_is_kept_for_90_days_by_default() -> None:
    assert "--storage.tsdb.retention.time=${PVEWATCH_RETENTION:-90d}" in SERVICES["prometheus"]["command"]


def test_versions_agree() -> None:
    own = {service["image"] for service in SERVICES.values() if service["image"].startswith("pvewatch")}
    assert own == {f"pvewatch:{VERSION}", f"pvewatch-demo:{VERSION}"}
    assert f"ARG VERSION={VERSION}\n" in DOCKERFILE


def test_the_configuration_is_rendered_for_the_alertmanager_that_reads_it() -> None:
    _, _, version = SERVICES["alertmanager"]["image"].partition(":v")
    assert SERVICES["config"]["environment"]["PVEWATCH_ALERTMANAGER_VERSION"] == version


def test_every_variable_is_explained_to_the_user() -> None:
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8") + (ROOT / "deploy/compose.lan.yaml").read_text("utf-8")
    used = set(re.findall(r"\$\{(PVEWATCH_\w+)", text))
    listed = set(re.findall(r"^(?:# )?(PVEWATCH_\w+)=", (ROOT / ".env.example").read_text("utf-8"), re.MULTILINE))
    assert used == listed
    guide = (ROOT / "docs/containers.md").read_text(encoding="utf-8")
    assert {name for name in used if f"`{name}`" not in guide} == set()


def test_the_example_leads_away_from_the_demo() -> None:
    set_lines = dict(
        line.split("=", 1) for line in (ROOT / ".env.example").read_text("utf-8").splitlines() if line[:1].isalpha()
    )
    in_demo = {"PVEWATCH_SETTINGS", "PVEWATCH_MONITOR_TOKENS", "PVEWATCH_POWER_TOKENS", "PVEWATCH_TRUST"}
    assert set(set_lines) == in_demo
    assert set_lines["PVEWATCH_SETTINGS"] == "./pvewatch.yaml"


def test_the_image_is_built_of_named_folders_only() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {line.removeprefix("!") for line in rules if line.startswith("!")}
    copied: set[str] = set()
    for sources_and_target in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        copied |= set(sources_and_target.split()[:-1])
    assert copied == allowed
    assert not allowed & {"data", "secrets", ".env", "tests", ".git"}
    wheel = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    parts = {Path(part) for part in [*wheel["packages"], *wheel["force-include"]]}
    missing = {part for part in parts if not any(part.is_relative_to(folder) for folder in copied)}
    assert not missing, (
        f"the wheel is made of these too: {missing}; COPY them in Dockerfile, allow them in .dockerignore"
    )


def test_every_stage_that_runs_has_a_numeric_user_that_is_not_root() -> None:
    _, *running = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    users = [re.findall(r"^USER (.+)$", stage, re.MULTILINE)[-1:] for stage in running]
    assert users == [["10001:10001"], ["10001:10001"], []], "the last stage is `FROM pvewatch` and inherits its user"


def hadolint(dockerfile: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([HADOLINT, dockerfile], capture_output=True, text=True, check=False, timeout=60)


def test_hadolint_has_nothing_to_say() -> None:
    finished = hadolint(ROOT / "Dockerfile")
    assert finished.returncode == 0, finished.stdout


def test_hadolint_would_object(tmp_path: Path) -> None:
    broken = tmp_path / "Dockerfile"
    broken.write_text(DOCKERFILE.replace("python:3.11-slim-bookworm", "python:latest"), encoding="utf-8")
    assert "DL3007" in hadolint(broken).stdout
