"""The agent where bash and curl are the only programs beside busybox's: Alpine, OpenWrt and their like."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from pvewatch.stack import debian, tools
from tests.agents.ingest import Authority, Ingest, await_true, token_file
from tests.agents.linux_agent import AGENT, environment
from tests.agents.test_linux_contract import fields

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "machines" / "busybox"


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is all of PATH: busybox's programs, bash and curl. Fetches busybox where the machine has none."""
    busybox = shutil.which("busybox") or shutil.which("busybox", path=CACHE / "root" / "bin")
    if busybox is None:
        debian.unpack(["busybox-static"], CACHE)
        busybox = str(CACHE / "root" / "bin" / "busybox")
    folder = tmp_path_factory.mktemp("busybox")
    listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True, timeout=10).stdout
    for name in listed.split():
        (folder / name).symlink_to(busybox)
    bash = shutil.which("bash")
    assert bash is not None
    (folder / "bash").symlink_to(bash)
    (folder / "curl").symlink_to(tools.find("curl"))
    return folder


def started(programs: Path, *arguments: str, **variables: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [programs / "bash", AGENT, *arguments],
        env=environment(None, **variables) | {"PATH": str(programs)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_it_measures_the_same_fields_as_with_coreutils(programs: Path) -> None:
    coreutils = subprocess.run([AGENT, "--dry-run"], capture_output=True, env=environment(), check=True, timeout=30)
    out, complaints = started(programs, "--dry-run").communicate(timeout=30)
    assert complaints == ""
    assert fields(json.loads(out)) == fields(json.loads(coreutils.stdout))


def test_it_is_heard_over_tls_and_keeps_its_counters_from_one_process_to_the_next(
    programs: Path, ingest: Ingest, authority: Authority, tmp_path: Path
) -> None:
    for _ in range(2):
        agent = started(
            programs,
            "once",
            PVEWATCH_URL=ingest.url,
            PVEWATCH_CA_FILE=authority.ca,
            PVEWATCH_TOKEN_FILE=token_file(tmp_path),
            PVEWATCH_STATE_FILE=tmp_path / "state",
        )
        assert agent.communicate(timeout=30) == ("", "")
        assert agent.returncode == 0
    heartbeat = ingest.heartbeat()
    assert heartbeat.sequence == 2


def test_run_goes_on_until_it_is_told_to_end(
    programs: Path, ingest: Ingest, authority: Authority, tmp_path: Path
) -> None:
    agent = started(
        programs,
        "run",
        PVEWATCH_URL=ingest.url,
        PVEWATCH_CA_FILE=authority.ca,
        PVEWATCH_TOKEN_FILE=token_file(tmp_path),
        PVEWATCH_INTERVAL=1,
        PVEWATCH_INITIAL_OFFSET=0,
    )
    try:
        await_true(lambda: ingest.count() >= 2)
        agent.send_signal(signal.SIGTERM)
        assert agent.communicate(timeout=10) == ("", "")
        assert agent.returncode == 0
    finally:
        if agent.poll() is None:
            os.killpg(agent.pid, signal.SIGKILL)


def test_a_token_file_that_others_can_read_is_refused(programs: Path, tmp_path: Path) -> None:
    """busybox's stat tells the mode as coreutils' does."""
    file = token_file(tmp_path, mode=0o644)
    agent = started(programs, "once", PVEWATCH_URL="https://x:1", PVEWATCH_TOKEN_FILE=file)
    _, complaints = agent.communicate(timeout=30)
    assert agent.returncode == 2
    assert f"chmod 600 {file}" in complaints
