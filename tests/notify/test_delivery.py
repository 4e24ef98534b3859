"""One message to one service: the address, the urgency, and what is said when it is not taken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apprise
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from action_api.notifiers.addresses import Urgency, address
from action_api.notifiers.delivery import NotDelivered, deliver, within_bytes
from action_api.notifiers.wording import Words, words
from pvewatch.settings_channels import Channel, SecretSource
from tests.notify.messages import alert, parsed
from tests.notify.services import NASTY, Web, web

CHANNEL: TypeAdapter[Channel] = TypeAdapter(Channel)
TOKEN = "AbCd-Ef.Gh_1/2"


@pytest.fixture
def service() -> Iterator[Web]:
    with web() as running:
        yield running


@pytest.fixture
def token(tmp_path: Path) -> dict[str, str]:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    return {"file": str(file)}


def gotify(service: Web, token: dict[str, str]) -> Channel:
    return CHANNEL.validate_python({"name": "phone", "type": "gotify", "url": service.url, "token": token})


def test_gotify_gets_title_text_and_a_priority_that_a_resolved_message_does_not_keep(
    service: Web, token: dict[str, str]
) -> None:
    # https://gotify.net/docs/pushmsg: title, message, priority; the token in a header or the query.
    channel = gotify(service, token)
    deliver(channel, words(parsed(alert(NASTY))))
    deliver(channel, words(parsed(alert(NASTY, status="resolved"))))
    fired, resolved = service.at("/message")
    assert fired["title"].startswith("CRITICAL")
    assert NASTY in fired["message"]
    assert (fired["priority"], resolved["priority"]) == (8, 0)
    assert resolved["title"].startswith("RESOLVED")
    assert service.requests[0].headers["x-gotify-key"] == TOKEN


def test_a_refusal_is_told_with_the_services_words_and_without_the_token(service: Web, token: dict[str, str]) -> None:
    service.refuse = [401]
    with pytest.raises(NotDelivered, match="401") as told:
        deliver(gotify(service, token), words(parsed(alert())))
    assert TOKEN not in str(told.value)


def test_a_service_that_is_not_there_is_told(service: Web, token: dict[str, str]) -> None:
    nowhere = gotify(service, token).model_copy(update={"url": "http://127.0.0.1:1"})
    with pytest.raises(NotDelivered, match="Gotify"):
        deliver(nowhere, words(parsed(alert())))


def test_a_secret_that_cannot_be_read_names_its_file(service: Web, tmp_path: Path) -> None:
    missing = gotify(service, {"file": str(tmp_path / "nothing")})
    with pytest.raises(NotDelivered, match="nothing cannot be read"):
        deliver(missing, words(parsed(alert())))


def test_an_address_that_apprise_does_not_know_is_told_without_showing_it(tmp_path: Path) -> None:
    file = tmp_path / "address"
    file.write_text("nonsense://secret-part")
    file.chmod(0o600)
    channel = CHANNEL.validate_python({"name": "other", "type": "apprise", "url": {"file": str(file)}})
    with pytest.raises(NotDelivered) as told:
        deliver(channel, words(parsed(alert())))
    assert "secret-part" not in str(told.value)


def test_any_service_that_apprise_knows_can_be_a_channel(service: Web, tmp_path: Path) -> None:
    file = tmp_path / "address"
    file.write_text(service.url.replace("http", "json", 1) + "/mine")
    file.chmod(0o600)
    channel = CHANNEL.validate_python({"name": "other", "type": "apprise", "url": {"file": str(file)}})
    deliver(channel, words(parsed(alert(NASTY))))
    (body,) = service.at("/mine")
    assert NASTY in body["message"]


def test_no_service_is_sent_more_than_it_takes(service: Web, token: dict[str, str]) -> None:
    # What apprise knows of Gotify: 32768 characters, 250 of the title.
    deliver(gotify(service, token), Words("T" * 1000, "x" * 100_000, "warning"))
    (sent,) = service.at("/message")
    assert (len(sent["title"]) <= 250, len(sent["message"]) <= 32768) == (True, True)


@given(st.text(max_size=60), st.integers(3, 70))
def test_a_text_that_is_cut_to_bytes_stays_text(text: str, limit: int) -> None:
    cut = within_bytes(text, limit)
    assert len(cut.encode()) <= limit
    assert cut == text or (cut.endswith("…") and text.startswith(cut[:-1]))


WORKFLOW = (
    "https://prod-15.uksouth.logic.azure.com:443/workflows/3a4b5c/triggers/manual/paths/invoke"
    "?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=abcDEF"
)
DISCORD = "https://discord.com/api/webhooks/4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js"
SLACK = "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
URL = {"url": {"env": "S"}}
GROUP = {"chat_id": -100123, "message_thread_id": 7}
TOPIC = {"url": "https://ntfy.example:8443", "topic": "alerts", "token": {"env": "S"}}
ADDRESSES: list[tuple[dict[str, Any], str, str]] = [
    ({"type": "discord", **URL}, DISCORD, "NotifyDiscord"),
    ({"type": "slack", "via": "relay", **URL}, SLACK, "NotifySlack"),
    ({"type": "teams", **URL}, WORKFLOW, "NotifyWorkflows"),
    ({"type": "telegram", "bot_token": {"env": "S"}, **GROUP}, "123456789:abcdefg_hijklmnop", "NotifyTelegram"),
    ({"type": "pushover", "user_key": {"env": "S"}, "token": {"env": "S"}}, "a" * 30, "NotifyPushover"),
    ({"type": "ntfy", **TOPIC}, "tk_abc/def", "NotifyNtfy"),
]


@pytest.mark.parametrize(("channel", "secret", "service"), ADDRESSES, ids=[row[2] for row in ADDRESSES])
@pytest.mark.parametrize("urgency", ["critical", "warning", "info", "resolved"])
def test_apprise_understands_the_address_of_each_channel(
    channel: dict[str, Any], secret: str, service: str, urgency: Urgency
) -> None:
    def reveal(_source: SecretSource) -> str:
        return secret

    known = apprise.Apprise.instantiate(address(CHANNEL.validate_python({"name": "x", **channel}), urgency, reveal))
    assert type(known).__name__ == service


def test_what_only_alertmanager_delivers_has_no_address() -> None:
    channel = CHANNEL.validate_python({"name": "hook", "type": "webhook", "url": "http://127.0.0.1:1"})
    with pytest.raises(ValueError, match="does not deliver webhook"):
        address(channel, "info", str)
