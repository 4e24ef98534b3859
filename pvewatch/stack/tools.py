"""Where Prometheus, Alertmanager, their checkers and curl are: on PATH, or unpacked below .cache/tools.

`find` only looks; `ensure` fetches what is missing from the distribution (see debian.py) and never installs anything
on the machine. Standard library only: tools/bootstrap.py runs before anything is installed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from pvewatch.stack import debian


@dataclass(frozen=True, slots=True)
class Tool:
    """A program of others: the names it goes by, the Debian package that has it, and where else to get it."""

    names: tuple[str, ...]
    package: str
    elsewhere: str


_PROMETHEUS = "https://prometheus.io/download/"
TOOLS = {
    "prometheus": Tool(("prometheus",), "prometheus", _PROMETHEUS),
    "promtool": Tool(("promtool",), "prometheus", _PROMETHEUS),
    # Debian calls it prometheus-alertmanager: another program had the shorter name.
    "alertmanager": Tool(("alertmanager", "prometheus-alertmanager"), "prometheus-alertmanager", _PROMETHEUS),
    "amtool": Tool(("amtool",), "prometheus-alertmanager", _PROMETHEUS),
    "blackbox": Tool(
        ("blackbox_exporter", "prometheus-blackbox-exporter"), "prometheus-blackbox-exporter", _PROMETHEUS
    ),
    "curl": Tool(("curl",), "curl", "the packages of your system"),
}
# Debian's Alertmanager does not start without the templates in this folder, and has no flag to move it.
FIXED_FOLDERS = {"alertmanager": b"/usr/share/prometheus/alertmanager"}


class ToolMissing(Exception):  # says the condition, like the other exceptions of the project
    """A program is neither on PATH nor in the tools directory; the message says how to get it."""


def directory() -> Path:
    """Where fetched tools are kept: .cache/tools of the checkout, else a cache directory of the user."""
    if configured := os.environ.get("PVEWATCH_TOOLS_DIR"):
        return Path(configured).absolute()
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file():
        return checkout / ".cache" / "tools"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pvewatch" / "tools"


def find(name: str) -> Path:
    """The program `name` (a key of TOOLS), from PATH first; raises ToolMissing with the remedy."""
    tool = TOOLS[name]
    found = _on_path(tool) or _fetched(name)
    if found is None:
        raise ToolMissing(
            f"{name} is neither on PATH nor in {directory()}: run `make tools`, which fetches it without root, "
            f"or install the package {tool.package} (elsewhere: {tool.elsewhere})"
        )
    return found


def missing() -> list[str]:
    """The names of TOOLS that `find` does not find."""
    return [name for name, tool in TOOLS.items() if not (_on_path(tool) or _fetched(name))]


def ensure() -> list[str]:
    """Fetch every tool that is missing; returns the archives fetched. Raises ToolMissing where that is impossible."""
    absent = missing()
    if not absent:
        return []
    packages = sorted({TOOLS[name].package for name in absent})
    by_hand = "install " + ", ".join(packages) + f" by hand ({_PROMETHEUS}) so that they are on PATH"
    try:
        archives = debian.unpack(packages, directory())
    except debian.PackagesUnavailable as error:
        raise ToolMissing(f"{', '.join(absent)} could not be fetched; {by_hand}.\n{error}") from error
    for name in absent:
        _write_wrapper(name)
    if still := missing():
        raise ToolMissing(
            f"{', '.join(still)}: not in the packages that were fetched ({', '.join(archives)}); {by_hand}"
        )
    return archives


def search_path() -> str:
    """PATH with the fetched tools behind the system's own, for children that call a tool by name (the agent: curl)."""
    return os.pathsep.join(part for part in (os.environ.get("PATH", os.defpath), str(directory() / "bin")) if part)


def prometheus_assets(prometheus: Path) -> Path | None:
    """The pages of a fetched Prometheus, None for one from PATH.

    Debian's build reads its pages from /usr/share/prometheus/web unless --web.local-assets says otherwise; the
    upstream build has them inside and does not know that flag.
    """
    pages = directory() / "root" / "usr" / "share" / "prometheus" / "web"
    return pages if prometheus.is_relative_to(directory()) and pages.is_dir() else None


def _on_path(tool: Tool) -> Path | None:
    return next((Path(found) for name in tool.names if (found := shutil.which(name))), None)


def _fetched(name: str) -> Path | None:
    wrapper = directory() / "bin" / name
    return wrapper if os.access(wrapper, os.X_OK) else None


def _write_wrapper(name: str) -> None:
    """Make bin/<name>: the unpacked program, started with the libraries that were unpacked with it."""
    root = directory() / "root"
    program = next((found for n in TOOLS[name].names if (found := root / "usr" / "bin" / n).exists()), None)
    if program is None:
        return
    wrapper = directory() / "bin" / name
    wrapper.parent.mkdir(parents=True, exist_ok=True)
    libraries = debian.library_path(root)
    exported = f"LD_LIBRARY_PATH={shlex.quote(libraries)} " if libraries else ""
    entered = f"cd {shlex.quote(str(root))} && " if make_relative(program, FIXED_FOLDERS.get(name)) else ""
    script = f'#!/bin/sh\n{entered}{exported}exec {shlex.quote(str(program))} "$@"\n'
    wrapper.write_text(script, encoding="utf-8")
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def make_relative(program: Path, folder: bytes | None) -> bool:
    """Have our copy of a program look for `folder` below the directory it is started in; False if it needs none.

    The new text has the length of the old one: the leading slash has moved to the end. Mount namespaces would do the
    same without touching the copy, but an unprivileged user has none in a chroot or an ordinary container.
    """
    if folder is None or folder not in (content := program.read_bytes()):
        return False
    program.write_bytes(content.replace(folder, folder[1:] + b"/"))
    return True


def main() -> int:
    """Fetch what is missing and say where each tool is: `python -m pvewatch.stack.tools`."""
    try:
        for archive in ensure():
            print(f"fetched {archive}")
    except ToolMissing as error:
        print(error, file=sys.stderr)
        return 1
    for name in TOOLS:
        print(f"{name:13} {find(name)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
