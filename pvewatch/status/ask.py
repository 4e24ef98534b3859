"""Requests to the parts of the stack: short, bounded, and a failure is an answer too."""

from __future__ import annotations

import json
from typing import Any

import requests
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

ASK_SECONDS = 5.0
MAX_ANSWER_BYTES = 64 * 1024 * 1024
_CHUNK_BYTES = 256 * 1024


class Silent(Exception):
    """A part did not answer, or not as expected; the message says how."""


def get(url: str) -> bytes:
    """The body of a 200 answer. Raises Silent."""
    try:
        with requests.Session() as session:
            session.trust_env = False  # a proxy of the environment would answer for what runs here
            with session.get(url, timeout=ASK_SECONDS, allow_redirects=False, stream=True) as answer:
                body = bytearray()
                for chunk in answer.iter_content(_CHUNK_BYTES):
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        raise Silent(f"answers with more than {MAX_ANSWER_BYTES} bytes")
    except requests.Timeout as error:
        raise Silent(f"does not answer within {ASK_SECONDS:.0f} s") from error
    except requests.RequestException as error:
        raise Silent("does not answer") from error
    if answer.status_code != 200:
        raise Silent(f"answers {answer.status_code}")
    return bytes(body)


def get_json(url: str) -> Any:
    """The JSON document of a 200 answer. Raises Silent."""
    try:
        return json.loads(get(url))
    except ValueError as error:
        raise Silent("is something else: the answer is not JSON") from error


def get_metrics(url: str, beginning: str) -> list[Metric]:
    """The families on a metrics page whose names begin so. Raises Silent."""
    # Of a large cluster's page only these lines are parsed.
    lines = (line for line in get(url).decode(errors="replace").splitlines() if _about(line, beginning))
    try:
        return list(text_string_to_metric_families("\n".join(lines) + "\n"))
    except ValueError as error:
        raise Silent("is something else: the page has no metrics") from error


def _about(line: str, beginning: str) -> bool:
    return line.removeprefix("# HELP ").removeprefix("# TYPE ").startswith(beginning)
