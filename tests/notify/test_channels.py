"""The rendered channels on real Alertmanagers, 0.25 and 0.28, with services that check what arrives."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from pvewatch.config import Settings, load_settings
from pvewatch.render import notices, write_all
from pvewatch.stack import tools
from pvewatch.stack.ports import free_port
from tests import newer
from tests.notify.services import NASTY, Web, mail_server, web
from tests.rules.servers import running, wait_until

LONG = "It has been stopped for two minutes. " * 400
GUEST = {"cluster": "home", "node": "pve2", "id": "qemu/101", "kind": "qemu", "vmid": "101", "name": NASTY}
DOWN = {"alertname": "GuestDown", "severity": "critical", "tags": "prod;web", **GUEST}
NODE = {"alertname": "NodeLoad", "severity": "warning", "cluster": "away", "node": "pve1"}


def amtool(version: str) -> Path:
    return tools.find("amtool") if version == "0.25" else newer.program("prometheus-alertmanager", "usr/bin/amtool")


def alertmanager(version: str) -> list[str]:
    return [str(tools.find("alertmanager"))] if version == "0.25" else newer.alertmanager()


@dataclass
class Site:
    """A configuration whose channels lead to the services of a test."""

    folder: Path
    version: str

    def secret(self, name: str, value: str) -> dict[str, str]:
        file = self.folder / name
        file.write_text(value)
        file.chmod(0o600)
        return {"file": name}

    def render(self, channels: list[dict[str, Any]], **more: Any) -> Settings:
        monitor = {"token_id": "pvewatch@pve!monitor", "token_secret_env": "UNUSED"}
        document = {
            "clusters": [{"name": "home", "hosts": ["127.0.0.1"], "monitor": monitor}],
            "alertmanager": {"version": self.version, "group_wait_seconds": 0.5, "group_interval_seconds": 1, **more},
            "channels": channels,
        }
        file = self.folder / "pvewatch.yaml"
        file.write_text(yaml.safe_dump(document, allow_unicode=True))
        settings = load_settings(file)
        write_all(settings, self.folder / "rendered", "native")
        return settings

    @property
    def config(self) -> Path:
        return self.folder / "rendered" / "alertmanager" / "alertmanager.yml"

    @contextmanager
    def started(self) -> Iterator[Callable[..., None]]:
        """A real Alertmanager; gives a function that tells it of alerts."""
        url = f"http://127.0.0.1:{free_port()}"
        command = [
            *alertmanager(self.version),
            f"--config.file={self.config}",
            f"--storage.path={self.folder / 'storage'}",
            f"--web.listen-address={url.removeprefix('http://')}",
            "--cluster.listen-address=",
        ]
        with running(command, url, self.folder / "alertmanager.log"):

            def tell(*labels: dict[str, str], ended: bool = False) -> None:
                now = datetime.now(UTC)
                alerts = [
                    {
                        "labels": one,
                        "annotations": {
                            "summary": f"Guest {one.get('name', one['alertname'])} is stopped but should run",
                            "description": LONG if one.get("name") == "long" else "Stopped for two minutes & more.",
                            "runbook_url": "https://watch.example/runbooks/GuestDown",
                            "action_url": "https://watch.example/guests/home/qemu/101/act/start",
                        },
                        "startsAt": (now - timedelta(seconds=5)).isoformat(),
                        "endsAt": (now if ended else now + timedelta(minutes=5)).isoformat(),
                    }
                    for one in labels
                ]
                requests.post(f"{url}/api/v2/alerts", json=alerts, timeout=5).raise_for_status()

            yield tell


@pytest.fixture
def service() -> Iterator[Web]:
    with web() as started:
        yield started


@pytest.fixture(params=["0.25", "0.28"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    return Site(tmp_path, request.param)


def every_channel(site: Site, service: Web) -> list[dict[str, Any]]:
    secret = site.secret
    return [
        {"name": "mail", "type": "email", "to": ["a@b.example"], "sender": "p@b.example", "smarthost": "127.0.0.1:25",
         "username": "u", "password": secret("mail-password", "p"),
         "hours": {"times": ["08:00-18:00"], "weekdays": ["monday:friday"], "location": "Europe/Berlin"}},
        {"name": "discord", "type": "discord", "url": secret("discord", f"{service.url}/discord")},
        {"name": "slack", "type": "slack", "url": secret("slack", f"{service.url}/slack")},
        {"name": "teams", "type": "teams", "url": secret("teams", f"{service.url}/teams")},
        {"name": "telegram", "type": "telegram", "bot_token": secret("bot", "1:x"), "chat_id": -5},
        {"name": "pushover", "type": "pushover", "user_key": secret("user", "u"), "token": secret("app", "t")},
        {"name": "hook", "type": "webhook", "url": f"{service.url}/hook", "bearer": secret("bearer", "b")},
        {"name": "gotify", "type": "gotify", "url": service.url, "token": secret("gotify", "g")},
        {"name": "ntfy", "type": "ntfy", "topic": "x", "repeat_interval_seconds": 3600},
        {"name": "other", "type": "apprise", "url": secret("apprise", "json://127.0.0.1")},
    ]  # fmt: skip


def test_what_is_rendered_for_a_version_is_loaded_by_it(site: Site, service: Web) -> None:
    settings = site.render(every_channel(site, service))
    done = subprocess.run(
        [amtool(site.version), "check-config", site.config], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    relayed = {notice.split(":")[0] for notice in notices(settings)}
    always = {"channel gotify", "channel ntfy", "channel other"}
    sooner = {"channel discord", "channel teams", "channel telegram", "channel pushover"}
    assert relayed == (always | sooner if site.version == "0.25" else always)


def test_no_secret_is_in_the_rendered_configuration(site: Site, service: Web) -> None:
    site.render([{"name": "chat", "type": "slack", "url": site.secret("slack", f"{service.url}/slack/S3CRET")}])
    files = [file for file in (site.folder / "rendered").rglob("*") if file.is_file()]
    (holder,) = [file for file in files if "S3CRET" in file.read_text(encoding="utf-8")]
    assert (holder.name, holder.stat().st_mode & 0o777) == ("chat.url", 0o600)
    site.render([])
    assert not holder.exists(), "the secret of a channel that is gone does not stay"


def test_mail_reads_well_with_awkward_names_and_when_resolved(site: Site) -> None:
    with mail_server() as (address, mails):
        site.render([{"name": "mail", "type": "email", "to": ["a@b.example"], "sender": "p@b.example",
                      "smarthost": address, "require_tls": False}])  # fmt: skip
        with site.started() as tell:
            tell(DOWN)
            wait_until(lambda: len(mails) == 1, "the mail")
            tell(DOWN, ended=True)
            wait_until(lambda: len(mails) == 2, "the mail of the end")
    fired, resolved = mails
    assert fired["Subject"] == f"CRITICAL Guest {NASTY} is stopped but should run"
    assert resolved["Subject"] == f"RESOLVED Guest {NASTY} is stopped but should run"
    plain, rich = (part.get_content() for part in fired.iter_parts())
    assert f"Where: cluster home, node pve2, qemu/101 ({NASTY})" in plain
    assert "Runbook: https://watch.example/runbooks/GuestDown" in plain
    assert "&lt;b&gt;" in rich
    assert "<b>&#34;mail" not in rich
    assert 'href="https://watch.example/guests/home/qemu/101/act/start"' in rich


def test_slack_gets_its_markup_escaped_and_the_colour_of_the_state(site: Site, service: Web) -> None:
    site.render([{"name": "chat", "type": "slack", "url": site.secret("slack", f"{service.url}/slack")}])
    with site.started() as tell:
        tell(DOWN)
        wait_until(lambda: len(service.at("/slack")) == 1, "Slack's message")
        tell(DOWN, ended=True)
        wait_until(lambda: len(service.at("/slack")) == 2, "the end")
    (fired,), (resolved,) = (body["attachments"] for body in service.at("/slack"))
    assert "web &amp; &lt;b&gt;" in fired["title"]
    assert "<https://watch.example/runbooks/GuestDown|Runbook>" in fired["text"]
    assert (fired["color"], resolved["color"]) == ("#c62828", "#2e7d32")
    assert resolved["title"].startswith("RESOLVED")


def test_discord_teams_and_telegram_are_native_since_0_28(tmp_path: Path, service: Web) -> None:
    site = Site(tmp_path, "0.28")
    site.render(
        [
            {"name": "d", "type": "discord", "url": site.secret("discord", f"{service.url}/discord")},
            {"name": "t", "type": "teams", "url": site.secret("teams", f"{service.url}/teams")},
            {"name": "tg", "type": "telegram", "bot_token": site.secret("bot", "7:tok"), "chat_id": -5,
             "message_thread_id": 3, "api_url": service.url},
        ]
    )  # fmt: skip
    with site.started() as tell:
        tell(DOWN)
        wait_until(lambda: all(map(service.at, ("/discord", "/teams", "/bot7:tok/sendMessage"))), "all three")
    # https://discord.com/developers/docs/resources/webhook#execute-webhook
    (embed,) = service.at("/discord")[0]["embeds"]
    assert embed["title"].startswith("CRITICAL Guest")
    assert NASTY in embed["description"]
    # https://learn.microsoft.com/en-us/connectors/teams/: an adaptive card
    card = service.at("/teams")[0]["attachments"][0]
    assert card["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert "[Runbook](https://watch.example/runbooks/GuestDown)" in str(card["content"]["body"])
    # https://core.telegram.org/bots/api#sendmessage
    sent = service.at("/bot7:tok")[0]
    assert (str(sent["chat_id"]), sent["parse_mode"], str(sent["message_thread_id"])) == ("-5", "HTML", "3")
    assert "web &amp; &lt;b&gt;" in sent["text"]
    assert '<a href="https://watch.example/runbooks/GuestDown">Runbook</a>' in sent["text"]


def test_a_very_long_text_still_arrives(tmp_path: Path, service: Web) -> None:
    site = Site(tmp_path, "0.28")
    site.render(
        [
            {"name": "d", "type": "discord", "url": site.secret("discord", f"{service.url}/discord")},
            {
                "name": "tg",
                "type": "telegram",
                "bot_token": site.secret("bot", "7:tok"),
                "chat_id": -5,
                "api_url": service.url,
            },
        ]
    )
    with site.started() as tell:
        tell(DOWN | {"name": "long"})
        wait_until(lambda: all(map(service.at, ("/discord", "/bot7:tok"))), "both")
    assert len(service.at("/discord")[0]["embeds"][0]["description"]) <= 4096
    assert len(service.at("/bot7:tok")[0]["text"]) <= 4096


def test_a_channel_hears_of_its_severities_clusters_and_tags_alone(site: Site, service: Web) -> None:
    def hook(name: str, **limits: Any) -> dict[str, Any]:
        return {"name": name, "type": "webhook", "url": f"{service.url}/{name}/", **limits}

    site.render(
        [
            hook("all"),
            hook("bad", severities=["critical"]),
            hook("home", clusters=["home"]),
            hook("prod", tags=["prod"]),
            hook("pro", tags=["pro"]),
            hook("mute", hours={"times": ["00:00-00:01"], "weekdays": ["monday"], "location": "UTC"})
            if datetime.now(UTC).weekday() != 0
            else hook("mute", hours={"weekdays": ["sunday"]}),
        ]
    )
    with site.started() as tell:
        tell(DOWN, NODE)
        wait_until(
            lambda: len(service.at("/all/")) == 2 and all(map(service.at, ("/bad/", "/home/", "/prod/"))), "them"
        )
    told = {name: sorted(body["commonLabels"]["alertname"] for body in service.at(f"/{name}/"))
            for name in ("all", "bad", "home", "prod", "pro", "mute")}  # fmt: skip
    assert told == {
        "all": ["GuestDown", "NodeLoad"],
        "bad": ["GuestDown"],
        "home": ["GuestDown"],
        "prod": ["GuestDown"],
        "pro": [],
        "mute": [],
    }


def test_what_alertmanager_does_not_speak_goes_to_the_relay_with_its_token(site: Site, service: Web) -> None:
    settings = site.render([{"name": "phone", "type": "gotify", "url": service.url, "token": site.secret("g", "g")}])
    # The action API is played by the service: what the relay makes of it is tested on its own.
    text = site.config.read_text(encoding="utf-8").replace(settings.action_api_url, service.url)
    site.config.write_text(text, encoding="utf-8")
    with site.started() as tell:
        tell(DOWN)
        wait_until(lambda: bool(service.at("/webhook/notify/phone")), "the relayed message")
    request = next(one for one in service.requests if one.path == "/webhook/notify/phone")
    secret = (settings.data_dir / "secrets" / "webhook").read_text().strip()
    assert request.headers["authorization"] == f"Bearer {secret}"
    assert request.body["alerts"][0]["labels"]["name"] == NASTY
