"""The real agent against the real ingest, over TLS with an authority of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.heartbeats.tokens import token
from pvewatch.secrets import Secret
from tests.agents.ingest import TOKEN, Authority, Ingest, await_true, token_file
from tests.agents.linux_agent import AGENT, call, environment, run


def run_inside(script: str, **variables: object) -> subprocess.CompletedProcess[str]:
    """Source the agent, settle its configuration, run a script that may replace its functions."""
    done = subprocess.run(
        ["bash", "-c", f'source "$1"; set -u; LC_ALL=C; INTERVAL=60; settle_config; {script}', "test", AGENT],
        env=environment(None, **variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == ""
    return done


@contextlib.contextmanager
def running(**variables: object) -> Iterator[subprocess.Popen[str]]:
    agent = subprocess.Popen(
        [AGENT, "run"], env=environment(None, **variables), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield agent
    finally:
        if agent.poll() is None:
            os.killpg(agent.pid, signal.SIGKILL)
        agent.communicate(timeout=10)


def test_one_heartbeat_arrives_over_tls(ingest: Ingest, authority: Authority, tmp_path: Path) -> None:
    done = run(
        "once",
        PVEWATCH_URL=ingest.url,
        PVEWATCH_CA_FILE=authority.ca,
        PVEWATCH_TOKEN_FILE=token_file(tmp_path),
        PVEWATCH_BOOT_ID="boot-1",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    record = ingest.record()
    assert (record.count, record.boot_id) == (1, "boot-1")
    assert record.payload is not None
    heartbeat = record.payload.heartbeat()
    assert (heartbeat.sequence, heartbeat.missed) == (1, 0)


def test_everything_can_stand_in_a_configuration_file(ingest: Ingest, authority: Authority, tmp_path: Path) -> None:
    config = tmp_path / "agent.conf"
    config.write_text(
        f"# a comment\n\nURL={ingest.url}/api/v1/heartbeat\nTOKEN_FILE='{token_file(tmp_path)}'\n"
        f'CA_FILE="{authority.ca}"  \nINTERVAL=7',
        encoding="utf-8",
    )
    done = run("--config", config, "once")
    assert (done.returncode, done.stderr) == (0, "")
    record = ingest.record()
    assert record.payload is not None
    assert record.payload.heartbeat().interval_seconds == 7


def test_a_configuration_file_is_never_run(tmp_path: Path) -> None:
    config = tmp_path / "agent.conf"
    config.write_text(f"URL=$(touch {tmp_path}/was-run)\n", encoding="utf-8")
    done = run("--config", config, "once")
    assert done.returncode == 2
    assert not (tmp_path / "was-run").exists()


def test_a_server_that_the_authority_did_not_sign_gets_no_token(ingest: Ingest, tmp_path: Path) -> None:
    done = run_inside("pause() { :; }; deliver", PVEWATCH_URL=ingest.url, PVEWATCH_TOKEN_FILE=token_file(tmp_path))
    assert done.returncode == 1
    assert "certificate" in done.stderr
    assert not any(ingest.app.rejected.values())
    assert ingest.count() == 0


@pytest.mark.parametrize("wrong", [token(Secret("another"), "home", 101), TOKEN.replace(".101.", ".102."), "nonsense"])
def test_a_wrong_token_is_told_with_the_remedy_and_not_tried_again(
    ingest: Ingest, authority: Authority, tmp_path: Path, wrong: str
) -> None:
    done = run(
        "once",
        PVEWATCH_URL=ingest.url,
        PVEWATCH_CA_FILE=authority.ca,
        PVEWATCH_TOKEN_FILE=token_file(tmp_path, wrong),
    )
    assert done.returncode == 1
    assert "HTTP 401" in done.stderr
    assert "pvewatch agent-token" in done.stderr
    assert wrong not in done.stderr
    assert ingest.app.rejected["unauthorized"] == 1


def test_run_counts_its_messages_and_ends_when_told(ingest: Ingest, authority: Authority, tmp_path: Path) -> None:
    with running(
        PVEWATCH_URL=ingest.url,
        PVEWATCH_CA_FILE=authority.ca,
        PVEWATCH_TOKEN_FILE=token_file(tmp_path),
        PVEWATCH_INTERVAL=1,
        PVEWATCH_INITIAL_OFFSET=0,
    ) as agent:
        await_true(lambda: ingest.count() >= 2)
        agent.send_signal(signal.SIGTERM)
        _, complaints = agent.communicate(timeout=5)
    assert (agent.returncode, complaints) == (0, "")
    record = ingest.record()
    assert record.payload is not None
    assert record.payload.sequence == record.count


def test_messages_that_could_not_be_delivered_are_counted_in_the_next_one(
    ingest: Ingest, authority: Authority, tmp_path: Path
) -> None:
    script = "pause() { :; }; good=${URLS[0]}; URLS=(https://127.0.0.1:1/); deliver; deliver; URLS=($good); deliver"
    done = run_inside(
        script,
        PVEWATCH_URL=ingest.url,
        PVEWATCH_CA_FILE=authority.ca,
        PVEWATCH_TOKEN_FILE=token_file(tmp_path),
    )
    assert done.returncode == 0
    assert "delivered again after 2 missed" in done.stderr
    heartbeat = ingest.heartbeat()
    assert (heartbeat.sequence, heartbeat.missed) == (3, 2)


@contextlib.contextmanager
def silent_server() -> Iterator[tuple[int, threading.Event]]:
    """Takes connections and never answers; the event is set once a request came."""
    asked = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    held: list[socket.socket] = []

    def take() -> None:
        with contextlib.suppress(OSError):
            while True:
                held.append(listener.accept()[0])
                held[-1].recv(65_536)
                asked.set()

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], asked
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in held:
            connection.close()
        thread.join(5)


def command_lines(session: int) -> list[bytes]:
    """What everybody on the machine can read about the processes of a session."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ProcessLookupError):
            if os.getsid(int(process.name)) == session:
                found.append((process / "cmdline").read_bytes())
    return found


