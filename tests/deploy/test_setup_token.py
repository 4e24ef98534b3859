"""deploy/setup-token.sh on a host that prints, exits and refuses as Proxmox VE 8.4 and 9.2 do."""

from __future__ import annotations

import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pvewatch.pve.privileges import ROLE_NAMES, role
from tests.deploy.pve_host import SCRIPT, PveHost

ALL = ("--pool", "web", "--storage", "local", "--bridge", "vmbr0", "--node", "pve1")
MONITOR = ["Sys.Audit", "VM.Audit", "Datastore.Audit", "Pool.Audit", "SDN.Audit"]
PROVISION = [
    *("VM.Audit", "VM.Allocate", "VM.Config.Disk", "VM.Config.CPU", "VM.Config.Memory", "VM.Config.Network"),
    *("VM.Config.Options", "VM.PowerMgmt", "VM.Clone", "Pool.Audit"),
]


@pytest.fixture(params=["8.4", "9.2"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PveHost]:
    with PveHost(tmp_path, request.param) as host:
        yield host


@pytest.fixture
def host8(tmp_path: Path) -> Iterator[PveHost]:
    with PveHost(tmp_path, "8.4") as host:
        yield host


@pytest.fixture
def host9(tmp_path: Path) -> Iterator[PveHost]:
    with PveHost(tmp_path, "9.2") as host:
        yield host


def test_on_a_fresh_host_three_tokens_get_what_they_need_and_no_more(host: PveHost) -> None:
    done = host.setup(*ALL)

    assert (done.returncode, done.stderr) == (0, "")
    agents = ["VM.GuestAgent.Audit"] if host.version == "9.2" else []
    assert host.state["roles"] == {
        "watch-monitor": MONITOR + agents,
        "watch-power": ["VM.Audit", "VM.PowerMgmt"],
        "watch-provision": PROVISION,
        "watch-provision-storage": ["Datastore.Audit", "Datastore.AllocateSpace", "Datastore.AllocateTemplate"],
        "watch-provision-network": ["SDN.Use", "SDN.Audit"],
        "watch-provision-node": ["Sys.AccessNetwork"],
    }
    expected = {
        "monitor": {"/ watch-monitor"},
        "power": {"/pool/web watch-power"},
        "provision": {
            "/pool/web watch-provision",
            "/storage/local watch-provision-storage",
            "/sdn/zones/localnetwork/vmbr0 watch-provision-network",
            "/nodes/pve1 watch-provision-node",
        },
    }
    assert host.grants() == {
        f"pvewatch-{name}@pve{token} {grant}"
        for name, grants in expected.items()
        for grant in grants
        for token in ("", "!main")
    }
    assert all(user["tokens"]["main"]["privsep"] == 1 for user in host.state["users"].values())


def test_the_roles_are_those_that_check_advises(host: PveHost) -> None:
    host.setup("--pool", "web")

    made = host.state["roles"]
    for holder in ("monitor", "power"):
        advised = role(holder, int(host.version[0]))  # type: ignore[arg-type]  # mypy sees str in a tuple of literals
        assert made[ROLE_NAMES[holder]] == list(advised)  # type: ignore[index]  # likewise


def test_each_secret_is_shown_once_and_never_given_to_a_command(host9: PveHost) -> None:
    done = host9.setup("--pool", "web")

    for name in ("monitor", "power"):
        assert done.stdout.count(host9.secret(name)) == 1
    assert host9.secret("power") not in host9.setup("show").stdout + host9.setup("--pool", "web").stdout


def test_a_second_run_changes_nothing_and_makes_no_new_secret(host: PveHost) -> None:
    host.setup(*ALL)
    before = host.state

    done = host.setup(*ALL)

    assert (done.returncode, host.state) == (0, before)
    assert "nothing to change" in done.stdout
    assert "pveum" not in done.stdout


def test_secrets_go_to_files_that_only_their_owner_can_read(host9: PveHost) -> None:
    folder = host9.folder / "new" / "secrets"

    done = host9.setup("--all-guests", "--secret-dir", str(folder))

    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in folder.iterdir()) == ["monitor", "power"]
    for name in ("monitor", "power"):
        assert (folder / name).read_text() == host9.secret(name) + "\n"
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
        assert host9.secret(name) not in done.stdout
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert "pvewatch-power@pve!main /vms watch-power" in host9.grants()


def test_no_token_is_made_where_its_secret_could_not_be_kept(host9: PveHost) -> None:
    (host9.folder / "taken").write_text("")

    done = host9.setup("--secret-dir", str(host9.folder / "taken"))

    assert done.returncode == 2
    assert "give another --secret-dir" in done.stderr
    assert host9.state["users"]["pvewatch-monitor@pve"]["tokens"] == {}


