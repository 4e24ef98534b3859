"""The installer, the units and cron on a Debian 12 that boots with systemd, in a container of systemd-nspawn."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.agents.ingest import TOKEN, Authority, Ingest, await_true
from tests.agents.linux_agent import AGENT

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
TREE = ROOT / ".cache" / "machines" / "bookworm-systemd.tar"
PACKAGES = "systemd,systemd-sysv,dbus,curl,ca-certificates,cron"
INSTALL = (
    "bash /root/linux/pvewatch-agent install --token-file /root/token --ca-file /root/ca.pem --url {url} --interval 1"
)
FLAKY = """[Service]
ExecStart=/bin/sleep infinity
[Install]
WantedBy=multi-user.target
"""


@dataclass
class Machine:
    """A booted tree; it shares this machine's network, so that 127.0.0.1 is the ingest."""

    tree: Path
    leader: int

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script inside as root, in a clean environment."""
        # Without --wd, which would be a folder of this machine: entering leaves one in the root of what is entered.
        inside = ["nsenter", "-t", str(self.leader), "-m", "-p", "-u", "-i", "-C"]
        clean = ["env", "-i", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "bash", "-c", script]
        return subprocess.run([*inside, *clean], capture_output=True, text=True, timeout=120, check=False)

    def succeeds(self, script: str) -> str:
        done = self.run(script)
        assert done.returncode == 0, f"{script}: {done.stdout}{done.stderr}{self.run('journalctl -n 30').stdout}"
        return done.stdout.strip()


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Machine]:
    if not TREE.exists():
        TREE.parent.mkdir(parents=True, exist_ok=True)
        unfinished = TREE.with_suffix(".part.tar")
        making = ["mmdebstrap", "-q", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(unfinished)]
        subprocess.run(making, check=True, timeout=400)
        unfinished.rename(TREE)
    tree = tmp_path_factory.mktemp("systemd") / "root"
    tree.mkdir()
    subprocess.run(["tar", "-xf", TREE, "-C", tree], check=True, timeout=100)
    shutil.copytree(AGENT.parent, tree / "root" / "linux")
    shutil.copy(authority.ca, tree / "root" / "ca.pem")
    (tree / "root" / "token").write_text(f"{TOKEN}\n", encoding="utf-8")
    (tree / "etc/systemd/system/flaky.service").write_text(FLAKY, encoding="utf-8")
    with boot(tree) as machine:
        yield machine


@contextlib.contextmanager
def boot(tree: Path) -> Iterator[Machine]:
    command = ["systemd-nspawn", "--register=no", "--keep-unit", "-q", "-D", str(tree), "--boot", "--console=pipe"]
    with subprocess.Popen(
        command,
        env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as nspawn:
        children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children")
        try:
            machine = Machine(tree, 0)

            def is_up() -> bool:
                # Looked up each time: the first children that systemd-nspawn has are its own, for a moment.
                machine.leader = int((children.read_text().split() or ["0"])[-1])
                told = machine.run("systemctl is-system-running") if machine.leader else None
                return told is not None and told.stdout.strip() in {"running", "degraded"}

            await_true(is_up, 60)
            yield machine
        finally:
            # SIGTERM asks the container to power off (systemd-nspawn(1)).
            nspawn.send_signal(signal.SIGTERM)
            try:
                nspawn.wait(30)
            except subprocess.TimeoutExpired:
                nspawn.kill()


@pytest.fixture
def machine(booted: Machine) -> Iterator[Machine]:
    yield booted
    booted.run("pvewatch-agent uninstall --purge")


def test_installed_by_systemd_it_is_heard_hardened_repeatable_and_removable(machine: Machine, ingest: Ingest) -> None:
    install = INSTALL.format(url=ingest.url)
    machine.succeeds(install)
    await_true(lambda: ingest.count() >= 2, 60)

    # The units are sound, the sender has no privilege, and nobody reads the token, in files or in process lists.
    machine.succeeds("systemd-analyze verify /etc/systemd/system/pvewatch-agent*.service")
    exposure = machine.succeeds("systemd-analyze security --no-pager pvewatch-agent.service | tail -1")
    assert "OK" in exposure, exposure
    assert machine.succeeds("stat -c '%a %u' /etc/pvewatch/agent.token") == "600 0"
    pid = machine.succeeds("systemctl show --value -p MainPID pvewatch-agent")
    assert machine.succeeds(f"stat -c %u /proc/{pid}") != "0"
    assert TOKEN not in machine.succeeds("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; journalctl --no-pager")

    # A second time, from what is installed: nothing changes but that it runs anew, still with token and settings.
    before = machine.succeeds("cd /etc && find pvewatch systemd -type f -exec sha256sum {} + | sort")
    machine.succeeds("pvewatch-agent install")
    assert machine.succeeds("cd /etc && find pvewatch systemd -type f -exec sha256sum {} + | sort") == before
    count = ingest.count()
    await_true(lambda: ingest.count() > count, 60)

    machine.succeeds("pvewatch-agent uninstall")
    assert machine.run("systemctl is-active pvewatch-agent").stdout.strip() == "inactive"
    left = machine.succeeds("find / -xdev -name 'pvewatch-agent*' -not -path '/root/*' -not -path '/proc/*'")
    assert left == ""
    assert machine.succeeds("ls /etc/pvewatch") == "agent.conf\nagent.token\nca.pem"
    machine.succeeds("bash /root/linux/pvewatch-agent uninstall --purge")
    assert machine.run("ls /etc/pvewatch").returncode != 0


def test_a_failed_service_is_started_again_until_the_limit_and_a_stopped_one_is_left_alone(
    machine: Machine, ingest: Ingest
) -> None:
    machine.succeeds(
        "systemctl start flaky && mkdir -p /etc/pvewatch && echo RESTART_LIMIT=1 > /etc/pvewatch/agent.conf"
    )
    machine.succeeds(
        INSTALL.format(url=ingest.url) + " --services 'flaky.service gone.service' --restart flaky.service"
    )

    def told() -> tuple[list[tuple[str, str, int]], str]:
        heartbeat = ingest.heartbeat() if ingest.count() else None
        if heartbeat is None:
            return [], ""
        services: list[tuple[str, str, int]] = [(each.name, each.state, each.restarts) for each in heartbeat.services]
        return services, str(heartbeat.last_repair.outcome) if heartbeat.last_repair else ""

    # Started anew the watcher looks at once, not within 20 s, and still knows what it has done before.
    look = " && systemctl restart pvewatch-agent-watch"
    gone = ("gone.service", "missing", 0)
    await_true(lambda: told() == ([("flaky.service", "running", 0), gone], ""), 60)
    machine.succeeds("systemctl kill -s KILL flaky" + look)
    await_true(lambda: told() == ([("flaky.service", "running", 1), gone], "succeeded"), 60)
    machine.succeeds("systemctl kill -s KILL flaky" + look)
    await_true(lambda: told() == ([("flaky.service", "failed", 1), gone], "given_up"), 60)
    machine.succeeds("systemctl start flaky && systemctl stop flaky" + look)
    await_true(lambda: told() == ([("flaky.service", "stopped", 1), gone], "given_up"), 60)


def test_from_cron_the_counters_go_on_from_one_process_to_the_next(machine: Machine, ingest: Ingest) -> None:
    machine.succeeds(INSTALL.format(url=ingest.url) + " --cron")
    machine.succeeds("crontab -u root -l | { cat; echo '# of somebody else'; } | crontab -u root -")
    crontabs = "crontab -u pvewatch-agent -l; crontab -u root -l"
    before = machine.succeeds(crontabs)
    machine.succeeds("pvewatch-agent install --cron")
    assert sorted(machine.succeeds(crontabs).splitlines()) == sorted(before.splitlines())
    assert machine.succeeds("stat -c '%a %U' /etc/pvewatch/agent.token") == "600 pvewatch-agent"

    # One by hand as cron does it, without the wait before it; then cron's own, within two minutes.
    line = machine.succeeds("crontab -u pvewatch-agent -l | grep once")
    settings = machine.succeeds("crontab -u pvewatch-agent -l | grep ^PVEWATCH_").replace("\n", " ")
    by_hand = line.partition(";")[2].partition("2>&1")[0]
    machine.succeeds(f"setpriv --reuid=pvewatch-agent --clear-groups --regid=nogroup env {settings} {by_hand}")
    await_true(lambda: ingest.count() >= 2, 180)
    heartbeat = ingest.heartbeat()
    assert heartbeat.sequence == ingest.count()
    assert heartbeat.cpu is not None
    assert heartbeat.cpu.usage_ratio is not None

    machine.succeeds("pvewatch-agent uninstall --purge")
    assert machine.succeeds("crontab -u root -l") == "# of somebody else"
    assert machine.run("id pvewatch-agent").returncode != 0
