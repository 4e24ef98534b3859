"""Programs of a newer Debian than this machine's, unpacked beside it: trixie's Go programs run on bookworm."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from pvewatch.stack import tools

CACHE = Path(__file__).resolve().parents[1] / ".cache" / "newer"
SUITE = "trixie"
MIRROR = "http://deb.debian.org/debian"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def program(package: str, path: str) -> Path:
    """The program at `path` inside the package, such as `usr/bin/prometheus-alertmanager`; fetched once.

    Needs apt and Debian's keys, not root. Where they are missing the test is skipped, on the CI server it fails.
    """
    if not shutil.which("apt-get") or not Path(KEYRING).is_file():
        problem = f"{package} of Debian {SUITE} is fetched with apt and {KEYRING}, and this machine lacks one of them"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(problem)
    tree = CACHE / package
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if tree.exists():
            return tree / path
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            private = Path(scratch)
            # apt's own sandbox user must reach the directory it downloads into.
            private.chmod(0o755)
            for folder in ("lists/partial", "cache/archives/partial"):
                (private / folder).mkdir(parents=True)
            (private / "sources.list").write_text(f"deb [signed-by={KEYRING}] {MIRROR} {SUITE} main\n")
            # Nothing of the machine's own apt is read or changed.
            apt = [
                "apt-get",
                "-q",
                "-o",
                f"Dir::Etc::sourcelist={private}/sources.list",
                "-o",
                "Dir::Etc::sourceparts=-",
            ]
            apt += ["-o", f"Dir::State::lists={private}/lists", "-o", "APT::Sandbox::User="]
            apt += ["-o", "Debug::NoLocking=true", "-o", f"Dir::Cache={private}/cache"]
            for command in ([*apt, "update"], [*apt, "download", package]):
                done = subprocess.run(command, cwd=private, capture_output=True, text=True, timeout=300, check=False)
                assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"
            (archive,) = private.glob(f"{package}_*.deb")
            subprocess.run(["dpkg-deb", "--extract", archive, private / "tree"], check=True, timeout=120)
            (private / "tree").rename(tree)
    return tree / path


def alertmanager() -> list[str]:
    """The command of a newer Alertmanager; arguments may follow, with absolute paths."""
    found = program("prometheus-alertmanager", "usr/bin/prometheus-alertmanager")
    # It wants templates at a fixed place, as Debian's older one does.
    tools.make_relative(found, tools.FIXED_FOLDERS["alertmanager"])
    return [
        "sh",
        "-c",
        f'cd {shlex.quote(str(CACHE / "prometheus-alertmanager"))} && exec {shlex.quote(str(found))} "$@"',
        "sh",
    ]
