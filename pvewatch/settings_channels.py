"""The channels over which people are told of alerts: one model for each kind, and what they have in common.

A channel is delivered by Alertmanager itself where that speaks the service and can read the secret from a file; else
through the action API's relay (`Channel.needs_relay`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from pvewatch.secrets import SecretRef
from pvewatch.settings_base import Seconds, Section, Url

Severity = Literal["critical", "warning", "info"]
Version = tuple[int, int]

# Source: Alertmanager's configuration, checked with `amtool check-config` of 0.25.0 and 0.28.1, one receiver at a time.
ALERTMANAGER_ALWAYS: Version = (0, 0)
ALERTMANAGER_SECRET_FILES: Version = (0, 28)
ALERTMANAGER_NEVER: Version = (9999, 0)

_CHANNEL_NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"
_CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d-(([01]\d|2[0-3]):[0-5]\d|24:00)")
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class SecretSource(Section):
    """Where a secret is: `file` or `env`. The secret itself is never written into pvewatch.yaml."""

    file: Path | None = None
    """File with the secret; refused when others can read it."""
    env: str | None = None
    """Or: the environment variable that holds it."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.file is None) == (self.env is None):
            raise ValueError("give either file or env (never the secret itself)")
        return self

    @property
    def secret(self) -> SecretRef:
        """Reading it is `.resolve()`, by the process that needs it."""
        return SecretRef(file=self.file, env=self.env)


def _clock(value: str) -> str:
    if not _CLOCK.fullmatch(value):
        raise ValueError("write from-to such as 08:00-18:00; over midnight takes two: 22:00-24:00 and 00:00-06:00")
    start, _, end = value.partition("-")
    if start >= end:
        raise ValueError("ends before it begins; over midnight takes two: 22:00-24:00 and 00:00-06:00")
    return value


def _weekdays(value: str) -> str:
    parts = value.split(":")
    if len(parts) > 2 or any(part not in _DAYS for part in parts):
        raise ValueError(f"write a day or from:to, of {', '.join(_DAYS)}")
    if len(parts) == 2 and _DAYS.index(parts[0]) > _DAYS.index(parts[1]):
        raise ValueError("the week begins on monday here; write two entries")
    return value


class Hours(Section):
    """When a channel may speak. Outside of it the channel is silent; what still fires afterwards is told then."""

    times: Annotated[tuple[Annotated[str, AfterValidator(_clock)], ...], Field(max_length=16)] = ()
    """Times of the day such as 08:00-18:00; none: the whole day."""
    weekdays: Annotated[tuple[Annotated[str, AfterValidator(_weekdays)], ...], Field(max_length=7)] = ()
    """Days such as monday:friday; none: every day."""
    location: str = Field(default="UTC", pattern=r"^[A-Za-z0-9_+/-]{1,64}$")
    """The time zone of both, such as Europe/Berlin."""


class ChannelBase(Section):
    """What all channels have in common."""

    native_since: ClassVar[Version] = ALERTMANAGER_NEVER

    name: str = Field(pattern=_CHANNEL_NAME)
    """Its name in messages, metrics and `pvewatch notify test`."""
    severities: Annotated[tuple[Severity, ...], Field(min_length=1)] = ("critical", "warning")
    """Which alerts it tells of."""
    clusters: tuple[Annotated[str, Field(pattern=_CHANNEL_NAME)], ...] = ()
    """Only alerts of these clusters; none: all."""
    tags: tuple[Annotated[str, Field(pattern=r"^[a-z0-9_][a-z0-9_\-+.]*$")], ...] = ()
    """Only alerts of guests with one of these tags; none: all alerts."""
    hours: Hours | None = None
    """When it may speak: `times`, `weekdays`, `location`; none: always."""
    send_resolved: bool = True
    """Tell of the end, too."""
    repeat_interval_seconds: Seconds | None = None
    """Instead of alertmanager.repeat_interval_seconds."""
    via: Literal["auto", "alertmanager", "relay"] = "auto"
    """Who delivers; auto: Alertmanager where its version can, else the action API's relay."""

    def needs_relay(self, version: Version) -> bool:
        """Whether an Alertmanager of that version cannot deliver it without showing the secret in its configuration."""
        return self.via == "relay" or version < self.native_since

    @property
    def secrets(self) -> dict[str, SecretSource]:
        """Setting → where its secret is."""
        values = {setting: getattr(self, setting) for setting in type(self).model_fields}
        return {setting: value for setting, value in values.items() if isinstance(value, SecretSource)}

    @property
    def native_version(self) -> str | None:
        """The first Alertmanager that can deliver it, in words; None: no version can."""
        return None if self.native_since == ALERTMANAGER_NEVER else ".".join(map(str, self.native_since))


