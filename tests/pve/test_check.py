"""`pvewatch check` as an administrator meets it, against the simulator."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner, Result

from pvewatch.cli import cli
from pvewatch.pve.privileges import role
from pvewatch.simulator.permissions import AclEntry, Token
from pvewatch.simulator.server import Options, Simulator
from tests.pve.conftest import SECRET, Answer, FakeHost


def cluster(simulator: Simulator, folder: Path, monitor: str = "monitor", **more: Any) -> dict[str, Any]:
    """A cluster entry for the simulator; `monitor` names which of its tokens to use."""
    details = simulator.details
    secret = folder / f"secret-{monitor}"
    secret.write_text(details["tokens"][monitor]["secret"])
    secret.chmod(0o600)
    return {
        "name": "home",
        "hosts": [f"{details['host']}:{details['port']}"],
        "fingerprint": details["fingerprint"],
        "monitor": {"token_id": details["tokens"][monitor]["id"], "token_secret_file": secret.name},
        **more,
    }


def check(folder: Path, *clusters: dict[str, Any], arguments: tuple[str, ...] = ()) -> Result:
    file = folder / "pvewatch.yaml"
    file.write_text(yaml.safe_dump({"clusters": list(clusters)}))
    return CliRunner().invoke(cli, ["--config", str(file), "check", *arguments])


def test_a_good_configuration_says_what_is_seen_and_exits_0(simulator: Simulator, tmp_path: Path) -> None:
    result = check(tmp_path, cluster(simulator, tmp_path))

    assert result.exit_code == 0, result.output
    assert "Proxmox VE 8.4" in result.output
    assert "3 nodes, 12 guests" in result.output
    assert "Everything needed is there." in result.output


def test_a_token_without_rights_is_told_from_an_empty_cluster(simulator: Simulator, tmp_path: Path) -> None:
    result = check(tmp_path, cluster(simulator, tmp_path, "none"))

    assert result.exit_code == 1
    assert "VM.Audit on /vms is missing" in result.output
    assert "pveum acl modify / --tokens 'pvewatch@pve!none' --roles watch-monitor" in result.output
    assert "pveum acl modify / --users pvewatch@pve --roles watch-monitor" in result.output


def test_the_role_for_version_9_has_the_agents_privilege_and_the_one_for_8_has_not(tmp_path: Path) -> None:
    for version, expected in (("8.4", False), ("9.2", True)):
        running = Simulator(Options(data=tmp_path / version, pve_version=version, nodes=1, auth_delay_seconds=0))
        running.start()
        try:
            result = check(tmp_path, cluster(running, tmp_path, "none"))
        finally:
            running.stop()
        assert ("VM.GuestAgent.Audit" in result.output) is expected


def test_a_wrong_secret_says_that_proxmox_does_not_tell_why(simulator: Simulator, tmp_path: Path) -> None:
    entry = cluster(simulator, tmp_path)
    (tmp_path / "secret-monitor").write_text("not-the-secret")

    result = check(tmp_path, entry)

    assert result.exit_code == 1
    assert "401" in result.output
    assert "pveum user token list pvewatch@pve" in result.output
    assert "not-the-secret" not in result.output


def test_another_fingerprint_is_an_error_with_the_command_that_shows_the_right_one(
    simulator: Simulator, tmp_path: Path
) -> None:
    result = check(tmp_path, cluster(simulator, tmp_path) | {"fingerprint": ":".join(["00"] * 32)})

    assert result.exit_code == 1
    assert "openssl x509 -noout -fingerprint -sha256" in result.output


def test_one_dead_host_of_two_is_a_warning(simulator: Simulator, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        dead = f"127.0.0.1:{probe.getsockname()[1]}"
    entry = cluster(simulator, tmp_path)
    entry["hosts"].append(dead)

    result = check(tmp_path, entry, arguments=("--json",))

    assert result.exit_code == 0
    findings = {finding["subject"]: finding["state"] for finding in json.loads(result.output)["findings"]}
    assert findings[f"host {dead}"] == "warning"


def test_the_power_tokens_reach_is_shown(simulator: Simulator, tmp_path: Path) -> None:
    power = cluster(simulator, tmp_path, "power")["monitor"]
    entry = cluster(simulator, tmp_path) | {"power": power}

    assert "may start, shut down and reset guests on /" in check(tmp_path, entry).output

    entry["power"] = entry["monitor"]
    result = check(tmp_path, entry)
    assert result.exit_code == 1
    assert "VM.PowerMgmt" in result.output


def test_mistakes_of_the_file_are_all_printed_and_exit_2(tmp_path: Path) -> None:
    result = check(tmp_path, {"name": "A B", "hosts": []}, {"name": "b"})

    assert result.exit_code == 2
    assert "clusters[0].name" in result.output
    assert "clusters[1].hosts" in result.output
    assert "remedy:" in result.output


def test_no_secret_is_ever_printed(simulator: Simulator, tmp_path: Path) -> None:
    result = check(tmp_path, cluster(simulator, tmp_path), arguments=("--json",))
    for token in simulator.details["tokens"].values():
        assert token["secret"] not in result.output


def test_whether_user_or_token_lacks_a_privilege_is_asked_of_proxmox(simulator: Simulator, tmp_path: Path) -> None:
    assert simulator.cluster is not None
    reading = AclEntry("/", frozenset({"Sys.Audit", "VM.Audit", "Pool.Audit", "SDN.Audit"}))
    simulator.cluster.tokens += (Token("pvewatch@pve!narrow", "a-secret", (reading,)),)
    simulator.details["tokens"]["narrow"] = {"id": "pvewatch@pve!narrow", "secret": "a-secret"}

    result = check(tmp_path, cluster(simulator, tmp_path, "narrow"))

    assert result.exit_code == 1
    assert "its user pvewatch@pve has it, the token itself lacks it" in result.output
    assert "pveum acl modify / --tokens 'pvewatch@pve!narrow' --roles watch-monitor" in result.output
    assert "--users" not in result.output


def test_a_monitor_token_that_can_act_is_warned_of(simulator: Simulator, tmp_path: Path) -> None:
    assert simulator.cluster is not None
    held = frozenset({*role("monitor", 8), "VM.PowerMgmt"})
    simulator.cluster.tokens += (Token("pvewatch@pve!strong", "a-secret", (AclEntry("/", held),)),)
    simulator.details["tokens"]["strong"] = {"id": "pvewatch@pve!strong", "secret": "a-secret"}

    result = check(tmp_path, cluster(simulator, tmp_path, "strong"))

    assert result.exit_code == 0
    assert "is too powerful: reading does not need VM.PowerMgmt" in result.output


def test_a_cluster_that_cannot_be_reached_exits_3_and_a_secret_that_cannot_be_read_2(
    simulator: Simulator, tmp_path: Path
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        dead = f"127.0.0.1:{probe.getsockname()[1]}"
        good = cluster(simulator, tmp_path)
        assert check(tmp_path, good, {**good, "name": "away", "hosts": [dead]}).exit_code == 3
    (tmp_path / "secret-monitor").unlink()
    assert check(tmp_path, good).exit_code == 2


def test_a_collector_that_does_not_exist_exits_2(simulator: Simulator, tmp_path: Path) -> None:
    file = tmp_path / "pvewatch.yaml"
    collectors = {"no-such": {"enabled": True}}
    file.write_text(
        yaml.safe_dump({"clusters": [cluster(simulator, tmp_path)], "exporter": {"collectors": collectors}})
    )

    result = CliRunner().invoke(cli, ["--config", str(file), "check"])

    assert result.exit_code == 2
    assert "exporter.collectors.no-such" in result.output


def test_colours_are_for_terminals_only(simulator: Simulator, tmp_path: Path) -> None:
    entry = cluster(simulator, tmp_path)
    assert "\x1b[" not in check(tmp_path, entry).output
    coloured = CliRunner().invoke(cli, ["--config", str(tmp_path / "pvewatch.yaml"), "check"], color=True)
    assert "\x1b[32mok" in coloured.output


def test_nodes_of_different_versions_and_a_certificate_that_ends_are_warned_of(host: FakeHost, tmp_path: Path) -> None:
    nodes = {"pve1": "8.4.21", "pve2": "9.2.11"}

    def answer(_method: str, path: str) -> Answer:
        data: Any = {}
        if path.endswith("/cluster/status"):
            data = [{"type": "node", "name": name, "id": f"node/{name}", "online": 1} for name in nodes]
        elif path.endswith("/status"):
            data = {"pveversion": f"pve-manager/{nodes[path.split('/')[-2]]}/x"}
        elif path.endswith("/certificates/info"):
            data = [{"filename": "pve-ssl.pem", "notafter": 1_700_000_000}]
        elif path.endswith("/access/permissions"):
            data = {"/": dict.fromkeys(role("monitor", 8), 1)}
        elif path.endswith(("/cluster/resources", "/access/roles")):
            data = []
        elif path.endswith("/version"):
            data = {"version": "8.4.21", "release": "8.4", "repoid": "x"}
        return Answer(body=json.dumps({"data": data}).encode())

    host.answer = answer
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "secret").chmod(0o600)
    token = {"token_id": "pvewatch@pve!monitor", "token_secret_file": "secret"}

    result = check(tmp_path, {"name": "home", "hosts": [str(host.address)], "verify_tls": False, "monitor": token})

    assert "nodes run different versions (8.4.21: pve1; 9.2.11: pve2)" in result.output
    assert "certificate of pve1" in result.output
    assert "pve-ssl.pem ended on 2023-11-14" in result.output
