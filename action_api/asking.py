"""One bounded GET of a neighbour's JSON: Prometheus' or Alertmanager's. Read-only, bounded in time and size."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import requests

MAX_ANSWER_BYTES = 16 * 1024 * 1024
_CONNECT_TIMEOUT_SECONDS = 2.0


class Unanswered(Exception):
    """A neighbour could not be asked; the message says which, where and why."""


def get_json(who: str, url: str, params: Mapping[str, Any], timeout_seconds: float) -> Any:
    """The document at `url`. The whole answer, not each read of it, has to come in time. Raises Unanswered."""
    deadline = time.monotonic() + timeout_seconds
    timeouts = (min(_CONNECT_TIMEOUT_SECONDS, timeout_seconds), timeout_seconds)
    try:
        with requests.Session() as session:
            session.trust_env = False  # a neighbour is asked directly, never by a proxy of the environment
            with session.get(url, params=params, timeout=timeouts, allow_redirects=False, stream=True) as answer:
                if answer.status_code != 200:
                    raise Unanswered(f"{who} at {url} answered {answer.status_code}")
                body = bytearray()
                for chunk in answer.iter_content(65536):
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES or time.monotonic() > deadline:
                        raise Unanswered(f"{who} at {url} answers too much or too slowly")
            return json.loads(body)
    except requests.RequestException as error:
        raise Unanswered(f"{who} at {url} does not answer ({type(error).__name__})") from error
    except ValueError as error:
        raise Unanswered(f"{who} at {url} does not answer in JSON") from error
