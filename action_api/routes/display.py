"""How figures, times and states are written on pages: template filters, and the addresses of other tools."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote, urlencode

from flask import Flask
from markupsafe import Markup

from action_api.routes.services import now, services

_UNKNOWN = "\N{EN DASH}"
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")

RUN_WORDS = {
    "pending": ("Waiting for a worker", "warn"),
    "claimed": ("Being checked", "warn"),
    "executing": ("Asking Proxmox VE", "warn"),
    "following": ("Proxmox VE works on it", "warn"),
    "succeeded": ("Succeeded", "good"),
    "failed": ("Failed", "bad"),
    "refused": ("Refused", "idle"),
    "unknown": ("Outcome unknown", "unknown"),
}
INCIDENT_WORDS = {
    "open": ("Open", "bad"),
    "exhausted": ("Needs a person", "bad"),
    "recovered": ("Recovered", "good"),
    "cleared": ("Cleared, not recovered", "warn"),
}
# A shape for each tone, drawn once per page and referred to: colour is never the only difference.
TONE_SHAPES = {
    "good": "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Zm3.6 5.3-4.3 4.6-2.7-2.6 1-1.1 1.7 1.6L10.500 5.200Z",
    "bad": "M8 .8 15.200 8 8 15.200.8 8ZM7.200 4.500v4.300h1.600V4.500Zm0 5.400v1.600h1.600V9.900Z",
    "warn": "M8 1.200 15.500 14.500H.5ZM7.200 6v4h1.600V6Zm0 5v1.600h1.600V11Z",
    "unknown": "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1ZM4.500 7.200h7v1.600h-7Z",
    "idle": "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Zm0 1.600a5.400 5.400 0 1 1 0 10.800A5.400 5.400 0 0 1 8 2.600Z",
}


def span(seconds: float | None) -> str:
    """A length of time in at most two units: 45 s, 12 min, 3 h 20 min, 5 d 4 h."""
    if seconds is None:
        return _UNKNOWN
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86400:
        minutes = whole % 3600 // 60
        return f"{whole // 3600} h {minutes} min" if minutes else f"{whole // 3600} h"
    hours = whole % 86400 // 3600
    return f"{whole // 86400} d {hours} h" if hours else f"{whole // 86400} d"


def size(number: float | None) -> str:
    """Bytes in the largest unit that leaves at least 1."""
    if number is None:
        return _UNKNOWN
    value, unit = float(number), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 or value >= 100 else f"{value:.1f} {_UNITS[unit]}"


def percent(ratio: float | None) -> str:
    """A ratio (0..1) in per cent."""
    if ratio is None:
        return _UNKNOWN
    value = ratio * 100
    return f"{value:.1f} %" if value < 10 else f"{value:.0f} %"


def utc(moment: float) -> str:
    """Unix seconds as a date and time."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def ago(moment: float | None) -> Markup:
    """How long ago, with the exact time in the element for those who ask and for programs."""
    if moment is None:
        return Markup("<span>{}</span>").format("never")
    exact = datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
    return Markup('<time datetime="{}" title="{}">{} ago</time>').format(exact, utc(moment), span(now() - moment))


def badge(word: str, tone: str) -> Markup:
    """A state: shape, colour and word."""
    return Markup('<span class="badge {0}"><svg aria-hidden="true"><use href="#tone-{0}"/></svg>{1}</span>').format(
        tone, word
    )


def sentence(text: str) -> str:
    """A text of another program as a sentence of its own."""
    return text[:1].upper() + text[1:]


def run_badge(state: str) -> Markup:
    """The state of an action run."""
    return badge(*RUN_WORDS.get(state, (state, "unknown")))


def incident_badge(state: str) -> Markup:
    """The state of an incident."""
    return badge(*INCIDENT_WORDS.get(state, (state, "unknown")))


def meter(used: float | None, limit: float | None, label: str) -> Markup:
    """A bar of used and limit. Drawn by attributes: pages carry no inline styles."""
    if used is None or not limit:
        return Markup("")
    ratio = min(1.0, max(0.0, used / limit))
    return Markup(
        '<svg class="bar{}" viewBox="0 0 100 4" preserveAspectRatio="none" role="img" aria-label="{} {}">'
        '<rect class="rail" width="100" height="4"/><rect width="{:.1f}" height="4"/></svg>'
    ).format(" full" if ratio >= 0.9 else "", label, percent(ratio), ratio * 100)


def grafana_overview_url(cluster: str | None = None) -> str:
    """The overview dashboard, of one cluster or of all."""
    base = f"{services().settings.grafana_url}/d/pve-overview"
    return f"{base}?{urlencode({'var-cluster': cluster})}" if cluster else base


def grafana_guest_url(cluster: str, vmid: int) -> str:
    """The dashboard of one guest."""
    chosen = urlencode({"var-cluster": cluster, "var-guest": vmid})
    return f"{services().settings.grafana_url}/d/pve-guest?{chosen}"


def pve_guest_url(web_url: str, guest_id: str) -> str:
    """The guest in Proxmox VE's own interface, whose state lives behind the `#`."""
    return f"{web_url.rstrip('/')}/#v1:0:={quote(guest_id, safe='')}:4:::::::"


def register(app: Flask) -> None:
    """Give templates all of these."""
    app.jinja_env.filters.update(span=span, size=size, percent=percent, utc=utc, ago=ago, sentence=sentence)
    app.jinja_env.globals.update(
        badge=badge,
        run_badge=run_badge,
        incident_badge=incident_badge,
        meter=meter,
        grafana_overview_url=grafana_overview_url,
        grafana_guest_url=grafana_guest_url,
        pve_guest_url=pve_guest_url,
        tone_shapes=TONE_SHAPES,
    )
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
