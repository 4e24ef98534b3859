"""`pvewatch agents`: real agents' words to a real exporter, and what the command line then says of them."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from click.testing import CliRunner, Result

from exporter.enrolment_http import create_blueprint
from exporter.heartbeats import keys
from exporter.http import create_app
from exporter.service import Exporter
from exporter.snapshot import ConfigReading, GuestConfigs
from pvewatch.bundle import bundle_path
from pvewatch.cli import cli
from pvewatch.enrolment import EnrolmentClient, EnrolmentRefused
from pvewatch.inventory import ClusterEntry, Inventory, InventoryClient
from pvewatch.pve.models import GuestConfig
from pvewatch.secrets import Secret, read_internal_secret
from pvewatch.serve import serve
from tests.exporter.conftest import Bench, Clock, RecordedCluster

BOOT = "7c1f7f4e-7c9e-4a7b-9c1d-2f1f6f9d7a10"
FIRST, SECOND = "b8c7f8a4-4f1e-4d35-9d7e-0f4a3c5d6e71", "b8c7f8a4-4f1e-4d35-9d7e-0f4a3c5d6e72"
OTHER_BOOT = "0d5c55a2-1f4c-4b0a-8c7e-94fb5dd1f0aa"


@dataclass
class Installation:
    """A running exporter of two clusters, `lab` and `lab1`, which have guests of the same numbers."""

    configuration: Path
    data: Path
    url: str
    heartbeat_url: str
    clock: Clock
    poll: Callable[[], None]
    exporter: Exporter

    def pvewatch(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli, ["--config", str(self.configuration), *arguments])

    def succeeds(self, *arguments: str) -> str:
        done = self.pvewatch(*arguments)
        assert done.exit_code == 0, done.output
        return done.stdout

    def listed(self, *options: str) -> dict[tuple[str, str], list[str]]:
        rows = json.loads(self.succeeds("agents", "list", "--json", *options))
        return {(row["cluster"], row["id"]): row["states"] for row in rows}

    def speak(self, token: str, boot: str = BOOT, sequence: int = 1, **fields: Any) -> int:
        """Send a heartbeat as an agent does; answers the status."""
        message = json.loads((bundle_path("agents") / "heartbeat.example.json").read_text("utf-8"))
        message |= {"boot_id": boot, "sequence": sequence, "smbios_uuid": None} | fields
        headers = {"Authorization": f"Bearer {token}"}
        return requests.post(
            f"{self.heartbeat_url}/api/v1/heartbeat", json=message, headers=headers, timeout=10
        ).status_code

    def token(self, cluster: str, vmid: int) -> str:
        return self.succeeds("agent-token", cluster, str(vmid)).strip()


@pytest.fixture
def installation(
    tmp_path: Path, pve: RecordedCluster, clock: Clock, make_bench: Callable[..., Bench]
) -> Iterator[Installation]:
    clock.now = time.time()
    bench = make_bench(pve, pve)
    bench.poll()
    settings = bench.exporter.settings
    inventory = read_internal_secret(settings.data_dir, "inventory", create=True)
    app = create_app(bench.exporter, inventory, Secret("discovery-secret"))
    secret = read_internal_secret(settings.data_dir, "enrolment", create=True)
    reachable = settings.model_copy(
        update={"exporter": settings.exporter.model_copy(update={"heartbeat_url": "https://pvewatch.example:9223"})}
    )
    app.register_blueprint(create_blueprint(reachable, bench.exporter.is_watched, secret))
    servers = [
        serve(app, "127.0.0.1:0").start(),
        serve(bench.exporter.heartbeat_app, "127.0.0.1:0", kind="asgi").start(),
    ]
    url, heartbeat_url = (f"http://127.0.0.1:{server.address[1]}" for server in servers)
    configuration = tmp_path / "pvewatch.yaml"
    configuration.write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": name, "hosts": [f"{name}.example"]} for name in ("lab", "lab1")],
                "data_dir": str(settings.data_dir),
                "exporter": {"url": url, "heartbeat_url": "https://pvewatch.example:9223"},
            }
        )
    )
    yield Installation(configuration, settings.data_dir, url, heartbeat_url, clock, bench.poll, bench.exporter)
    for server in servers:
        server.stop()


def test_a_clone_with_another_uuid_is_refused_also_after_its_original_got_a_new_one(installation: Installation) -> None:
    token = installation.token("lab", 100)
    snapshot = installation.exporter.snapshots["lab"]

    def configured(uuid: str) -> None:
        config = GuestConfig(onboot=None, agent=False, protection=False, template=False, smbios_uuid=uuid)
        read = GuestConfigs({"qemu/100": ConfigReading(config, 0.0)})
        snapshot.record_success(("config", "pve1"), read, at=installation.clock.now, duration=0.0, keep_seconds=1e6)

    configured(FIRST)
    assert installation.speak(token, smbios_uuid=FIRST) == 204
    assert installation.speak(token, smbios_uuid=SECOND) == 403
    configured(SECOND)
    assert installation.speak(token, smbios_uuid=FIRST) == 403
    assert installation.speak(token, smbios_uuid=SECOND) == 204


def test_equal_numbers_in_two_clusters_are_two_guests(installation: Installation) -> None:
    token = installation.token("lab1", 100)
    assert token != installation.token("lab", 100)
    assert installation.speak(token) == 204
    assert installation.listed() == {("lab1", "qemu/100"): ["ok"]}
    assert installation.listed("--cluster", "lab") == {}
    assert installation.listed("--all")["lab", "qemu/100"] == ["no agent"]


def test_a_cloned_guest_is_listed_with_its_shared_identity(installation: Installation) -> None:
    tokens = installation.token("lab", 100), installation.token("lab1", 100)
    for sequence in (1, 2, 3):
        for boot in (BOOT, OTHER_BOOT):
            assert installation.speak(tokens[0], boot, sequence) == 204
    assert installation.speak(tokens[1]) == 204
    assert installation.listed() == {("lab", "qemu/100"): ["shared identity"], ("lab1", "qemu/100"): ["ok"]}
    assert installation.listed("--shared", "--silent") == {("lab", "qemu/100"): ["shared identity"]}
    assert installation.pvewatch("agents", "list", "--shared", "--check").exit_code == 3
    assert installation.pvewatch("agents", "list", "--silent", "--check").exit_code == 0


def test_a_silent_and_an_outdated_agent_are_found_by_their_filters(installation: Installation) -> None:
    old = {"agent": {"version": "0.0.1", "platform": "linux"}}
    assert installation.speak(installation.token("lab", 100), **old) == 204
    assert installation.listed("--outdated") == {("lab", "qemu/100"): ["outdated"]}
    assert installation.listed("--silent") == {}
    installation.clock.now += 200
    installation.poll()
    table = installation.succeeds("agents", "list", "--silent")
    assert table.splitlines()[0].split() == ["CLUSTER", "GUEST", "NAME", "STATUS", "AGENT", "VERSION", "LAST", "SEEN"]
    assert "silent, outdated" in table
    assert "0.0.1 linux" in table


def test_nothing_that_an_agent_says_controls_the_terminal(installation: Installation) -> None:
    loud = {"agent": {"version": "1.0\x1b[31m", "platform": "linux"}}
    installation.speak(installation.token("lab", 100), **loud)
    assert "\x1b" not in installation.pvewatch("agents", "list").output


def test_a_rotation_shows_who_still_has_the_previous_secret_and_ends(installation: Installation) -> None:
    old = installation.token("lab", 100)
    installation.succeeds("render", "--out", str(installation.data / "rendered"))
    assert installation.pvewatch("agents", "rotate", "--finish").exit_code == 1, "nothing to finish yet"
    installation.succeeds("agents", "rotate")
    assert installation.speak(old) == 204
    assert installation.listed("--previous-secret") == {("lab", "qemu/100"): ["previous secret"]}
    again = installation.pvewatch("agents", "rotate")
    assert again.exit_code == 1
    assert "--finish" in again.stderr
    new = installation.token("lab", 100)
    assert installation.speak(new, sequence=2) == 204
    assert installation.listed("--previous-secret") == {}
    installation.succeeds("agents", "rotate", "--finish")
    assert (installation.speak(old, sequence=3), installation.speak(new, sequence=4)) == (401, 204)


def test_a_revoked_token_is_refused_at_once_and_the_next_one_is_not(installation: Installation) -> None:
    lost, other = installation.token("lab", 100), installation.token("lab", 101)
    installation.succeeds("agents", "revoke", "lab", "100")
    assert (installation.speak(lost), installation.speak(other)) == (403, 204)
    assert installation.speak(installation.token("lab", 100)) == 204


def test_an_exporter_that_does_not_answer_is_named(installation: Installation) -> None:
    text = installation.configuration.read_text().replace(installation.url, "http://127.0.0.1:9")
    installation.configuration.write_text(text)
    done = installation.pvewatch("agents", "list")
    assert done.exit_code == 1
    assert "http://127.0.0.1:9" in done.stderr


def test_a_cluster_that_cannot_be_read_is_named_and_is_not_well(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = ClusterEntry(
        name="lab", members=["lab"], web_url="https://lab.example:8006", age_seconds=None,
        error="401 no such\x1b[31m token", quorate=None, version=None,
    )  # fmt: skip
    well = refused.model_copy(update={"name": "lab1", "error": None})
    inventory = Inventory(generated_at=0.0, clusters=[refused, well])
    monkeypatch.setattr(InventoryClient, "fetch", lambda _self: inventory)
    listed = installation.pvewatch("agents", "list")
    assert (listed.exit_code, listed.stdout) == (0, "")
    assert listed.stderr == "lab cannot be read, so not all may be listed: 401 no such?[31m token\n"
    for options in ((), ("--silent",), ("--json",), ("--cluster", "lab")):
        assert installation.pvewatch("agents", "list", "--check", *options).exit_code == 4
    other = installation.pvewatch("agents", "list", "--check", "--cluster", "lab1")
    assert other.exit_code == 0
    assert "No agent has reported yet" in other.stderr


@pytest.mark.parametrize("command", ["revoke", "install-command"])
def test_an_unknown_cluster_is_answered_with_the_known_ones(installation: Installation, command: str) -> None:
    options = ["--platform", "linux"] if command == "install-command" else []
    done = installation.pvewatch("agents", command, "other", "100", *options)
    assert done.exit_code == 2
    assert "known are: lab, lab1" in done.stderr


@pytest.mark.parametrize(
    ("url", "words"),
    [("http://pvewatch.example:9223", "unencrypted"), ("https://127.0.0.1:9223", "this machine only")],
)
def test_an_address_that_agents_should_not_use_is_refused(installation: Installation, url: str, words: str) -> None:
    arguments = ("agents", "install-command", "lab", "100", "--platform", "linux", "--url", url)
    done = installation.pvewatch(*arguments)
    assert isinstance(done.exception, Exception)
    assert words in str(done.exception)
    assert "v1.lab.100" not in done.output


def test_cloud_config_carries_the_same_script_readable_by_root_alone(installation: Installation) -> None:
    arguments = ("agents", "install-command", "lab", "100", "--platform", "linux")
    script, config = installation.succeeds(*arguments), installation.succeeds(*arguments, "--cloud-init")
    assert config.startswith("#cloud-config\n"), "cloud-init knows a format by its first line"
    document = yaml.safe_load(config)
    (file,) = document["write_files"]
    assert base64.b64decode(file["content"]).decode() == script
    assert (file["owner"], file["permissions"]) == ("root:root", "0600")
    assert document["runcmd"] == [f"bash {file['path']}; rm -f {file['path']}"]


def test_the_authority_goes_along_and_a_private_key_beside_it_does_not(
    installation: Installation, tmp_path: Path
) -> None:
    file = tmp_path / "both.pem"
    certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"
    file.write_text(f"-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----\n{certificate}\n")
    arguments = ("agents", "install-command", "lab", "100", "--platform", "linux", "--ca-file", str(file))
    script = installation.succeeds(*arguments)
    assert certificate in script
    assert "PRIVATE" not in script


def test_the_exporter_gives_one_token_and_installer_to_who_has_the_secret_for_it(installation: Installation) -> None:
    client = EnrolmentClient(installation.url, read_internal_secret(installation.data, "enrolment"))
    given = client.ask("lab", 100, "linux")
    assert given.token == keys.current_token(installation.data, "lab", 100)
    assert given.script is not None
    assert given.token in given.script
    assert given.url == "https://pvewatch.example:9223"
    assert given.token not in repr(given)
    alone = client.ask("lab", 100, None)
    assert (alone.token, alone.script) == (given.token, None)


@pytest.mark.parametrize("name", ["inventory", "heartbeat"])
def test_another_secret_opens_no_tokens(installation: Installation, name: Any) -> None:
    client = EnrolmentClient(installation.url, read_internal_secret(installation.data, name, create=True))
    with pytest.raises(EnrolmentRefused, match="enrolment"):
        client.ask("lab", 100, None)


def test_an_unknown_cluster_and_a_wrong_request_get_no_token(installation: Installation) -> None:
    secret = read_internal_secret(installation.data, "enrolment")
    with pytest.raises(EnrolmentRefused, match="not configured"):
        EnrolmentClient(installation.url, secret).ask("other", 100, None)
    headers = {"Authorization": f"Bearer {secret.reveal()}"}
    for body in ({}, {"cluster": "lab", "vmid": 99}, {"cluster": "lab", "vmid": 100, "platform": "plan9"}):
        answer = requests.post(f"{installation.url}/api/v1/enrolment", json=body, headers=headers, timeout=10)
        assert answer.status_code == 422
        assert answer.json()["error"]["code"] == "invalid"
    assert requests.get(f"{installation.url}/api/v1/enrolment", headers=headers, timeout=10).status_code == 405
