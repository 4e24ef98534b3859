"""Log lines: for people on a terminal, for machines elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SCRIPT = """
import logging, sys
from pvewatch.logging import configure
configure(*sys.argv[1:])
log = logging.getLogger("exporter.poller")
log.debug("not asked for")
logging.getLogger("urllib3.connectionpool").info("https://pve1:8006/api2/json/access")
log.info("figures of %s", "home\\nnode", extra={"cluster": "home"})
try:
    raise ValueError("odd answer")
except ValueError:
    log.exception("could not read")
"""


def logged(*arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


@pytest.mark.parametrize("form", ["auto", "json"])
def test_elsewhere_than_on_a_terminal_each_line_is_one_json_object(form: str) -> None:
    figures, failure = (json.loads(line) for line in logged("info", form))

    assert (figures["level"], figures["logger"]) == ("info", "exporter.poller")
    assert (figures["message"], figures["cluster"]) == ("figures of home\nnode", "home")
    assert figures["time"].endswith("+00:00")
    assert failure["level"] == "error"
    assert "ValueError: odd answer" in failure["exception"]


def test_text_can_be_had_everywhere() -> None:
    assert "INFO    exporter.poller: figures of home" in logged("info", "text")[0]


def test_libraries_stay_quiet_at_debug_level() -> None:
    lines = [json.loads(line) for line in logged("debug", "json")]

    assert "exporter.poller" in {line["logger"] for line in lines}
    assert "urllib3.connectionpool" not in {line["logger"] for line in lines}
