"""One bounded request to a neighbour (Prometheus, Alertmanager): in time, in size, and never by way of a proxy."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import requests

MAX_ANSWER_BYTES = 16 * 1024 * 1024
_CONNECT_TIMEOUT_SECONDS = 2.0
_MAX_REASON_CHARACTERS = 300

_Answer = TypeVar("_Answer")

_log = logging.getLogger(__name__)


class NeighbourUnavailable(Exception):
    """A neighbour could not be asked, or refused: the message says which, where and why. ``status`` is its answer's."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


def ask(
    who: str,
    url: str,
    *,
    method: Literal["GET", "POST", "DELETE"] = "GET",
    params: Mapping[str, Any] | None = None,
    body: Any = None,
    timeout_seconds: float,
) -> Any:
    """The JSON document that the neighbour answers with, None for an empty answer. Raises NeighbourUnavailable.

    The whole answer, not each read of it, has to come in time.
    """
    deadline = time.monotonic() + timeout_seconds
    timeouts = (min(_CONNECT_TIMEOUT_SECONDS, timeout_seconds), timeout_seconds)
    answered = bytearray()
    try:
        with requests.Session() as session:
            session.trust_env = False  # a neighbour is asked directly, never by a proxy of the environment
            with session.request(
                method, url, params=params, json=body, timeout=timeouts, allow_redirects=False, stream=True
            ) as answer:
                for chunk in answer.iter_content(65536):
                    answered += chunk
                    if len(answered) > MAX_ANSWER_BYTES or time.monotonic() > deadline:
                        raise NeighbourUnavailable(f"{who} at {url} answers too much or too slowly")
                if answer.status_code != 200:
                    raise NeighbourUnavailable(
                        f"{who} at {url} answered {answer.status_code}{_reason(answered)}", status=answer.status_code
                    )
        return json.loads(answered) if answered.strip() else None
    except requests.RequestException as error:
        raise NeighbourUnavailable(f"{who} at {url} does not answer ({type(error).__name__})") from error
    except ValueError as error:
        raise NeighbourUnavailable(f"{who} at {url} does not answer in JSON") from error


def first_answer(urls: Sequence[str], question: Callable[[str], _Answer]) -> _Answer:
    """What the first of several of a kind answers, each asked in turn: one that is away costs a time-out, no more.

    Raises NeighbourUnavailable with what each said when none answers.
    """
    said = []
    for url in urls:
        try:
            return question(url)
        except NeighbourUnavailable as error:
            _log.debug("no answer, the next is asked: %s", error)
            said.append(error)
    if len(said) == 1:
        raise said[0]
    raise NeighbourUnavailable("; ".join(map(str, said)))


def _reason(answered: bytearray) -> str:
    text = " ".join(answered[: 4 * _MAX_REASON_CHARACTERS].decode("utf-8", "replace").split())
    return f": {text[:_MAX_REASON_CHARACTERS]}" if text else ""
