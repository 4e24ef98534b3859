"""compose.yaml brought up for real, with the demo's profile, in a Docker engine that the test starts and stops.

Prometheus and Alertmanager are the real programs. Grafana's image is a stand-in that answers /api/health and nothing
else: that Grafana itself runs with these settings is not seen here.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.deploy.compose_project import Project, plain_environment
from tests.deploy.docker_engine import await_true, missing_parts, running_engine
from tests.deploy.stand_in_images import build_all
from tests.deploy.test_compose_file import SERVICES

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

OWN_USER = "10001"
ONE_SHOT = {name for name, service in SERVICES.items() if service["restart"] == "no"}
GUESTS, NODES, AGENTS = 12, 3, 4  # the simulator's defaults, and deploy/demo/guests.py
HUNG = "qemu/101"
IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}

CONTROL = """
import json, sys
from pvewatch.stack.observe import Control
told = json.load(open("/demo/simulator/simulator.json"))
Control(told["control_url"], told["control_token"]).hang(sys.argv[1])
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    problems = missing_parts()
    if problems and IN_CI:
        pytest.fail("; ".join(problems))
    if problems:
        pytest.skip("; ".join(problems))
    with running_engine(plain_environment()) as environment:
        images = {name: SERVICES[name]["image"] for name in ("prometheus", "alertmanager", "grafana")}
        build_all(environment, **images)
        project = Project(environment, tmp_path_factory.mktemp("compose"))
        # The scenario without faults: a test makes a guest hang when it is ready to look.
        project.set("DEMO_SCENARIO", "healthy")
        try:
            project.compose("up", "--build", "--detach", "--wait", "--wait-timeout", "180", explain=True)
            yield project
        finally:
            project.compose("down", "--volumes", "--timeout", "10")


def query(project: Project, expression: str) -> list[dict[str, Any]]:
    answer = requests.get(
        f"http://{project.address('PROMETHEUS')}/api/v1/query", params={"query": expression}, timeout=10
    )
    answer.raise_for_status()
    found: list[dict[str, Any]] = answer.json()["data"]["result"]
    return found


def number(project: Project, expression: str) -> float:
    """The value of a query that gives one series, 0 for none."""
    found = query(project, expression)
    return float(found[0]["value"][1]) if found else 0.0


def figure(project: Project, part: str, series: str) -> float | None:
    """The value of one series on a part's own /metrics page, None when it is not there or nobody answers."""
    try:
        page = requests.get(f"http://{project.address(part)}/metrics", timeout=5).text
    except requests.RequestException:
        return None
    match = re.search(rf"^{re.escape(series)} (\S+)", page, re.MULTILINE)
    return float(match[1]) if match else None


def last_heartbeat(project: Project, guest: str) -> float | None:
    return figure(project, "EXPORTER", f'pvewatch_heartbeat_last_seen_timestamp_seconds{{cluster="demo",id="{guest}"}}')


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
    jobs = {"pvewatch", "pvewatch-action-api", "prometheus", "alertmanager"}

    def up() -> bool:
        return {row["metric"]["job"] for row in query(project, "up == 1")} == jobs

    await_true(up, f"{jobs} up", 30)
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
    for name in ("exporter", "action-api", "worker", "prometheus", "alertmanager"):
        assert project.exit_code(name, "touch", "/usr/written") != 0, name
        assert project.exit_code(name, "touch", "/tmp/written") == 0, name  # noqa: S108  in the container


def test_the_image_has_no_compiler_and_no_pip(project: Project) -> None:
    for program in ("gcc", "cc", "make", "pip"):
        assert project.exit_code("exporter", "sh", "-c", f"command -v {program}") != 0, program


def secret_files(project: Project) -> list[Path]:
    """Every file that holds one secret and nothing else."""
    folders = [project.volume(name) for name in ("internal-secrets", "demo-monitor", "demo-power")]
    files = [file for folder in folders for file in folder.iterdir()]
    return [*files, project.volume("alertmanager-config") / "webhook-secret"]


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
    assert len(secrets) == 4 + 2 + 1 + 2, "own secrets, two tokens, Alertmanager's copy, Grafana's, the simulator's"
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


