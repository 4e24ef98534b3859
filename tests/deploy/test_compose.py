"""compose.yaml brought up for real, with the demo's profile, in a Docker engine that the test starts and stops.

Prometheus and Alertmanager are the real programs. Grafana's image is a stand-in that answers /api/health and nothing
else: that Grafana itself runs with these settings is not seen here.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import requests

from tests.deploy.compose_demo import (
    AGENTS,
    GUESTS,
    NODES,
    ONE_SHOT,
    OWN_USER,
    SERVICES,
    number,
    query,
)
from tests.deploy.compose_project import Project
from tests.deploy.docker_engine import await_true

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


def test_every_service_is_healthy_or_has_done_its_work(project: Project) -> None:
    containers = project.containers()
    assert set(containers) == set(SERVICES)
    for name, container in containers.items():
        state = container["State"]
        if name in ONE_SHOT:
            assert (state["Status"], state["ExitCode"]) == ("exited", 0), name
        else:
            assert (state["Status"], state["Health"]["Status"]) == ("running", "healthy"), name
            assert container["RestartCount"] == 0, name


def test_prometheus_reaches_every_target(project: Project) -> None:
    jobs = {"pvewatch", "pvewatch-action-api", "prometheus", "alertmanager", "blackbox", "probes"}

    def up() -> bool:
        return {row["metric"]["job"] for row in query(project, "up == 1")} == jobs

    await_true(up, f"{jobs} up", 60)
    assert query(project, "up == 0") == []


def test_prometheus_shows_the_simulated_cluster(project: Project) -> None:
    for expression, expected in (
        ('count(pvewatch_guest_info{cluster="demo"})', GUESTS),
        ('count(pve_node_info{cluster="demo"})', NODES),
        ('min(pve_collector_success{cluster="demo"})', 1),
    ):
        await_true(
            lambda expression=expression, expected=expected: number(project, expression) == expected,  # type: ignore[misc]  # mypy infers no type for defaults
            f"{expression} = {expected}",
            60,
        )


def test_heartbeats_of_the_agents_are_accepted(project: Project) -> None:
    fresh = "count(time() - pvewatch_heartbeat_last_seen_timestamp_seconds < 15)"
    await_true(lambda: number(project, fresh) == AGENTS, f"fresh heartbeats of {AGENTS} guests", 60)


def test_prometheus_loaded_the_rules_and_keeps_90_days(project: Project) -> None:
    base = f"http://{project.address('PROMETHEUS')}/api/v1"
    groups = requests.get(f"{base}/rules", timeout=10).json()["data"]["groups"]
    assert {rule["name"] for group in groups for rule in group["rules"]} >= {"NodeDown", "GuestHeartbeatMissing"}
    flags = requests.get(f"{base}/status/flags", timeout=10).json()["data"]
    assert flags["storage.tsdb.retention.time"] == "90d"


def test_no_process_is_root_and_no_container_has_a_capability(project: Project) -> None:
    for name, container in project.containers().items():
        host = container["HostConfig"]
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert not host["CapAdd"], name
        assert host["Memory"] > 0, name
        assert 0 < host["PidsLimit"] <= 256, name
        if name in ONE_SHOT:
            assert container["Config"]["User"] == f"{OWN_USER}:{OWN_USER}", name
            continue
        processes = project.docker("top", container["Id"], "-eo", "uid,pid").splitlines()[1:]
        assert {line.split()[0] for line in processes} == {OWN_USER}, name


def test_nothing_can_be_written_outside_the_volumes(project: Project) -> None:
    for name in ("exporter", "action-api", "worker", "worker-notifications", "prometheus", "alertmanager", "blackbox"):
        assert project.exit_code(name, "touch", "/usr/written") != 0, name
        assert project.exit_code(name, "touch", "/tmp/written") == 0, name  # noqa: S108  in the container


def test_the_image_has_no_compiler_and_no_pip(project: Project) -> None:
    for program in ("gcc", "cc", "make", "pip"):
        assert project.exit_code("exporter", "sh", "-c", f"command -v {program}") != 0, program


def secret_files(project: Project) -> list[Path]:
    """Every file that holds one secret and nothing else."""
    folders = [project.volume(name) for name in ("internal-secrets", "demo-monitor", "demo-power")]
    files = [file for folder in folders for file in folder.iterdir()]
    copies = [("alertmanager-config", "webhook-secret"), ("prometheus-config", "discovery-secret")]
    return [*files, *(project.volume(volume) / name for volume, name in copies)]


def made_up_secrets(project: Project) -> dict[str, str]:
    """Every secret of the running stack, by where it is."""
    found = {
        f"{file.parents[1].name}/{file.name}": file.read_text(encoding="utf-8").strip()
        for file in secret_files(project)
    }
    found["grafana"] = (project.volume("grafana-data") / "admin-password").read_text(encoding="utf-8").strip()
    told = json.loads((project.volume("demo-simulator") / "simulator.json").read_text(encoding="utf-8"))
    found["control"] = told["control_token"]
    return found


def test_no_secret_is_in_inspect_environment_history_or_logs(project: Project) -> None:
    secrets = made_up_secrets(project)
    assert len(secrets) == 6 + 2 + 2 + 2, "own, tokens, copies of two engines, Grafana's and the simulator's"
    assert all(len(secret) >= 20 for secret in secrets.values())
    texts = {"inspect": json.dumps(project.containers()), "logs": project.compose("logs", "--no-color")}
    for image in sorted({service["image"] for service in SERVICES.values()}):
        texts[image] = project.docker("history", "--no-trunc", image) + project.docker("image", "inspect", image)
    for name in set(SERVICES) - ONE_SHOT:
        texts[f"environment of {name}"] = project.compose("exec", "-T", name, "env")
    # The simulator tells a person on its standard output what to connect with: its made-up tokens are for showing.
    texts["logs"] = "\n".join(line for line in texts["logs"].splitlines() if not re.search(r"simulator-1 +\|", line))
    seen = [f"{where} in {text}" for text, said in texts.items() for where, secret in secrets.items() if secret in said]
    assert seen == []


def test_a_secret_is_a_file_of_its_owner_alone(project: Project) -> None:
    for file in secret_files(project):
        assert (file.stat().st_uid, oct(file.stat().st_mode & 0o777)) == (int(OWN_USER), "0o600"), file.name


def test_a_token_is_where_it_is_used_and_nowhere_else(project: Project) -> None:
    holders: dict[str, set[str]] = {"demo-monitor": set(), "demo-power": set()}
    for name, container in project.containers().items():
        for mount in container["Mounts"]:
            for volume, found in holders.items():
                if mount.get("Name") == f"{project.name}_{volume}" and name not in ONE_SHOT:
                    found.add(name)
    assert holders == {"demo-monitor": {"exporter"}, "demo-power": {"worker"}}


def test_the_web_process_finds_neither_the_worker_nor_proxmox(project: Project) -> None:
    resolve = "import socket, sys; socket.getaddrinfo(sys.argv[1], 1)"
    assert project.exit_code("action-api", "python", "-c", resolve, "exporter") == 0
    assert project.exit_code("worker", "python", "-c", resolve, "simulator") == 0
    for name in ("worker", "simulator"):
        assert project.exit_code("action-api", "python", "-c", resolve, name) != 0, name


def test_the_image_prints_the_commands_that_make_the_tokens(project: Project) -> None:
    # The service `config` has no network: nothing is asked of anybody.
    ask = ("run", "--rm", "-T", "--no-deps", "config", "check", "--setup", "--pve-version", "9", "--pool", "web")
    printed = project.compose(*ask)

    assert "pveum role add watch-monitor --privs 'Sys.Audit VM.Audit" in printed
    assert "pveum acl modify /pool/web --tokens 'pvewatch-power@pve!main' --roles watch-power" in printed


def test_without_the_demo_the_file_is_valid_too(project: Project) -> None:
    project.compose("config", "--quiet", profile=None)
    services = project.compose("config", "--services", profile=None).split()
    assert set(services) == {name for name, service in SERVICES.items() if "profiles" not in service}
