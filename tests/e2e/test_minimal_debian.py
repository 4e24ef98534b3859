"""`make demo` on a Debian 12 that has Python, git and make and nothing else, by a user who is not root."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.running import Command, free_ports, nothing_is_left

pytestmark = [pytest.mark.root, pytest.mark.timeout(700)]

ROOT = Path(__file__).resolve().parents[2]
USER_ID = 4242
HOME = "home/someone"
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root folder of the machine, with a copy of this checkout in the user's home."""
    tree = tmp_path_factory.mktemp("machine") / "root"
    included = "--include=python3,git,make,ca-certificates"
    subprocess.run(["mmdebstrap", "-q", "--variant=minbase", included, "bookworm", tree], check=True, timeout=300)
    # How this machine reaches the package registries, the other may use too.
    for name in ("etc/resolv.conf", "etc/hosts", CERTIFICATES):
        shutil.copy(Path("/") / name, tree / name)
    with (tree / "etc/passwd").open("a") as users:
        users.write(f"someone:x:{USER_ID}:{USER_ID}::/{HOME}:/bin/bash\n")
    checkout = tree / HOME / "pvewatch"
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines():
        if (ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, checkout / name)
    for path in (tree / HOME, *(tree / HOME).rglob("*")):
        os.chown(path, USER_ID, USER_ID, follow_symlinks=False)
    return tree


def test_the_demo_needs_no_root_and_changes_nothing_outside_the_checkout(machine: Path) -> None:
    ports = free_ports()
    before = snapshot(machine)
    moved = " ".join(f"--port={name}={port}" for name, port in ports.items())

    with as_user(machine, f'cd ~/pvewatch && make demo ARGS="--check {moved}"') as command:
        status = command.ends(within=600)

        assert status == 0, command.output
        assert "checks hold" in command.output
        nothing_is_left(command, ports)
    assert snapshot(machine) == before


def as_user(machine: Path, script: str) -> Command:
    """Run a script as the user of the machine, with a /proc and process ids of its own."""
    user = f"setpriv --reuid={USER_ID} --regid={USER_ID} --clear-groups"
    environment = f"HOME=/{HOME} PATH=/usr/bin:/bin LANG=C.UTF-8"
    inside = f"mount -t proc proc {machine}/proc && exec chroot {machine} {user} env {environment} bash -c '{script}'"
    return Command(
        *("unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", inside),
        # Variables of this machine's Python and pip that name folders which the other does not have.
        environment={"PIP_FIND_LINKS": "", "PYTHONPATH": "", "SSL_CERT_DIR": "/etc/ssl/certs"},
    )


def snapshot(machine: Path) -> set[tuple[str, int, int]]:
    """Every file of the machine outside of the user's checkout: name, size, time of the last change."""
    found = set()
    for folder, folders, files in os.walk(machine):
        here = Path(folder)
        if here == machine:
            folders[:] = [name for name in folders if name not in {"proc", "sys", "dev", "run"}]
        if here == machine / HOME:
            folders[:] = [name for name in folders if name != "pvewatch"]
        for name in files:
            stat = (here / name).lstat()
            found.add((str((here / name).relative_to(machine)), stat.st_size, stat.st_mtime_ns))
    return found
