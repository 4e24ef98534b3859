#!/usr/bin/env python3
"""Makes .venv and installs pvewatch into it, with nothing but Python's standard library and without root.

    python3 tools/bootstrap.py          what running needs
    python3 tools/bootstrap.py --dev    and what testing needs

A second run is instant: .venv/.pvewatch-installed says which pyproject.toml, Python and extras are in it. Debian's
minimal Python has no pip; its wheel then comes from the distribution (see pvewatch/stack/debian.py).
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
STAMP = VENV / ".pvewatch-installed"
OLDEST_PYTHON = (3, 11)
PIP_TIMEOUT_SECONDS = 1200

sys.path.insert(0, str(ROOT))


def main() -> int:
    """Make or refresh .venv; returns the exit status."""
    parser = argparse.ArgumentParser(description="Make .venv and install pvewatch into it.")
    parser.add_argument("--dev", action="store_true", help="install what the tests need as well")
    extras = {"dev"} if parser.parse_args().dev else set()
    if sys.version_info < OLDEST_PYTHON:
        found = ".".join(map(str, sys.version_info[:3]))
        print(f"Python 3.11 or newer is needed, this is {found} ({sys.executable}):", file=sys.stderr)
        print("install it and say which: make PYTHON=/path/to/python3.11 …", file=sys.stderr)
        return 1
    (ROOT / ".cache").mkdir(exist_ok=True)
    with (ROOT / ".cache" / "bootstrap.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _refresh(extras)


def _refresh(extras: set[str]) -> int:
    project = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    installed = STAMP.read_text(encoding="utf-8").split() if STAMP.exists() else []
    # Extras are only ever added: `make demo` after `make test` has nothing to do.
    if installed[:1] == [project] and extras <= set(installed[1:]) and _runs(VENV / "bin" / "python"):
        return 0
    wanted = sorted(extras | set(installed[1:]))
    try:
        if not _has_pip():
            _make()
        print("installing pvewatch and what it needs into .venv …", flush=True)
        target = f"{ROOT}[{','.join(wanted)}]" if wanted else str(ROOT)
        _run(VENV / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-e", target)
    except subprocess.CalledProcessError as error:
        print(f"failed: {' '.join(map(str, error.cmd))}", file=sys.stderr)
        print("The packages come from the index that pip is set to (PIP_INDEX_URL, PIP_CERT).", file=sys.stderr)
        return 1
    STAMP.write_text(" ".join([project, *wanted]) + "\n", encoding="utf-8")
    return 0


def _make() -> None:
    """Create .venv with a pip in it, whether or not this Python was packaged with ensurepip."""
    print(f"making .venv with {sys.executable} …", flush=True)
    if importlib.util.find_spec("ensurepip") is not None:
        _run(sys.executable, "-m", "venv", "--clear", VENV)
        return
    wheel = _distribution_pip()
    _run(sys.executable, "-m", "venv", "--clear", "--without-pip", VENV)
    # A wheel is a zip file, and pip's can be run as one: it installs the newest pip as its own replacement.
    _run(VENV / "bin" / "python", wheel / "pip", "install", "--quiet", "--disable-pip-version-check", "pip")


def _distribution_pip() -> Path:
    """The pip wheel of the distribution's package python3-pip-whl, which ensurepip would use."""
    from pvewatch.stack import debian  # noqa: PLC0415  # needed on minimal installations only

    tools = ROOT / ".cache" / "tools"
    try:
        debian.unpack(["python3-pip-whl"], tools, with_libraries=False)
        return next((tools / "root" / "usr" / "share" / "python-wheels").glob("pip-*.whl"))
    except (debian.PackagesUnavailable, StopIteration) as error:
        print(
            f"This Python has no ensurepip and the package python3-pip-whl could not be had: {error}", file=sys.stderr
        )
        print("Install python3-venv, or use another Python: make PYTHON=/path/to/python3.11 …", file=sys.stderr)
        raise SystemExit(1) from error


def _has_pip() -> bool:
    return _runs(VENV / "bin" / "python", "-m", "pip", "--version")


def _runs(program: Path, *arguments: str) -> bool:
    """Whether the program starts: a .venv outlives the Python that it was made with."""
    try:
        done = subprocess.run([program, *(arguments or ("--version",))], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True, timeout=PIP_TIMEOUT_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
