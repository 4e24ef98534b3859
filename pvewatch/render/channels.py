"""People's part of alertmanager.yml: a receiver and a route for each channel, and the times at which it may speak.

Alertmanager delivers what its version can; the rest goes to the action API's relay (docs/notifications.md). Secrets are
named by file; `secret_files` says which files have to be there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pvewatch.config import Settings
from pvewatch.render import durations
from pvewatch.render.layouts import Layout
from pvewatch.settings_channels import (
    Channel,
    DiscordChannel,
    EmailChannel,
    Hours,
    PushoverChannel,
    SecretSource,
    SlackChannel,
    TeamsChannel,
    TelegramChannel,
    Version,
    WebhookChannel,
)

OLDEST_VERSION: Version = (0, 25)
TEST_LABEL = "notification_test"
"""A label that sends an alert to the one channel that it names, and nowhere else: for `pvewatch notify test`."""
RELAY_MAX_ALERTS = 50
"""As many alerts of a message reach the relay; the message says how many more there are."""

SecretFile = Callable[[str], str]
"""The path of a channel's secret, by the name of its setting."""

_NO_REDIRECT = {"follow_redirects": False}


def version(settings: Settings) -> Version:
    """The Alertmanager that will read the configuration; without a word about it, the oldest that is supported."""
    if settings.alertmanager.version is None:
        return OLDEST_VERSION
    major, minor = settings.alertmanager.version.split(".")[:2]
    return int(major), int(minor)


def receiver_name(channel: Channel) -> str:
    """The receiver of a channel; no channel's name can clash with pvewatch's own receivers."""
    return f"channel/{channel.name}"


def receivers(settings: Settings, layout: Layout) -> list[dict[str, Any]]:
    """One receiver for each channel."""
    return [_receiver(channel, settings, layout) for channel in settings.channels]


def routes(settings: Settings) -> list[dict[str, Any]]:
    """One route for each channel; all that match are told."""
    return [_route(channel) for channel in settings.channels]


def test_routes(settings: Settings) -> list[dict[str, Any]]:
    """One route for each channel that takes samples alone, whatever the hour."""
    return [
        {
            "matchers": [f'{TEST_LABEL} = "{channel.name}"'],
            "receiver": receiver_name(channel),
            "group_by": ["..."],
            "group_wait": "1s",
        }
        for channel in settings.channels
    ]


def time_intervals(settings: Settings) -> list[dict[str, Any]]:
    """The hours of the channels that have some."""
    return [
        {"name": receiver_name(channel), "time_intervals": [_interval(channel.hours)]}
        for channel in settings.channels
        if channel.hours
    ]


def secret_files(settings: Settings) -> dict[str, SecretSource]:
    """File name → where the secret is, for all that Alertmanager has to read by itself."""
    files = {}
    for channel in settings.channels:
        if not channel.needs_relay(version(settings)):
            for setting, source in channel.secrets.items():
                files[_file_name(channel, setting)] = source
    return files


def notices(settings: Settings) -> list[str]:
    """What a person should know of how the channels are delivered: one sentence for each that takes the relay."""
    reads = ".".join(map(str, version(settings)))
    found = []
    for channel in settings.channels:
        if channel.needs_relay(version(settings)) and channel.via != "relay":
            why = (
                f"Alertmanager {reads} would have its secret in its configuration, or does not know {channel.type}; "
                f"{channel.native_version} and newer deliver it by themselves"
                if channel.native_version
                else f"Alertmanager does not know {channel.type}"
            )
            found.append(f"channel {channel.name}: delivered by the action API's relay, because {why}")
    return found


def _file_name(channel: Channel, setting: str) -> str:
    return f"{channel.name}.{setting}"


def _receiver(channel: Channel, settings: Settings, layout: Layout) -> dict[str, Any]:
    name = {"name": receiver_name(channel)}
    if channel.needs_relay(version(settings)):
        return name | {"webhook_configs": [_relay(channel, layout)]}

    def secret_file(setting: str) -> str:
        return f"{layout.channel_secrets}/{_file_name(channel, setting)}"

    # Alertmanager names the first workflow-based receiver of Teams its second.
    kind = "msteamsv2" if channel.type == "teams" else channel.type
    return name | {f"{kind}_configs": [{"send_resolved": channel.send_resolved, **_native(channel, secret_file)}]}


