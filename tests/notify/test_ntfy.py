"""What the relay sends, on a real ntfy server that lets nobody in without a token."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from pydantic import TypeAdapter

from action_api.notifiers.delivery import NotDelivered, deliver
from action_api.notifiers.wording import words
from pvewatch.settings_channels import Channel
from pvewatch.stack.ports import free_port
from tests import newer
from tests.notify.messages import alert, parsed
from tests.notify.services import NASTY
from tests.rules.servers import wait_until

CHANNEL: TypeAdapter[Channel] = TypeAdapter(Channel)


@dataclass(frozen=True)
class Ntfy:
    """A server, and the token of its one user."""

    url: str
    token: str

    def messages(self, topic: str) -> list[dict[str, Any]]:
        answer = requests.get(
            f"{self.url}/{topic}/json?poll=1", headers={"Authorization": f"Bearer {self.token}"}, timeout=5
        )
        answer.raise_for_status()
        return [json.loads(line) for line in answer.text.splitlines()]

    def channel(self, folder: Path, topic: str, token: str | None = None) -> Channel:
        file = folder / "ntfy-token"
        file.write_text(token or self.token)
        file.chmod(0o600)
        return CHANNEL.validate_python(
            {"name": "phone", "type": "ntfy", "url": self.url, "topic": topic, "token": {"file": str(file)}}
        )


@contextmanager
def server(folder: Path) -> Iterator[Ntfy]:
    program = str(newer.program("ntfy", "usr/bin/ntfy"))
    url = f"http://127.0.0.1:{free_port()}"
    config = folder / "server.yml"
    config.write_text(
        json.dumps(
            {
                "base-url": url,
                "listen-http": url.removeprefix("http://"),
                "cache-file": str(folder / "cache.db"),
                "auth-file": str(folder / "auth.db"),
                "auth-default-access": "deny-all",
            }
        )
    )

    def ready() -> bool:
        assert process.poll() is None, (folder / "ntfy.log").read_text(encoding="utf-8")
        try:
            return requests.get(f"{url}/v1/health", timeout=2).status_code == 200
        except requests.ConnectionError:
            return False

    def administer(*arguments: str) -> str:
        done = subprocess.run(
            [program, *arguments],
            env={**os.environ, "NTFY_CONFIG_FILE": str(config), "NTFY_PASSWORD": "not-used-again"},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    with (
        (folder / "ntfy.log").open("wb") as log,
        subprocess.Popen([program, "serve", "--config", str(config)], stdout=log, stderr=log) as process,
    ):
        try:
            wait_until(ready, "the ntfy server")
            administer("user", "add", "--role=admin", "watch")
            created = re.search(r"tk_\w+", administer("token", "add", "watch"))
            assert created is not None
            yield Ntfy(url, created[0])
        finally:
            process.terminate()
            process.wait(timeout=10)


@pytest.fixture(scope="module")
def ntfy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ntfy]:
    with server(tmp_path_factory.mktemp("ntfy")) as started:
        yield started


def test_ntfy_gets_the_priority_of_the_severity_and_a_low_one_for_the_end(ntfy: Ntfy, tmp_path: Path) -> None:
    channel = ntfy.channel(tmp_path, "severities")
    for one in (alert(), alert(severity="warning"), alert(severity="info"), alert(status="resolved")):
        deliver(channel, words(parsed(one)))
    # https://docs.ntfy.sh/publish/#message-priority; the default one, 3, is left out of the answer.
    told = [(one["title"].partition(" ")[0], one.get("priority", 3)) for one in ntfy.messages("severities")]
    assert told == [("CRITICAL", 5), ("WARNING", 4), ("INFO", 3), ("RESOLVED", 2)]


def test_ntfy_gets_awkward_names_and_links_as_they_are(ntfy: Ntfy, tmp_path: Path) -> None:
    deliver(ntfy.channel(tmp_path, "awkward"), words(parsed(alert(NASTY))))
    (told,) = ntfy.messages("awkward")
    assert NASTY in told["title"]
    assert f"Where: cluster home, node pve2, qemu/101 ({NASTY})" in told["message"]
    assert "Act: https://watch.example/guests/home/qemu/101/act/start" in told["message"]


def test_a_storm_is_one_message_that_ntfy_does_not_turn_into_a_file(ntfy: Ntfy, tmp_path: Path) -> None:
    storm = [alert(vmid=100 + i) for i in range(50)]
    for one in storm:
        one["annotations"]["description"] = "It has been stopped for two minutes. " * 12
    deliver(ntfy.channel(tmp_path, "storm"), words(parsed(*storm, truncated=150)))
    (told,) = ntfy.messages("storm")
    assert told["title"] == "CRITICAL 200 GuestDown alerts in home"
    assert "attachment" not in told
    assert told["message"].endswith("…")
    assert told["message"].count("Where:") > 3


def test_a_very_long_text_is_cut_before_the_links(ntfy: Ntfy, tmp_path: Path) -> None:
    wordy = alert()
    wordy["annotations"]["description"] = "Es hört nicht auf: 日本語. " * 500
    deliver(ntfy.channel(tmp_path, "long"), words(parsed(wordy)))
    (told,) = ntfy.messages("long")
    assert "attachment" not in told
    assert "日本語" in told["message"]
    assert told["message"].endswith("/act/start")


def test_a_token_that_ntfy_does_not_know_is_told_and_not_shown(ntfy: Ntfy, tmp_path: Path) -> None:
    wrong = "tk_" + "x" * 29
    with pytest.raises(NotDelivered, match=r"401|403") as told:
        deliver(ntfy.channel(tmp_path, "refused", wrong), words(parsed(alert())))
    assert wrong not in str(told.value)
    assert ntfy.messages("refused") == []
