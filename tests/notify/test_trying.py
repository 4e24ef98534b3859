"""`pvewatch notify test` for channels that Alertmanager delivers by itself: what it did is told to who asks."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from action_api.notifiers.sample import AlertmanagerSaysNo, delivers_by_itself
from pvewatch.cli import cli
from pvewatch.config import load_settings
from pvewatch.render import write_all
from pvewatch.stack.ports import free_port
from tests.notify.services import Web, mail_server, web
from tests.notify.test_channels import alertmanager
from tests.rules.servers import running

SAMPLE = "This is a sample: pvewatch can reach you here"


@contextmanager
def site(folder: Path, channels: list[dict[str, Any]], *, renders_for: str, runs: str) -> Iterator[list[str]]:
    """An Alertmanager of the version `runs`, with files rendered for `renders_for`; gives the command to try with.

    The settings that the command reads say nothing of a version, as with `pvewatch up`.
    """
    url = f"http://127.0.0.1:{free_port()}"
    monitor = {"token_id": "pvewatch@pve!monitor", "token_secret_env": "UNUSED"}
    document = {
        "clusters": [{"name": "home", "hosts": ["127.0.0.1"], "monitor": monitor}],
        "alertmanager": {"listen": url.removeprefix("http://")},
        "channels": channels,
    }
    file = folder / "pvewatch.yaml"
    file.write_text(yaml.safe_dump(document))
    settings = load_settings(file)
    known = settings.alertmanager.model_copy(update={"version": renders_for})
    write_all(settings.model_copy(update={"alertmanager": known}), folder / "rendered", "native")
    command = [
        *alertmanager(runs),
        f"--config.file={folder / 'rendered' / 'alertmanager' / 'alertmanager.yml'}",
        f"--storage.path={folder / 'storage'}",
        f"--web.listen-address={settings.alertmanager.listen}",
        "--cluster.listen-address=",
    ]
    with running(command, url, folder / "alertmanager.log"):
        yield ["--config", str(file), "notify", "test"]


def tried(command: list[str], *arguments: str) -> tuple[int, Any]:
    done = CliRunner().invoke(cli, [*command, *arguments, "--json"])
    assert done.stdout, done.output
    return done.exit_code, json.loads(done.stdout)


@pytest.fixture
def service() -> Iterator[Web]:
    with web() as started:
        yield started


def secret(folder: Path, name: str, value: str) -> dict[str, str]:
    file = folder / name
    file.write_text(value)
    file.chmod(0o600)
    return {"file": name}


def test_a_mail_that_was_taken_and_a_service_that_thinks_for_a_while_and_refuses(tmp_path: Path, service: Web) -> None:
    with mail_server() as (address, mails):
        mail = {"name": "mail", "type": "email", "to": ["a@b.example"], "sender": "p@b.example"}
        mail |= {"smarthost": address, "require_tls": False}
        chat = {"name": "chat", "type": "slack", "url": secret(tmp_path, "slack", f"{service.url}/slack")}
        with site(tmp_path, [mail, chat], renders_for="0.25", runs="0.25") as command:
            status, told = tried(command, "mail")
            assert (status, told) == (
                0,
                [{"channel": "mail", "delivered": True, "answer": "Alertmanager has delivered it over email"}],
            )
            (arrived,) = mails
            assert arrived["Subject"] == f"INFO {SAMPLE}"
            assert service.requests == [], "a sample goes to the one channel that is tried"
            service.refuse = [403]
            service.hold.clear()
            late = threading.Timer(2, service.hold.set)
            late.start()
            status, told = tried(command, "chat")
            late.join()
    why = "Alertmanager could not deliver it over slack: its log says why"
    assert (status, told) == (1, [{"channel": "chat", "delivered": False, "answer": why}])


def test_the_way_that_is_tried_is_the_one_that_the_running_alertmanager_has_loaded(
    tmp_path: Path, service: Web
) -> None:
    chat = {"name": "chat", "type": "discord", "url": secret(tmp_path, "discord", f"{service.url}/discord")}
    with site(tmp_path, [chat], renders_for="0.28", runs="0.28") as command:
        _, told = tried(command)
    assert told == [{"channel": "chat", "delivered": True, "answer": "Alertmanager has delivered it over discord"}]
    assert SAMPLE in service.at("/discord")[0]["embeds"][0]["title"]


def test_what_is_relayed_and_what_is_not_loaded_is_seen_in_the_running_alertmanager(
    tmp_path: Path, service: Web
) -> None:
    chat = {"name": "chat", "type": "discord", "url": secret(tmp_path, "discord", f"{service.url}/discord")}
    with site(tmp_path, [chat], renders_for="0.25", runs="0.25"):
        settings = load_settings(tmp_path / "pvewatch.yaml")
        (relayed,) = settings.channels
        assert not delivers_by_itself(settings, relayed)
        with pytest.raises(AlertmanagerSaysNo, match="does not know the channel: render"):
            delivers_by_itself(settings, relayed.model_copy(update={"name": "newer"}))
    with pytest.raises(AlertmanagerSaysNo, match="is it running"):
        delivers_by_itself(settings, relayed)