def test_killed_services_lose_nothing_and_the_hung_guest_is_recovered(project: Project) -> None:
    """The whole chain, each link of it killed while it holds something that matters."""
    project.compose("exec", "-T", "action-api", "pvewatch", "user", "add", "keeper", "--role", "operator")
    await_true(lambda: last_heartbeat(project, HUNG) is not None, f"a heartbeat of {HUNG}", 60)
    project.compose("kill", "worker")
    project.compose("exec", "-T", "demo-guests", "python", "-c", CONTROL, HUNG)

    def incidents() -> float | None:
        return figure(project, "ACTION_API", 'pvewatch_incidents{state="open"}')

    await_true(lambda: incidents() == 1, f"an incident of {HUNG}", 90)
    silent_since = last_heartbeat(project, HUNG)
    for service in ("exporter", "action-api"):
        project.compose("kill", service)
        project.compose("start", service)
    await_true(lambda: last_heartbeat(project, HUNG) is not None, "the exporter again", 30)
    assert last_heartbeat(project, HUNG) == silent_since, "the exporter forgot when the guest was last heard of"
    await_true(lambda: incidents() == 1, "the incident again", 30)

    project.compose("start", "worker")
    reset = 'pvewatch_actions_total{action="reset",origin="automation",outcome="succeeded"}'
    await_true(lambda: figure(project, "ACTION_API", reset) == 1, f"one reset of {HUNG}", 120)
    await_true(lambda: (last_heartbeat(project, HUNG) or 0) > (silent_since or 0), f"heartbeats of {HUNG} again", 60)
    await_true(lambda: incidents() == 0, "the incident closed", 60)
    assert "keeper" in project.compose("exec", "-T", "action-api", "pvewatch", "user", "list")


@pytest.mark.parametrize("service", ["exporter", "action-api", "worker"])
def test_a_service_stops_when_asked(project: Project, service: str) -> None:
    project.compose("stop", "--timeout", "8", service)
    stopped = project.containers()[service]["State"]
    assert (stopped["Status"], stopped["ExitCode"]) == ("exited", 0)
    project.compose("start", service)
    await_true(
        lambda: project.containers()[service]["State"]["Health"]["Status"] == "healthy", f"{service} healthy", 60
    )


def test_without_the_demo_the_file_is_valid_too(project: Project) -> None:
    project.compose("config", "--quiet", profile=None)
    services = project.compose("config", "--services", profile=None).split()
    assert set(services) == {name for name, service in SERVICES.items() if "profiles" not in service}


def test_heartbeats_are_taken_from_the_lan_over_tls_only(project: Project, tmp_path: Path) -> None:
    lan = "127.0.0.2"  # stands for an address of the LAN
    make_certificate(tmp_path, lan)
    extra = {"PVEWATCH_LAN_ADDRESS": lan, "PVEWATCH_TLS": str(tmp_path)}
    project.compose(
        "up", "--detach", "--no-deps", "--wait", "exporter", extra=extra, files=("deploy/compose.lan.yaml",)
    )
    address = f"{lan}:{project.port('HEARTBEAT')}/api/v1/heartbeat"
    taken = requests.post(f"https://{address}", json={}, verify=str(tmp_path / "cert.pem"), timeout=10)
    assert taken.status_code == 401, "the listener answers, and asks for a token"
    with pytest.raises(requests.ConnectionError):
        requests.post(f"http://{address}", json={}, timeout=10)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://{lan}:{project.port('EXPORTER')}/metrics", timeout=10)


def test_down_leaves_nothing(project: Project) -> None:
    project.compose("down", "--volumes", "--timeout", "10")
    assert project.leftovers() == []


def make_certificate(folder: Path, address: str) -> None:
    """cert.pem and key.pem for an address, as docs/containers.md asks: owner 10001, mode 0400."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for file, content in (
        ("cert.pem", certificate.public_bytes(serialization.Encoding.PEM)),
        ("key.pem", private),
    ):
        (folder / file).write_bytes(content)
        os.chown(folder / file, int(OWN_USER), int(OWN_USER))
        (folder / file).chmod(0o400)
    # The folders above belong to pytest; the container is given this one alone.
    os.chown(folder, int(OWN_USER), int(OWN_USER))