def _relay(channel: Channel, layout: Layout) -> dict[str, Any]:
    return {
        "url": f"{layout.action_api.url}/webhook/notify/{channel.name}",
        "send_resolved": channel.send_resolved,
        "max_alerts": RELAY_MAX_ALERTS,
        "http_config": {
            "authorization": {"type": "Bearer", "credentials_file": layout.webhook_secret},
            **_NO_REDIRECT,
        },
    }


def _native(channel: Channel, secret_file: SecretFile) -> dict[str, Any]:
    """The receiver's content in alertmanager.yml."""
    http: dict[str, Any] = {"http_config": dict(_NO_REDIRECT)}
    content: dict[str, Any]
    match channel:
        case EmailChannel():
            content = {
                "to": ", ".join(channel.to),
                "from": channel.sender,
                "smarthost": channel.smarthost,
                "require_tls": channel.require_tls,
                "headers": {"Subject": _template("title")},
                "html": _template("html"),
                "text": _template("text"),
            }
            if channel.username:
                content |= {"auth_username": channel.username, "auth_password_file": secret_file("password")}
        case DiscordChannel():
            content = {
                "webhook_url_file": secret_file("url"),
                "title": _template("title"),
                "message": _template("text"),
                **http,
            }
        case SlackChannel():
            content = {
                "api_url_file": secret_file("url"),
                "color": _template("colour"),
                "title": _template("slack.title"),
                "title_link": "",
                "text": _template("slack.text"),
                "fallback": _template("slack.title"),
                **http,
            }
        case TeamsChannel():
            content = {
                "webhook_url_file": secret_file("url"),
                "title": _template("title"),
                "text": _template("markdown"),
                **http,
            }
        case TelegramChannel():
            content = {
                "api_url": channel.api_url,
                "bot_token_file": secret_file("bot_token"),
                "chat_id": channel.chat_id,
                "parse_mode": "HTML",
                "message": _template("telegram"),
                **http,
            }
            if channel.message_thread_id is not None:
                content["message_thread_id"] = channel.message_thread_id
        case PushoverChannel():
            content = {
                "user_key_file": secret_file("user_key"),
                "token_file": secret_file("token"),
                "title": _template("title"),
                "message": _template("text"),
                "priority": _template("pushover.priority"),
                **http,
            }
        case WebhookChannel():
            content = {"url": channel.url, **http}
            if channel.bearer:
                content["http_config"]["authorization"] = {
                    "type": "Bearer",
                    "credentials_file": secret_file("bearer"),
                }
        case _:
            raise ValueError(f"Alertmanager does not deliver {channel.type}")
    return content


def _template(name: str) -> str:
    return f'{{{{ template "pvewatch.{name}" . }}}}'


def _route(channel: Channel) -> dict[str, Any]:
    matchers = [f'severity =~ "{"|".join(channel.severities)}"']
    if channel.clusters:
        matchers.append(f'cluster =~ "{"|".join(map(re.escape, channel.clusters))}"')
    if channel.tags:
        # The label holds a guest's tags as Proxmox VE writes them, joined by semicolons. The backslash is doubled: what
        # stands between the quotes is read as a Go string first.
        wanted = "|".join(re.escape(tag) for tag in channel.tags).replace("\\", "\\\\")
        matchers.append(f'tags =~ "(.*;)?({wanted})(;.*)?"')
    route: dict[str, Any] = {"matchers": matchers, "receiver": receiver_name(channel), "continue": True}
    if channel.repeat_interval_seconds is not None:
        route["repeat_interval"] = durations.written(channel.repeat_interval_seconds)
    if channel.hours:
        route["active_time_intervals"] = [receiver_name(channel)]
    return route


def _interval(hours: Hours) -> Mapping[str, Any]:
    interval: dict[str, Any] = {}
    if hours.times:
        spans = (span.partition("-") for span in hours.times)
        interval["times"] = [{"start_time": start, "end_time": end} for start, _, end in spans]
    if hours.weekdays:
        interval["weekdays"] = list(hours.weekdays)
    return interval | {"location": hours.location}
