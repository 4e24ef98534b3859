"""Sends one message over one channel, and says in words what the service answered."""

from __future__ import annotations

import os
from collections.abc import Mapping

import apprise

from action_api.notifiers.addresses import address
from action_api.notifiers.wording import Words
from pvewatch.config import ConfigError
from pvewatch.settings_channels import Channel, SecretSource

NTFY_BYTES = 4000
"""Some fewer than what ntfy takes by default; it makes a file of a longer text, or refuses it.

Source: https://docs.ntfy.sh/config/, message-size-limit.
"""
SEND_SECONDS = 30.0
"""After this time a service is given up; connecting and reading have bounds of 4 s each within apprise."""


class NotDelivered(Exception):
    """The service did not take the message; the text says what it answered, without secrets."""


def deliver(channel: Channel, words: Words, env: Mapping[str, str] | None = None) -> None:
    """Send it, waiting at most SEND_SECONDS. Raises NotDelivered; a secret that cannot be read is one reason."""
    secrets: list[str] = []

    def reveal(source: SecretSource) -> str:
        secrets.append(source.secret.resolve(os.environ if env is None else env).reveal())
        return secrets[-1]

    try:
        target = address(channel, words.urgency, reveal)
    except ConfigError as error:
        raise NotDelivered("; ".join(f"{p.place} {p.message}: {p.remedy}" for p in error.problems)) from error
    services = apprise.Apprise()
    if not services.add(target):
        raise NotDelivered(f"channel {channel.name}: this is no address that apprise knows; look at its wiki")
    for service in services:
        # apprise knows what each service takes; by default it sends more, and is refused.
        service.overflow_mode = apprise.OverflowMode.TRUNCATE
    body = within_bytes(words.body, NTFY_BYTES) if channel.type == "ntfy" else words.body
    result = services.notify(title=words.title, body=body, body_format=apprise.NotifyFormat.TEXT, timeout=SEND_SECONDS)
    if not result:
        said = " ".join(entry.message for entry in result.logs() if entry.level in ("WARNING", "ERROR"))
        for secret in secrets:
            said = said.replace(secret, "…")
        raise NotDelivered(said or "no answer in time")


def within_bytes(text: str, limit: int) -> str:
    """As much of it as fits into `limit` bytes of UTF-8, an ellipsis included where something is missing."""
    encoded = text.encode()
    if len(encoded) <= limit:
        return text
    return encoded[: limit - len("…".encode())].decode(errors="ignore") + "…"