def test_what_an_interrupted_run_left_is_completed(host: PveHost) -> None:
    stopped = host.setup("--pool", "web", FAKE_PVE_REFUSES="acl modify / --tokens")
    assert stopped.returncode == 1
    assert "cluster not ready - no quorum?" in stopped.stderr
    secret = host.secret("monitor")
    assert secret in stopped.stdout, "a secret that was made is shown even if the rest failed"

    assert host.setup("--pool", "web").returncode == 0

    assert host.secret("monitor") == secret
    assert {"pvewatch-monitor@pve!main / watch-monitor", "pvewatch-power@pve!main /pool/web watch-power"} <= (
        host.grants()
    )


def test_a_role_and_a_token_that_somebody_changed_are_set_right(host9: PveHost) -> None:
    host9.setup()
    host9.run("pveum", "role", "modify", "watch-monitor", "--privs", "Sys.Modify", "--append", "1")
    host9.run("pveum", "user", "token", "modify", "pvewatch-monitor@pve", "main", "--privsep", "0")
    secret = host9.secret("monitor")

    assert host9.setup().returncode == 0

    assert "Sys.Modify" not in host9.state["roles"]["watch-monitor"]
    assert host9.state["users"]["pvewatch-monitor@pve"]["tokens"]["main"]["privsep"] == 1
    assert host9.secret("monitor") == secret


@pytest.mark.parametrize("ignored", ["role add", "user add", "acl modify / --users"])
def test_success_that_is_not_there_when_read_back_is_a_failure(host9: PveHost, ignored: str) -> None:
    done = host9.setup(FAKE_PVE_IGNORES=ignored)

    assert done.returncode == 1
    assert (
        ("when read back" in done.stderr and f"pveum {ignored}" in done.stderr)
        or "does not exist" in done.stderr
        or ("no such user" in done.stderr)
    )


def test_a_dry_run_prints_what_is_left_to_do_and_does_not_do_it(host9: PveHost) -> None:
    host9.setup()
    before = host9.state

    done = host9.setup("--dry-run", "--pool", "web")

    assert host9.state == before
    lines = done.stdout.splitlines()
    assert lines[0] == "pveum role add watch-power --privs 'VM.Audit VM.PowerMgmt'"
    assert lines[-1] == "pveum acl modify /pool/web --tokens 'pvewatch-power@pve!main' --roles watch-power"
    assert len(lines) == 5


def test_what_is_printed_for_copying_is_what_is_done(host: PveHost) -> None:
    printed = host.setup("--print", "--pve-version", host.version[0], *ALL).stdout.splitlines()

    done = host.setup("--dry-run", *ALL).stdout.splitlines()

    assert printed == done
    for line in printed:
        assert host.run("bash", "-c", line).returncode == 0
    assert "nothing to change" in host.setup(*ALL).stdout