class EmailChannel(ChannelBase):
    """Mail over SMTP."""

    native_since: ClassVar[Version] = ALERTMANAGER_ALWAYS

    type: Literal["email"]
    to: Annotated[tuple[Annotated[str, Field(pattern=r"^[^@\s,<>]+@[^@\s,<>]+$")], ...], Field(min_length=1)]
    """Recipients."""
    sender: Annotated[str, Field(pattern=r"^[^@\s,<>]+@[^@\s,<>]+$")]
    """The address it comes from."""
    smarthost: Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:]+\]|[^\s:/]+):\d{1,5}$")]
    """The mail server, host:port; port 465 speaks TLS from the first byte."""
    username: str | None = None
    """To sign in at the mail server."""
    password: SecretSource | None = None
    """`file` or `env`."""
    require_tls: bool = True
    """`false` also sends in clear, for a mail server on this machine."""
    via: Literal["auto", "alertmanager"] = "auto"
    """Alertmanager always delivers it."""

    @model_validator(mode="after")
    def _whole_sign_in(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password go together")
        return self


class DiscordChannel(ChannelBase):
    """A Discord channel's webhook."""

    native_since: ClassVar[Version] = ALERTMANAGER_SECRET_FILES

    type: Literal["discord"]
    url: SecretSource
    """The webhook's address, which is a secret: `file` or `env`."""


class SlackChannel(ChannelBase):
    """A Slack incoming webhook."""

    native_since: ClassVar[Version] = ALERTMANAGER_ALWAYS

    type: Literal["slack"]
    url: SecretSource
    """The webhook's address, which is a secret: `file` or `env`."""


class TeamsChannel(ChannelBase):
    """A Microsoft Teams workflow ("when a webhook request is received")."""

    native_since: ClassVar[Version] = ALERTMANAGER_SECRET_FILES

    type: Literal["teams"]
    url: SecretSource
    """The workflow's address, which is a secret: `file` or `env`."""


class TelegramChannel(ChannelBase):
    """A chat of a Telegram bot."""

    native_since: ClassVar[Version] = ALERTMANAGER_SECRET_FILES

    type: Literal["telegram"]
    bot_token: SecretSource
    """The bot's token: `file` or `env`."""
    chat_id: int
    """The chat; negative for groups."""
    message_thread_id: int | None = None
    """A topic of the group."""
    api_url: Url = "https://api.telegram.org"
    """Another Bot API server."""

    @model_validator(mode="after")
    def _relay_knows_the_public_server(self) -> Self:
        if self.via == "relay" and self.api_url != "https://api.telegram.org":
            raise ValueError("the relay speaks to api.telegram.org alone; leave api_url out, or use via: alertmanager")
        return self


class PushoverChannel(ChannelBase):
    """Pushover, to one user or group."""

    native_since: ClassVar[Version] = ALERTMANAGER_SECRET_FILES

    type: Literal["pushover"]
    user_key: SecretSource
    """The user's or group's key: `file` or `env`."""
    token: SecretSource
    """The application's token: `file` or `env`."""


class WebhookChannel(ChannelBase):
    """Alertmanager's own webhook message, version 4, to a service of yours."""

    native_since: ClassVar[Version] = ALERTMANAGER_ALWAYS

    type: Literal["webhook"]
    # Not Url: a final slash is the service's own business.
    url: Annotated[str, Field(pattern=r"^https?://[^\s/]+(/\S*)?$")]
    """Where it is sent."""
    bearer: SecretSource | None = None
    """A bearer token: `file` or `env`."""
    via: Literal["auto", "alertmanager"] = "auto"
    """Alertmanager always delivers it."""


class GotifyChannel(ChannelBase):
    """An application of a Gotify server."""

    type: Literal["gotify"]
    url: Url
    """The server."""
    token: SecretSource
    """The application's token: `file` or `env`."""
    via: Literal["auto", "relay"] = "auto"
    """The relay always delivers it."""


class NtfyChannel(ChannelBase):
    """A topic of an ntfy server."""

    type: Literal["ntfy"]
    url: Url = "https://ntfy.sh"
    """The server."""
    topic: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    """The topic; on a public server it is as good as a password."""
    token: SecretSource | None = None
    """An access token: `file` or `env`."""
    via: Literal["auto", "relay"] = "auto"
    """The relay always delivers it."""


class AppriseChannel(ChannelBase):
    """Any other service that apprise knows, by its address there."""

    type: Literal["apprise"]
    url: SecretSource
    """The service's apprise address (https://github.com/caronc/apprise/wiki), which holds a secret: `file` or `env`."""
    via: Literal["auto", "relay"] = "auto"
    """The relay always delivers it."""


Channel = Annotated[
    EmailChannel
    | DiscordChannel
    | SlackChannel
    | TeamsChannel
    | TelegramChannel
    | PushoverChannel
    | WebhookChannel
    | GotifyChannel
    | NtfyChannel
    | AppriseChannel,
    Field(discriminator="type"),
]
