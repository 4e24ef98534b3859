"""Fetches packages of the Debian or Ubuntu release this machine runs, without root and without installing them.

apt does the work (mirror, signatures, checksums) with its lists, cache and locks in a private directory, and dpkg-deb
unpacks the archives beside. Nothing outside that directory changes. Standard library only: tools/bootstrap.py uses
this module before anything is installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

APT_TIMEOUT_SECONDS = 600

# Never run with libraries of another build of libc: the dynamic loader and libc must come from one package.
_NEVER_UNPACKED = re.compile(r"^(libc6|libc-bin|libgcc-s1|libstdc\+\+6|gcc-.*-base)$")
# What a dependency may bring in: libraries, and the scripts and fonts of web pages. Programs are named, never implied.
_LIBRARY = re.compile(r"^(lib|fonts-)")


class PackagesUnavailable(Exception):  # says the condition, like the other exceptions of the project
    """The packages could not be had; the message says which, why and what to do instead."""


def available() -> bool:
    """Whether this machine has apt and dpkg, that is, is a Debian or one of its relatives."""
    return all(shutil.which(program) for program in ("apt-get", "dpkg-deb"))


def unpack(packages: Iterable[str], into: Path, *, with_libraries: bool = True) -> list[str]:
    """Download `packages`, and the libraries this machine lacks for them, and unpack all below `into`/root.

    Returns the file names of the archives, which carry the versions. Raises PackagesUnavailable with apt's own words.
    """
    if not available():
        raise PackagesUnavailable("this machine has no apt to fetch packages with")
    wanted = list(packages)
    state, root = into / "apt", into / "root"
    for folder in ("lists/partial", "cache/archives/partial", "archives"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    root.mkdir(parents=True, exist_ok=True)
    with _locked(state / "lock"):
        _run(state, "apt-get", "update")
        names = [*wanted, *(_missing_libraries(state, wanted) if with_libraries else ())]
        _run(state, "apt-get", "download", *names)
        archives = sorted((state / "archives").glob("*.deb"))
        for archive in archives:
            _run(state, "dpkg-deb", "-x", str(archive), str(root))
            archive.unlink()
    return [archive.name for archive in archives]


def library_path(root: Path) -> str:
    """The folders of an unpacked tree that hold shared libraries, in the form of LD_LIBRARY_PATH."""
    folders = {library.parent for library in root.glob("**/lib*.so*") if "lib" in library.parts}
    return os.pathsep.join(str(folder) for folder in sorted(folders))


def _missing_libraries(state: Path, wanted: list[str]) -> list[str]:
    """The libraries that apt would install beside `wanted` on this machine, without installing any."""
    listing = _run(state, "apt-get", "install", "--print-uris", "-qq", "--no-install-recommends", *wanted)
    # One package a line: 'URI' name_version_arch.deb size checksum
    found = (match[1] for match in re.finditer(r"^'\S+' ([^_\s]+)_\S+\.deb ", listing, re.MULTILINE))
    return [name for name in found if name not in wanted and _LIBRARY.match(name) and not _NEVER_UNPACKED.match(name)]


def _run(state: Path, program: str, *arguments: str) -> str:
    """Run apt-get or dpkg-deb with apt's state kept in `state`; raises PackagesUnavailable with its complaint."""
    options: list[str] = []
    if program == "apt-get":
        settings = {
            "Dir::State::lists": f"{state}/lists",
            "Dir::Cache": f"{state}/cache",
            # apt as root would hand the download to a user who may not write here.
            "APT::Sandbox::User": "",
            # Locks of the system's apt are not ours to take: what is asked of it below changes nothing there.
            "Debug::NoLocking": "true",
            "Acquire::Languages": "none",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
            "Acquire::Retries": "2",
        }
        options = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            [program, *options, *arguments],
            cwd=state / "archives",
            env=environment,
            capture_output=True,
            text=True,
            timeout=APT_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PackagesUnavailable(f"{program} {arguments[0]}: {error}") from error
    # An unreachable third-party source makes `update` fail although the release's own lists have arrived:
    # the download that follows tells.
    if done.returncode and arguments[0] != "update":
        raise PackagesUnavailable(f"{program} {' '.join(arguments)} failed:\n{(done.stderr or done.stdout).strip()}")
    return done.stdout


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock file, so that two commands started together do not unpack over each other."""
    import fcntl  # noqa: PLC0415  # not on every platform; this module is imported on all

    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