def test_commands_can_be_printed_where_there_is_no_proxmox(tmp_path: Path) -> None:
    done = subprocess.run(
        [SCRIPT, "--print", "--pve-version", "8"], capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 0, done.stderr
    assert "GuestAgent" not in done.stdout
    assert "VM.Monitor" not in done.stdout


def test_a_new_secret_leaves_the_grants_as_they_were(host: PveHost) -> None:
    host.setup("--pool", "web", "--pool", "db", "monitor", "power")
    old, grants = host.secret("power"), host.grants()

    done = host.setup("rotate", "power", "--secret-dir", str(host.folder / "secrets"))

    assert done.returncode == 0, done.stderr
    assert host.secret("power") != old
    assert (host.folder / "secrets" / "power").read_text().strip() == host.secret("power")
    assert host.grants() == grants


def test_rotating_keeps_the_day_a_token_expires(host8: PveHost) -> None:
    host8.setup()
    host8.run("pveum", "user", "token", "modify", "pvewatch-monitor@pve", "main", "--expire", "1893456000")

    assert host8.setup("rotate", "monitor").returncode == 0

    assert "expires 2030-01-01" in host8.setup("show").stdout


def test_what_is_not_there_cannot_be_rotated(host9: PveHost) -> None:
    done = host9.setup("rotate", "power")

    assert done.returncode == 1
    assert "make it with: setup-token.sh create" in done.stderr


def test_revoking_removes_everything_of_that_token_and_nothing_else(host: PveHost) -> None:
    host.setup(*ALL)

    done = host.setup("revoke", "provision")

    assert done.returncode == 0, done.stderr
    assert set(host.state["users"]) == {"pvewatch-monitor@pve", "pvewatch-power@pve"}
    assert set(host.state["roles"]) == {"watch-monitor", "watch-power"}
    assert not any("provision" in grant for grant in host.grants())
    again = host.setup("revoke", "provision")
    assert (again.returncode, "nothing to change" in again.stdout) == (0, True)


def test_a_role_that_somebody_else_uses_stays(host9: PveHost) -> None:
    host9.setup("--pool", "web", "power")
    host9.run("pveum", "user", "add", "eva@pve")
    host9.run("pveum", "acl", "modify", "/pool/db", "--users", "eva@pve", "--roles", "watch-power")

    done = host9.setup("revoke", "power")

    assert done.returncode == 0
    assert "the role watch-power stays" in done.stdout
    assert host9.grants() == {"eva@pve /pool/db watch-power"}


def test_showing_tells_who_may_do_what_where(host9: PveHost) -> None:
    host9.setup("--pool", "web", "power")

    shown = host9.setup("show").stdout

    assert "monitor: no token pvewatch-monitor@pve!main" in shown
    assert "power: pvewatch-power@pve!main" in shown
    assert "  user  watch-power on /pool/web" in shown
    assert "  token watch-power on /pool/web" in shown
    assert "  role  watch-power: VM.Audit VM.PowerMgmt" in shown


def test_a_grant_of_an_earlier_run_is_named_with_the_command_that_ends_it(host9: PveHost) -> None:
    host9.setup("--pool", "web", "power")

    done = host9.setup("--pool", "db", "power")

    assert "also granted, from before: /pool/web" in done.stdout
    assert "pveum acl delete /pool/web --tokens 'pvewatch-power@pve!main' --roles watch-power" in done.stdout


def test_one_guest_can_be_granted_and_the_trap_is_told(host9: PveHost) -> None:
    done = host9.setup("--guest", "100", "power")

    assert "deleting a guest deletes its grant" in done.stderr
    assert "pvewatch-power@pve!main /vms/100 watch-power" in host9.grants()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--pool", "wbe"), "there is no pool wbe; there are: web db"),
        (("--pool", "web", "--storage", "loca"), "there is no storage loca; there are: local nas"),
        (("--pool", "web", "--storage", "local", "--node", "pve9"), "there is no node pve9"),
        (("--guest", "999"), "there is no guest 999; there are: 100 101"),
        (("power",), "Give --pool NAME, --guest VMID or --all-guests"),
        (("provision", "--storage", "local"), "provision needs --pool NAME and --storage NAME"),
        (("--pool",), "--pool needs the name of a pool"),
        (("--pool", "x; reboot"), "--pool needs the name of a pool"),
        (("--frobnicate",), "--frobnicate is not known"),
        (("rotate",), "rotate needs one of"),
        (("--print",), "--print goes with create and --pve-version"),
        (("--vm-monitor",), "9 has no VM.Monitor"),
    ],
)
def test_a_mistake_is_named_before_anything_is_changed(host9: PveHost, arguments: tuple[str, ...], words: str) -> None:
    done = host9.setup(*arguments)

    assert done.returncode == 2
    assert words in done.stderr
    assert not host9.state_file.exists() or not host9.state["users"]


def test_the_dangerous_rights_are_given_only_when_asked_for(host8: PveHost) -> None:
    host8.setup("--vm-monitor", "--notifications")

    assert host8.state["roles"]["watch-monitor"] == [*MONITOR, "Mapping.Audit", "VM.Monitor"]

    host8.setup()
    assert sorted(host8.state["roles"]["watch-monitor"]) == sorted(MONITOR)


def test_only_root_may(host9: PveHost) -> None:
    done = host9.setup(FAKE_PVE_USER="1000")

    assert (done.returncode, done.stdout) == (2, "")
    assert "run it as root" in done.stderr


def test_elsewhere_than_on_proxmox_it_says_what_to_do(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "cat"):
        (programs / name).symlink_to(shutil.which(name) or "")
    done = subprocess.run(
        [programs / "bash", SCRIPT],
        env={"PATH": str(programs)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 2
    assert "this is not a Proxmox VE host" in done.stderr
    assert "--print" in done.stderr


def test_when_the_state_cannot_be_read_nothing_is_changed(host9: PveHost) -> None:
    done = host9.setup(FAKE_PVE_REFUSES="acl list")

    assert done.returncode == 1
    assert "`pveum acl list` failed" in done.stderr
    assert not host9.state_file.exists() or not host9.state["users"]


def test_the_fingerprint_of_the_certificate_in_use_is_shown(host9: PveHost) -> None:
    certificate = host9.folder / "etc-pve" / "local" / "pve-ssl.pem"
    certificate.parent.mkdir(parents=True)
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=pve1 -keyout /dev/null"
    assert host9.run(*make.split(), "-out", str(certificate)).returncode == 0
    wanted = host9.run("openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", str(certificate)).stdout

    assert wanted.partition("=")[2].strip() in host9.setup("show").stdout