def test_the_token_is_in_no_command_line_and_an_ended_agent_takes_its_curl_along(tmp_path: Path) -> None:
    with (
        silent_server() as (port, asked),
        running(
            PVEWATCH_URL=f"http://127.0.0.1:{port}",
            PVEWATCH_TOKEN_FILE=token_file(tmp_path),
            PVEWATCH_INITIAL_OFFSET=0,
        ) as agent,
    ):
        assert asked.wait(20)
        lines = command_lines(agent.pid)
        assert any(b"curl" in line for line in lines)
        signature = TOKEN.rpartition(".")[2].encode()
        assert not any(signature in line or b"boot_id" in line for line in lines)

        agent.send_signal(signal.SIGTERM)
        # curl alone would wait twice as long for its answer.
        agent.communicate(timeout=5)
        assert agent.returncode == 0
        await_true(lambda: command_lines(agent.pid) == [], 5)


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({}, "URL: is not set"),
        ({"PVEWATCH_URL": "ftp://x"}, "URL: ftp://x is not"),
        ({"PVEWATCH_URL": 'https://x/"\nurl = "file:///etc/passwd'}, "URL: "),
        ({"PVEWATCH_URL": "http://pvewatch.example:9223"}, "unencrypted; use https"),
        ({"PVEWATCH_URL": "http://localhost.example:9223"}, "unencrypted; use https"),
        ({"PVEWATCH_URL": "https://x:1"}, "TOKEN_FILE: is not set"),
        ({"PVEWATCH_URL": "https://x:1", "PVEWATCH_TOKEN_FILE": "/nonexistent"}, "/nonexistent cannot be read"),
        ({"PVEWATCH_URL": "https://x:1", "PVEWATCH_CA_FILE": "/nonexistent"}, "CA_FILE: /nonexistent"),
        ({"PVEWATCH_INTERVAL": "0"}, "INTERVAL: 0 is not"),
        ({"PVEWATCH_INTERVAL": "1.5"}, "INTERVAL: 1.5 is not"),
        # Above it a guest that is well would count as silent between two heartbeats.
        ({"PVEWATCH_INTERVAL": "61"}, "INTERVAL: 61 is not a whole number of seconds from 1 to 60"),
        ({"PVEWATCH_URL": "https://x:1", "PVEWATCH_INITIAL_OFFSET": "soon"}, "INITIAL_OFFSET: soon"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_named_with_the_remedy(variables: dict[str, str], named: str) -> None:
    done = run("run", **variables)
    assert done.returncode == 2
    assert done.stderr.startswith("pvewatch-agent: ")
    assert named in done.stderr


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_token_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    file = token_file(tmp_path, mode=mode)
    done = run("run", PVEWATCH_URL="https://x:1", PVEWATCH_TOKEN_FILE=file)
    assert done.returncode == 2
    assert f"chmod 600 {file}" in done.stderr


@pytest.mark.parametrize("text", ["", 'x"\nurl = "file:///etc/passwd', "a b"])
def test_a_token_file_with_something_else_is_refused_without_printing_it(tmp_path: Path, text: str) -> None:
    done = run("run", PVEWATCH_URL="https://x:1", PVEWATCH_TOKEN_FILE=token_file(tmp_path, text))
    assert done.returncode == 2
    assert "agent.token" in done.stderr
    assert not text or text not in done.stderr


def test_a_systemd_credential_is_found_without_a_setting(ingest: Ingest, authority: Authority, tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    token_file(tmp_path, mode=0o440).rename(credentials / "token")
    done = run("once", PVEWATCH_URL=ingest.url, PVEWATCH_CA_FILE=authority.ca, CREDENTIALS_DIRECTORY=credentials)
    assert (done.returncode, done.stderr) == (0, "")
    assert ingest.count() == 1


def test_by_hand_the_installed_token_is_found_without_a_setting(
    ingest: Ingest, authority: Authority, tmp_path: Path
) -> None:
    """As after an installation for systemd, which leaves TOKEN_FILE out of the settings."""
    call(
        "DEFAULT_TOKEN_FILE=$1; main once",
        str(token_file(tmp_path)),
        PVEWATCH_URL=ingest.url,
        PVEWATCH_CA_FILE=authority.ca,
    )
    assert ingest.count() == 1


def test_an_answer_that_does_not_end_is_cut_and_told_as_a_failure(tmp_path: Path) -> None:
    """A web server behind a wrong address may answer with a large page."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\n\r\n")
            while True:
                connection.sendall(b"<p>a page without end</p>" * 1000)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    done = run_inside(
        "MAX_ATTEMPTS=1; deliver",
        PVEWATCH_URL=f"http://127.0.0.1:{listener.getsockname()[1]}",
        PVEWATCH_TOKEN_FILE=token_file(tmp_path),
    )
    thread.join(10)
    listener.close()
    assert done.returncode == 1
    assert "not delivered" in done.stderr
    assert len(done.stderr) < 1000


def test_guests_that_boot_together_do_not_speak_together(tmp_path: Path) -> None:
    """By default the first heartbeat comes at a random moment of the first minute, and then one each minute."""
    script = "pause() { echo $1 >&2; ((++PAUSES < 2)) || exit 0; }; deliver() { :; }; PAUSES=0; settle_interval; run"
    variables = {"PVEWATCH_URL": "https://x:1", "PVEWATCH_TOKEN_FILE": token_file(tmp_path)}
    starts = set()
    for _ in range(12):
        offset, interval = map(int, run_inside(script, **variables).stderr.split())
        assert 0 <= offset < 60
        assert interval in (59, 60)  # less what the sending took, by a clock of whole seconds
        starts.add(offset)
    # All twelve at one of sixty moments: once in 60 to the power of 11.
    assert len(starts) > 1


def test_a_running_agent_gives_way_to_the_guests_own_work(ingest: Ingest, authority: Authority, tmp_path: Path) -> None:
    with running(
        PVEWATCH_URL=ingest.url,
        PVEWATCH_CA_FILE=authority.ca,
        PVEWATCH_TOKEN_FILE=token_file(tmp_path),
        PVEWATCH_INITIAL_OFFSET=0,
    ) as agent:
        await_true(lambda: ingest.count() >= 1)
        assert os.getpriority(os.PRIO_PROCESS, agent.pid) == 19
