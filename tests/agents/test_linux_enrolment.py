"""What `pvewatch agents install-command` prints, piped into bash as `ssh root@guest bash` does, up to a heartbeat."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from exporter.heartbeats.enrolment import install_script
from tests.agents.ingest import TOKEN, Authority, Ingest

# What would change this machine; each notes its arguments. The units and cron themselves are test_linux_systemd.py's.
STAND_INS = ("systemctl", "crontab", "useradd", "chown")


@pytest.fixture
def guest(tmp_path: Path) -> dict[str, str]:
    """The environment of an empty guest below tmp_path."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in STAND_INS:
        file = programs / name
        file.write_text(
            f'#!/bin/sh\n[ "$1" != --version ] || echo "systemd 252"\necho {name} "$@" >>{tmp_path}/called\n'
        )
        file.chmod(0o755)
    (tmp_path / "root").mkdir()
    (tmp_path / "tmp").mkdir()
    return {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PVEWATCH_ROOT": str(tmp_path / "root"),
        "TMPDIR": str(tmp_path / "tmp"),
    }


def run(guest: dict[str, str], script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash"], input=script, env=guest, capture_output=True, text=True, timeout=60, check=False)


def test_a_guest_reports_after_its_installer_was_piped_into_a_shell(
    guest: dict[str, str], tmp_path: Path, ingest: Ingest, authority: Authority
) -> None:
    script = install_script("linux", "home/101", TOKEN, ingest.url, authority=authority.ca.read_text())
    done = run(guest, script)
    assert done.returncode == 0, done.stdout + done.stderr

    settings = tmp_path / "root" / "etc" / "pvewatch"
    assert stat.S_IMODE((settings / "agent.token").stat().st_mode) == 0o600
    assert (settings / "ca.pem").read_text() == authority.ca.read_text()
    assert list((tmp_path / "tmp").iterdir()) == [], "the token must not be left in a temporary folder"
    assert TOKEN not in (tmp_path / "called").read_text(), "an argument is seen by every user of the guest"
    assert TOKEN not in done.stdout + done.stderr

    agent = tmp_path / "root" / "usr/local/lib/pvewatch-agent/pvewatch-agent"
    own = {"PVEWATCH_TOKEN_FILE": str(settings / "agent.token"), "PVEWATCH_CA_FILE": str(settings / "ca.pem")}
    sent = subprocess.run(
        ["bash", agent, "--config", settings / "agent.conf", "once"], env={**os.environ, **own}, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert sent.returncode == 0, sent.stderr
    assert ingest.count() == 1


def test_the_installer_run_again_keeps_settings_and_takes_the_new_token(
    guest: dict[str, str], tmp_path: Path, ingest: Ingest
) -> None:
    assert run(guest, install_script("linux", "home/101", "v1.home.101.old", ingest.url)).returncode == 0
    conf = tmp_path / "root/etc/pvewatch/agent.conf"
    conf.write_text(f"{conf.read_text()}SERVICES=nginx.service\n")
    done = run(guest, install_script("linux", "home/101", TOKEN, ingest.url))
    assert done.returncode == 0, done.stderr
    assert "SERVICES=nginx.service" in conf.read_text()
    assert (conf.parent / "agent.token").read_text().strip() == TOKEN


def test_the_same_installer_is_printed_each_time() -> None:
    scripts = {install_script("linux", "home/101", TOKEN, "https://pvewatch.example:9223") for _ in range(2)}
    assert len(scripts) == 1
