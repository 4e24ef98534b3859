"""promtool of newer Debian releases than this machine's, fetched once from Debian's archive into .cache/promtool."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.deploy.docker_engine import run

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "promtool"
MIRROR = "http://deb.debian.org/debian"
# 2.53, the long-term one of the 2 series, and 3.x.
SUITES = ("trixie", "sid")
NEWEST = SUITES[-1]


def program(suite: str) -> Path:
    """The promtool of that suite."""
    found = CACHE / suite
    if found.exists():
        return found
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        private = Path(scratch)
        # apt's own sandbox user must reach the directory it downloads into.
        private.chmod(0o755)
        (private / "lists" / "partial").mkdir(parents=True)
        keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
        (private / "sources.list").write_text(f"deb [signed-by={keyring}] {MIRROR} {suite} main\n")
        # Nothing of the machine's own apt is read or changed.
        apt = ["apt-get", "-q", "-o", f"Dir::Etc::sourcelist={private}/sources.list", "-o", "Dir::Etc::sourceparts=-"]
        apt += ["-o", f"Dir::State::lists={private}/lists", "-o", "APT::Sandbox::User=root"]
        apt += ["-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache="]
        run([*apt, "update"])
        run([*apt, "download", "promtool"], cwd=private)
        (package,) = private.glob("promtool_*.deb")
        run(["dpkg-deb", "--extract", package, private / "tree"])
        (private / "tree/usr/bin/promtool").rename(found)
    return found
