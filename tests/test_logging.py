"""Log lines: for people on a terminal, for machines elsewhere."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
import requests
from flask import Flask

from pvewatch.logging import about
from pvewatch.serve import serve

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


ABOUT = """
import logging, threading
from pvewatch.logging import about, configure
configure("info", "FORM")
log = logging.getLogger("worker")
with about(cluster="home"):
    with about(run=7):
        log.info("begins")
    log.info("goes on")
    thread = threading.Thread(target=lambda: log.info("another's"))
    thread.start()
    thread.join()
log.info("ends")
"""


def said_about(form: str) -> list[str]:
    script = ABOUT.replace("FORM", form)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return done.stderr.splitlines()


def test_lines_say_what_they_are_about_and_only_those_of_the_same_thread() -> None:
    lines = [json.loads(line) for line in said_about("json")]

    assert [(line.get("cluster"), line.get("run")) for line in lines] == [
        ("home", 7),
        ("home", None),
        (None, None),
        (None, None),
    ]


def test_in_text_it_stands_at_the_end() -> None:
    begins, *_, ends = said_about("text")

    assert begins.endswith("worker: begins  [cluster=home run=7]")
    assert ends.endswith("worker: ends")


@pytest.fixture
def served() -> Iterator[str]:
    app = Flask(__name__)

    @app.get("/")
    def page() -> str:
        # What a line logged here would carry.
        from pvewatch.logging import _about  # noqa: PLC0415  looked at, not used

        return json.dumps(dict(_about.get()))

    server = serve(app, "127.0.0.1:0").start()
    yield f"http://127.0.0.1:{server.address[1]}/"
    server.stop()


def test_every_request_has_an_id_that_its_lines_and_its_answer_carry(served: str) -> None:
    first, second = requests.get(served, timeout=30), requests.get(served, timeout=30)

    assert first.json() == {"request": first.headers["X-Request-ID"]}
    assert first.headers["X-Request-ID"] != second.headers["X-Request-ID"]


def test_the_id_of_a_proxy_in_front_is_kept_and_an_odd_one_is_not(served: str) -> None:
    kept = requests.get(served, headers={"X-Request-ID": "trace-1.a_B"}, timeout=30)
    odd = requests.get(served, headers={"X-Request-ID": "x" * 65}, timeout=30)

    assert kept.json() == {"request": "trace-1.a_B"}
    assert kept.headers["X-Request-ID"] == "trace-1.a_B"
    assert len(odd.headers["X-Request-ID"]) == 16


def test_what_lines_are_about_ends_with_the_block() -> None:
    with pytest.raises(RuntimeError), about(cluster="home"):
        raise RuntimeError
    with about():
        from pvewatch.logging import _about  # noqa: PLC0415  looked at, not used

        assert dict(_about.get()) == {}


LIVE = """
import logging, sys
from pvewatch.logging import configure
configure("warning", "auto")
print("ready", flush=True)
for line in sys.stdin:
    logging.getLogger("exporter").debug("details")
    logging.getLogger("urllib3.connectionpool").debug("headers")
    logging.getLogger("exporter").warning("asked %s", line.strip())
"""


def test_the_level_of_a_running_process_is_changed_by_signals() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", LIVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    assert process.stderr
    try:

        def lines_until(message: str) -> list[str]:
            found: list[str] = []
            while message not in found:
                found.append(json.loads(process.stderr.readline())["message"])  # type: ignore[union-attr]  # asserted
            return found

        def ask(word: str) -> list[str]:
            process.stdin.write(f"{word}\n")  # type: ignore[union-attr]  # asserted
            process.stdin.flush()  # type: ignore[union-attr]  # asserted
            return lines_until(f"asked {word}")

        assert process.stdout.readline() == "ready\n"
        assert ask("first") == ["asked first"]

        process.send_signal(signal.SIGUSR1)
        lines_until("the log level is debug now")
        assert ask("second") == ["details", "asked second"]

        process.send_signal(signal.SIGUSR2)
        lines_until("the log level is warning now")
        assert ask("third") == ["asked third"]
    finally:
        process.kill()
        process.communicate(timeout=30)


def test_on_a_terminal_lines_are_text() -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, "info", "auto"], stderr=slave)
    os.close(slave)
    said = ""
    try:
        while "figures of" not in said:
            assert select.select([master], [], [], 60)[0], said
            said += os.read(master, 4096).decode()
    finally:
        process.wait(60)
        os.close(master)
    assert "INFO    exporter.poller: figures of home" in said
