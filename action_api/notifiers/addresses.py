"""The address under which apprise reaches a channel's service, with the priority that fits the message.

Source of the forms: https://github.com/caronc/apprise/wiki, one page for each service.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal
from urllib.parse import quote, urlencode, urlsplit

from pvewatch.settings_channels import (
    AppriseChannel,
    Channel,
    DiscordChannel,
    GotifyChannel,
    NtfyChannel,
    PushoverChannel,
    SecretSource,
    SlackChannel,
    TeamsChannel,
    TelegramChannel,
)

Urgency = Literal["critical", "warning", "info", "resolved"]

# The services' own scales: Gotify's app makes a noise from 8 on, ntfy's from high on, Pushover's high ignores its quiet
# hours. A resolved message never has the urgency that it had while it fired.
_GOTIFY: Mapping[Urgency, str] = {"critical": "high", "warning": "normal", "info": "moderate", "resolved": "low"}
_NTFY: Mapping[Urgency, str] = {"critical": "max", "warning": "high", "info": "default", "resolved": "low"}
_PUSHOVER: Mapping[Urgency, str] = {"critical": "high", "warning": "normal", "info": "low", "resolved": "low"}


def address(channel: Channel, urgency: Urgency, reveal: Callable[[SecretSource], str]) -> str:
    """The whole address, secrets included: for apprise alone, never for a log.

    `reveal` reads a secret. Raises ValueError for a channel that only Alertmanager delivers.
    """
    match channel:
        case GotifyChannel():
            return _at("gotify", channel.url, f"/{_part(reveal(channel.token))}", priority=_GOTIFY[urgency])
        case NtfyChannel():
            sign_in = {"auth": "token", "token": reveal(channel.token)} if channel.token else {}
            return _at("ntfy", channel.url, f"/{channel.topic}", mode="private", priority=_NTFY[urgency], **sign_in)
        case PushoverChannel():
            user, token = _part(reveal(channel.user_key)), _part(reveal(channel.token))
            return f"pover://{user}@{token}/?{urlencode({'priority': _PUSHOVER[urgency]})}"
        case TelegramChannel():
            thread = {} if channel.message_thread_id is None else {"topic": str(channel.message_thread_id)}
            options = urlencode({"detect": "no", "silent": "yes" if urgency == "resolved" else "no", **thread})
            return f"tgram://{_part(reveal(channel.bot_token), keep=':')}/{channel.chat_id}/?{options}"
        case DiscordChannel() | SlackChannel() | TeamsChannel() | AppriseChannel():
            # apprise knows the addresses that these services give out.
            return reveal(channel.url)
        case _:
            raise ValueError(f"channel {channel.name}: the relay does not deliver {channel.type}")


def _part(text: str, keep: str = "") -> str:
    return quote(text, safe=keep)


def _at(schema: str, url: str, path: str, **options: str) -> str:
    parts = urlsplit(url)
    secure = "s" if parts.scheme == "https" else ""
    return f"{schema}{secure}://{parts.netloc}{parts.path}{path}?{urlencode(options)}"
