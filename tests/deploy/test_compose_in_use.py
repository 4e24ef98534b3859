"""The demo of compose.yaml in use: the whole chain, killed services, heartbeats from the LAN, PostgreSQL, the end."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_urlsafe

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pvewatch.config import Cluster, HostPort, TokenRef, load_settings
from pvewatch.stack.agent_host import AgentGuest
from pvewatch.stack.checklist import Subject, prove
from pvewatch.stack.checks import checks
from pvewatch.stack.first_login import FirstLogin
from pvewatch.stack.processes import Processes, stop_signals
from pvewatch.stack.screen import Screen
from pvewatch.stack.simulated import Simulated
from tests.deploy.compose_demo import (
    CONTROL,
    GUESTS,
    HUNG,
    ONE_SHOT,
    OWN_USER,
    RemoteControl,
    figure,
    last_heartbeat,
    number,
)
from tests.deploy.compose_project import Project
from tests.deploy.docker_engine import await_true
from tests.deploy.stand_in_images import ROOT

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


def test_the_checklist_of_the_demo_holds_in_containers(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of `pvewatch demo --check`, of these containers by their addresses."""
    told = json.loads((project.volume("demo-simulator") / "simulator.json").read_text(encoding="utf-8"))
    addresses = project.containers()["simulator"]["NetworkSettings"]["Networks"]
    (network,) = addresses.values()
    monkeypatch.setenv("TEST_MONITOR_SECRET", told["tokens"]["monitor"]["secret"])
    settings = load_settings(ROOT / "deploy/demo/pvewatch.yaml", {})
    cluster = Cluster(
        name="demo",
        hosts=(HostPort(host=network["IPAddress"], port=8006),),
        fingerprint=told["fingerprint"],
        monitor=TokenRef(token_id=told["tokens"]["monitor"]["id"], token_secret_env="TEST_MONITOR_SECRET"),
    )
    urls = {
        "action_api": {"public_url": f"http://{project.address('ACTION_API')}"},
        "prometheus": {"url": f"http://{project.address('PROMETHEUS')}"},
        "alertmanager": {"url": f"http://{project.address('ALERTMANAGER')}"},
    }
    # As Grafana's container has them.
    shutil.copytree(project.volume("grafana-dashboards"), tmp_path / "data/rendered/grafana/dashboards")
    sections = {name: getattr(settings, name).model_copy(update=values) for name, values in urls.items()}
    settings = settings.model_copy(update={"clusters": (cluster,), "data_dir": tmp_path / "data", **sections})
    login = FirstLogin("checker", token_urlsafe(15))
    # Over standard input: what is in arguments or the environment is in `docker inspect` too.
    add = ("exec", "-T", "action-api", "pvewatch", "user", "add", login.name, "--role", "operator", "--password-stdin")
    project.compose(*add, stdin=f"{login.password}\n")
    control = RemoteControl(project)
    simulated = Simulated("demo", network["IPAddress"], 8006, told["fingerprint"], control, told["tokens"], tmp_path)
    alive = sorted((guest.id for guest in control.guests().values() if guest.alive), key=lambda guest: guest != HUNG)
    subject = Subject(settings, [simulated], [AgentGuest("demo", alive[0])], HUNG, login)
    assert subject.agents == [AgentGuest("demo", HUNG)]

    with Screen() as screen, stop_signals() as stop:
        results = prove(subject, Processes(tmp_path / "logs", stop), screen)

    assert [f"{result.name}: {result.seen}" for result in results if not result.ok] == []
    assert len(results) == len(checks(subject))


def test_killed_services_lose_nothing_and_the_hung_guest_is_recovered(project: Project) -> None:
    """The whole chain, each link of it killed while it holds something that matters."""
    project.compose("exec", "-T", "action-api", "pvewatch", "user", "add", "keeper", "--role", "operator")
    await_true(lambda: last_heartbeat(project, HUNG) is not None, f"a heartbeat of {HUNG}", 60)
    reset = 'pvewatch_actions_total{action="reset",origin="automation",outcome="succeeded"}'
    resets_before = figure(project, "ACTION_API", reset) or 0
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
    await_true(lambda: figure(project, "ACTION_API", reset) == resets_before + 1, f"one reset of {HUNG}", 120)
    await_true(lambda: (last_heartbeat(project, HUNG) or 0) > (silent_since or 0), f"heartbeats of {HUNG} again", 60)
    await_true(lambda: incidents() == 0, "the incident closed", 60)
    assert "keeper" in project.compose("exec", "-T", "action-api", "pvewatch", "user", "list")


