"""Serves recorded answers instead of a simulated cluster.

A recording is a JSON file {"request": {"method", "path", "token", "host", …}, "status", "reason", "headers", "body",
"raw"?}. One directory usually holds several answers to the same request: from different moments, tokens and troubles.
Which one is served is decided so that all of them together show one healthy cluster:

1. Only what the most used token saw on the most used host; the answers of other tokens are never mixed in.
2. Nothing recorded while something was broken on purpose or just after a change: a file name with one of the words
   `noquorum`, `outage`, `after`, or one that ends in `cut`.
3. Status 200 before any other, then file names without a passing state (`locked`, `paused`, `stopped`, …).
4. Then what was recorded nearest to the reference moment: that of the newest whole-cluster answer
   (/cluster/resources) that is left by then.

Requests match by method, path and query, in any order of its parameters; a parameter that only narrows an answer is
passed over where nothing was recorded with it. Bodies of requests are not compared.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pvewatch.simulator.answers import Refusal
from pvewatch.simulator.https import API_PREFIX, Reply, refusal_reply
from pvewatch.simulator.permissions import Token, authenticate
from pvewatch.simulator.routes import Request

_TROUBLE = frozenset({"noquorum", "outage", "after"})
_PASSING = frozenset({"locked", "paused", "stopped", "coldstart", "suspended", "wrong"})
_REFERENCE = ("GET", "/cluster/resources", frozenset[tuple[str, str]]())
# What else is listed is told apart by whoever reads it. No guest that was recorded had changes waiting for its start.
_NARROWING = frozenset({("type", "any_bridge"), ("content", "vztmpl"), ("current", "1")})
_Key = tuple[str, str, frozenset[tuple[str, str]]]


class NoRecordings(ValueError):
    """The directory holds nothing that can be replayed."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded answer and what decides whether it is served."""

    key: _Key
    witness: tuple[str, str]  # token and host
    words: frozenset[str]
    recorded_at: float
    reply: Reply

    @property
    def troubled(self) -> bool:
        """Recorded while something was broken or in change."""
        return bool(self.words & _TROUBLE) or any(word.endswith("cut") for word in self.words)

    def order(self, reference: float) -> tuple[bool, bool, float]:
        """What comes first is served."""
        return (self.reply.status != 200, bool(self.words & _PASSING), abs(self.recorded_at - reference))


@dataclass(frozen=True, slots=True)
class Recordings:
    """The answers that are served, one for each request."""

    answers: dict[_Key, Reply]

    @classmethod
    def load(cls, directory: Path) -> Recordings:
        """Read a directory and choose; raises NoRecordings when nothing is left."""
        found = [
            recording
            for file in sorted(directory.glob("*.json"))
            if (recording := _read(file)) and not recording.troubled
        ]
        if not found:
            raise NoRecordings(f"{directory}: no recorded answers; expected JSON files with request, status and body")
        witness = Counter(recording.witness for recording in found).most_common(1)[0][0]
        found = [recording for recording in found if recording.witness == witness]
        whole = [
            recording.recorded_at
            for recording in found
            if recording.key == _REFERENCE and recording.order(0.0)[:2] == (False, False)
        ]
        reference = max(whole or [recording.recorded_at for recording in found])
        chosen: dict[_Key, Recording] = {}
        for recording in found:
            present = chosen.get(recording.key)
            if present is None or recording.order(reference) < present.order(reference):
                chosen[recording.key] = recording
        return cls({key: recording.reply for key, recording in chosen.items()})

    def answer(self, request: Request) -> Reply:
        """The recorded answer, or a 501 whose reason says that nobody recorded one."""
        key = (request.method, request.path, frozenset(request.parameters.items()))
        # The parameters of a POST stand in its body, which is not compared.
        plain = key[2] - _NARROWING if request.method == "GET" else _REFERENCE[2]
        reply = self.answers.get(key) or self.answers.get((request.method, request.path, plain))
        if reply is None:
            return refusal_reply(Refusal(501, f"no recorded answer to {request.method} {request.path}", newline=False))
        return reply


def replay_responder(recordings: Recordings, tokens: tuple[Token, ...]) -> Callable[[Request], Reply]:
    """What the HTTPS listener asks for each request; any of the printed tokens will do."""

    def respond(request: Request) -> Reply:
        try:
            authenticate(request.authorization, tokens, ticket=request.ticket)
        except Refusal as refusal:
            return refusal_reply(refusal)
        return recordings.answer(request)

    return respond


def _read(file: Path) -> Recording | None:
    """A recording, None for anything else: another file, an answer that never came, one that is not readable text."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        request, status, reason = content["request"], content["status"], content["reason"]
        url = urlsplit(str(request["path"]))
        headers = {str(name).lower(): str(value) for name, value in content["headers"]}
        recorded_at = parsedate_to_datetime(headers["date"]).timestamp()
        body = content.get("body")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not isinstance(status, int) or not url.path.startswith(API_PREFIX) or "content-encoding" in headers:
        return None
    return Recording(
        key=(
            str(request["method"]),
            unquote(url.path).removeprefix(API_PREFIX).rstrip("/") or "/",
            frozenset(parse_qsl(url.query, keep_blank_values=True)),
        ),
        witness=(str(request.get("token")), str(request.get("host"))),
        words=frozenset(re.split(r"[-.]", file.stem)),
        recorded_at=recorded_at,
        reply=Reply(status, str(reason), _body_bytes(body, content)),
    )


def _body_bytes(body: Any, content: dict[str, Any]) -> bytes | None:
    if body is not None:
        return json.dumps(body, separators=(",", ":")).encode()
    raw = content.get("raw")
    return str(raw).encode() if raw else None
