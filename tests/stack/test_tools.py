"""Tools are looked for on PATH and fetched into a directory of their own; a made-up apt stands for the mirror."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pvewatch.stack import debian, tools

# Programs that the scripts here need, and nothing that is looked for.
PLAIN_PROGRAMS = ("sh", "cat", "cp", "ls", "touch", "dpkg-deb", "tar", "rm", "xz", "zstd", "gzip")


@pytest.fixture
def bare_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH without Prometheus, Alertmanager, curl or apt, and an empty tools directory."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in PLAIN_PROGRAMS:
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("PVEWATCH_TOOLS_DIR", str(tmp_path / "tools"))
    return folder


def program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def package(folder: Path, name: str, programs: list[str]) -> None:
    """A real .deb of that name, whose programs say what they are."""
    tree = folder / f"{name}-tree"
    for one in programs:
        program(tree / "usr" / "bin" / one, f"echo this is {one} $*")
    control = tree / "DEBIAN" / "control"
    control.parent.mkdir(parents=True)
    control.write_text(f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\nDescription: a test\n")
    archive = folder / f"{name}_1_all.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, archive], check=True, capture_output=True)
    shutil.rmtree(tree)


def made_up_apt(path: Path, mirror: Path) -> Path:
    """An apt-get that knows the packages in `mirror` and writes its arguments to a file."""
    said = path / "apt-said"
    program(
        path / "apt-get",
        f'echo "$*" >> {said}\n'
        "while [ $# -gt 0 ]; do case $1 in -o) shift 2;; *) break;; esac; done\n"
        'command=$1; shift; [ "$command" = download ] || exit 0\n'
        f'for name; do cp {mirror}/"$name"_1_all.deb . && continue\n'
        'echo "E: Unable to locate package $name" >&2; exit 100; done',
    )
    return said


def test_a_program_on_path_is_preferred_whatever_debian_calls_it(bare_path: Path) -> None:
    program(bare_path / "prometheus-alertmanager", "true")

    assert tools.find("alertmanager") == bare_path / "prometheus-alertmanager"


def test_a_missing_program_is_named_with_the_remedy(bare_path: Path, tmp_path: Path) -> None:
    with pytest.raises(tools.ToolMissing) as refused:
        tools.find("promtool")

    assert "promtool is neither on PATH nor in" in str(refused.value)
    assert "make tools" in str(refused.value)
    assert "package prometheus" in str(refused.value)


def test_without_apt_it_is_said_what_to_install(bare_path: Path) -> None:
    with pytest.raises(tools.ToolMissing) as refused:
        tools.ensure()

    assert "no apt" in str(refused.value)
    assert "install curl, prometheus, prometheus-alertmanager, prometheus-blackbox-exporter by hand" in str(
        refused.value
    )


def test_missing_tools_are_fetched_and_run_from_their_own_directory(bare_path: Path, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    package(mirror, "prometheus", ["prometheus", "promtool"])
    package(mirror, "prometheus-alertmanager", ["prometheus-alertmanager", "amtool"])
    package(mirror, "prometheus-blackbox-exporter", ["prometheus-blackbox-exporter"])
    package(mirror, "curl", ["curl"])
    said = made_up_apt(bare_path, mirror)

    fetched = tools.ensure()

    assert fetched == [
        "curl_1_all.deb",
        "prometheus-alertmanager_1_all.deb",
        "prometheus-blackbox-exporter_1_all.deb",
        "prometheus_1_all.deb",
    ]
    shown = subprocess.run([tools.find("alertmanager"), "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout == "this is prometheus-alertmanager --version\n"
    assert str(tools.find("curl")).startswith(str(tmp_path / "tools"))
    for call in said.read_text().splitlines():
        assert f"Dir::State::lists={tmp_path}/tools/apt/lists" in call
        assert f"Dir::Cache={tmp_path}/tools/apt/cache" in call


def test_nothing_is_asked_of_apt_when_all_tools_are_there(bare_path: Path) -> None:
    for tool in tools.TOOLS.values():
        program(bare_path / tool.names[0], "true")

    assert tools.ensure() == []


def test_only_what_is_missing_is_fetched(bare_path: Path, tmp_path: Path) -> None:
    for name in ("prometheus", "promtool", "alertmanager", "amtool", "blackbox_exporter"):
        program(bare_path / name, "true")
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    package(mirror, "curl", ["curl"])
    made_up_apt(bare_path, mirror)

    assert tools.ensure() == ["curl_1_all.deb"]


def test_the_words_of_apt_are_passed_on_when_a_package_cannot_be_had(bare_path: Path, tmp_path: Path) -> None:
    made_up_apt(bare_path, tmp_path)

    with pytest.raises(tools.ToolMissing, match="Unable to locate package"):
        tools.ensure()


def test_libraries_are_offered_to_an_unpacked_program(tmp_path: Path) -> None:
    library = tmp_path / "usr" / "lib" / "x86_64-linux-gnu" / "libcurl.so.4"
    library.parent.mkdir(parents=True)
    library.touch()

    assert debian.library_path(tmp_path).split(os.pathsep) == [str(library.parent)]


def test_the_pages_of_a_prometheus_from_path_are_its_own(bare_path: Path) -> None:
    assert tools.prometheus_assets(Path("/usr/bin/prometheus")) is None