def test_killed_engines_and_a_killed_cluster_come_back_with_what_they_held(project: Project) -> None:
    seen_at = time.time()
    guests = f'count(pvewatch_guest_info{{cluster="demo"}} @ {seen_at:.0f})'
    assert number(project, guests) == GUESTS
    alertmanager = f"http://{project.address('ALERTMANAGER')}/api/v2"
    silence = {
        "matchers": [{"name": "id", "value": "qemu/0", "isRegex": False}],
        "startsAt": datetime.now(UTC).isoformat(),
        "endsAt": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
        "createdBy": "test",
        "comment": "kept over a kill",
    }
    requests.post(f"{alertmanager}/silences", json=silence, timeout=10).raise_for_status()
    # It writes its silences when it is stopped, and every quarter of an hour: it is asked to stop, not killed.
    project.compose("restart", "--timeout", "10", "alertmanager")
    # The guests live in the network of the simulator, which is made anew.
    for service in ("prometheus", "blackbox", "simulator", "demo-guests"):
        project.compose("kill", service)
    for service in ("prometheus", "blackbox", "simulator", "demo-guests"):
        project.compose("start", service)

    def healthy() -> bool:
        states = (one["State"] for name, one in project.containers().items() if name not in ONE_SHOT)
        return all(state["Status"] == "running" and state["Health"]["Status"] == "healthy" for state in states)

    await_true(healthy, "every service healthy again", 90)
    assert number(project, guests) == GUESTS, "the history from before the kill is there"
    kept = requests.get(f"{alertmanager}/silences", timeout=10).json()
    assert [one["comment"] for one in kept if one["status"]["state"] == "active"] == ["kept over a kill"]
    fresh = 'min(pve_collector_success{cluster="demo",collector="resources"})'
    await_true(lambda: number(project, fresh) == 1, "the exporter reads the cluster with the same token", 60)
    await_true(lambda: (last_heartbeat(project, HUNG) or 0) > seen_at, f"heartbeats of {HUNG} again", 60)


def test_services_stop_when_asked_and_start_again(project: Project) -> None:
    services = ("exporter", "action-api", "worker", "worker-notifications")
    project.compose("stop", "--timeout", "8", *services)
    stopped = {name: project.containers()[name]["State"] for name in services}
    assert {name: (state["Status"], state["ExitCode"]) for name, state in stopped.items()} == dict.fromkeys(
        services, ("exited", 0)
    )
    project.compose("start", *services)

    def healthy() -> bool:
        return all(project.containers()[name]["State"]["Health"]["Status"] == "healthy" for name in services)

    await_true(healthy, f"{', '.join(services)} healthy", 90)


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


def test_with_the_profile_postgres_what_was_recorded_survives_a_restart_of_the_database(project: Project) -> None:
    url = "postgresql+psycopg://pvewatch@database/pvewatch?passfile=/run/database/passfile"
    with_database = {"PVEWATCH_DATABASE_URL": url}
    workers = ("worker", "worker-notifications")

    def compose(*arguments: str) -> str:
        return project.compose("--profile", "postgres", *arguments, extra=with_database, explain=True)

    with pytest.raises(AssertionError, match="PVEWATCH_DATABASE_URL"):
        project.compose("--profile", "postgres", "run", "--rm", "-T", "database-password")
    compose("up", "--detach", "--wait", "--wait-timeout", "120", "action-api", *workers, "database")
    compose("exec", "-T", "action-api", "pvewatch", "user", "add", "kept", "--role", "operator")
    compose("kill", "database")
    compose("up", "--detach", "--wait", "--wait-timeout", "60", "database")
    assert "kept" in compose("exec", "-T", "action-api", "pvewatch", "user", "list")
    assert "keeper" not in compose("exec", "-T", "action-api", "pvewatch", "user", "list"), "it is another database"
    password = (project.volume("database-secret") / "password").read_text(encoding="utf-8").strip()
    containers = project.containers()
    assert password not in json.dumps(containers)
    assert password not in compose("logs", "--no-color", "database", "database-password", "action-api")
    processes = project.docker("top", containers["database"]["Id"], "-eo", "uid,pid").splitlines()[1:]
    assert {line.split()[0] for line in processes} == {OWN_USER}
    resolve = "import socket, sys; socket.getaddrinfo(sys.argv[1], 1)"
    for worker in workers:
        assert project.exit_code(worker, "python", "-c", resolve, "database") == 0
        assert project.exit_code(worker, "python", "-c", resolve, "action-api") != 0
    assert project.exit_code("exporter", "python", "-c", resolve, "database") != 0


def test_down_leaves_nothing(project: Project) -> None:
    project.compose("--profile", "postgres", "down", "--volumes", "--timeout", "10")
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
