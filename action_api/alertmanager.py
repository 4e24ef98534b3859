"""What is asked of Alertmanager besides its webhooks: silences, and alerts of our own. API v2, 0.25 and newer.

https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from action_api.neighbours import NeighbourUnavailable, ask

TIMEOUT_SECONDS = 5.0
_SILENCE_ID = re.compile(r"[0-9A-Za-z-]{1,64}")


class SilenceNotFound(Exception):
    """Alertmanager knows no such silence, or it has ended already."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Matcher(_Part):
    """Which value of a label a silence is about."""

    name: str
    value: str
    isRegex: bool = False  # noqa: N815  Alertmanager's own name
    isEqual: bool = True  # noqa: N815  Alertmanager's own name

    def __str__(self) -> str:
        sign = ("=" if self.isEqual else "!") + ("~" if self.isRegex else ("" if self.isEqual else "="))
        return f'{self.name}{sign}"{self.value}"'


class _Status(_Part):
    state: Literal["active", "pending", "expired"]


class Silence(_Part):
    """A silence as Alertmanager keeps it."""

    id: str
    matchers: Annotated[tuple[Matcher, ...], Field(min_length=1)]
    startsAt: AwareDatetime  # noqa: N815  Alertmanager's own name
    endsAt: AwareDatetime  # noqa: N815  Alertmanager's own name
    createdBy: str  # noqa: N815  Alertmanager's own name
    comment: str
    status: _Status


_SILENCES = TypeAdapter(tuple[Silence, ...])


def timestamp(moment: float) -> str:
    """Unix seconds as Alertmanager reads them."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")


class Alertmanager:
    """The Alertmanager at ``url``. Every call raises NeighbourUnavailable when it does not answer, or refuses."""

    def __init__(self, url: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.url = url
        self._timeout_seconds = timeout_seconds

    def silences(self) -> tuple[Silence, ...]:
        """The silences that are in force or will be; the one that ends first comes first."""
        try:
            known = _SILENCES.validate_python(self._ask("GET", "/api/v2/silences"))
        except ValidationError as error:
            raise NeighbourUnavailable(f"Alertmanager at {self.url} gave an answer of another shape") from error
        return tuple(sorted((s for s in known if s.status.state != "expired"), key=lambda s: (s.endsAt, s.id)))

    def silence(
        self, matchers: Sequence[Matcher], *, starts_at: float, ends_at: float, created_by: str, comment: str
    ) -> str:
        """Silence what matches all of these between two moments (unix seconds); answers the silence's id."""
        body = {
            "matchers": [matcher.model_dump() for matcher in matchers],
            "startsAt": timestamp(starts_at),
            "endsAt": timestamp(ends_at),
            "createdBy": created_by,
            "comment": comment,
        }
        answer = self._ask("POST", "/api/v2/silences", body)
        if not isinstance(answer, dict) or not isinstance(answer.get("silenceID"), str):
            raise NeighbourUnavailable(f"Alertmanager at {self.url} gave an answer of another shape")
        return str(answer["silenceID"])

    def end(self, silence_id: str) -> Silence:
        """End a silence now; answers what it was. Raises SilenceNotFound."""
        # Asked first: Alertmanager answers 500 for one that has ended, and an id may not become part of a path unseen.
        found = next((s for s in self.silences() if s.id == silence_id and _SILENCE_ID.fullmatch(s.id)), None)
        if found is None:
            raise SilenceNotFound(silence_id)
        try:
            self._ask("DELETE", f"/api/v2/silence/{found.id}")
        except NeighbourUnavailable as error:
            if error.status == 404:
                raise SilenceNotFound(silence_id) from error
            raise
        return found

    def post_alerts(self, alerts: Sequence[Mapping[str, Any]]) -> None:
        """Tell of alerts: {"labels", "annotations", "startsAt", "endsAt"} each. Telling one again changes nothing."""
        self._ask("POST", "/api/v2/alerts", list(alerts))

    def _ask(self, method: Literal["GET", "POST", "DELETE"], path: str, body: Any = None) -> Any:
        return ask("Alertmanager", f"{self.url}{path}", method=method, body=body, timeout_seconds=self._timeout_seconds)
