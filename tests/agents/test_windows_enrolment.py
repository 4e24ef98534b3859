"""The Windows installer that `pvewatch agents install-command` prints. It is read here; nothing of it is run."""

from __future__ import annotations

import base64
import io
import re
import zipfile

import tree_sitter_powershell
from tree_sitter import Language, Parser

from exporter.heartbeats.enrolment import WINDOWS_INSTALLER, install_script
from pvewatch.bundle import bundle_path
from tests.agents.ingest import TOKEN
from tests.agents.windows_rules import of_type, text_of

URL = "https://pvewatch.example:9223"
AUTHORITY = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"
SCRIPT = install_script("windows", "home/101", TOKEN, URL, authority=AUTHORITY)


def test_it_parses_as_powershell() -> None:
    tree = Parser(Language(tree_sitter_powershell.language())).parse(SCRIPT.encode())
    assert not tree.root_node.has_error


def test_it_brings_every_part_that_the_installer_copies() -> None:
    packed = re.search(r"FromBase64String\(@'\n(.+?)\n'@\)", SCRIPT, re.DOTALL)
    assert packed is not None
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(packed[1]))) as archive:
        names = set(archive.namelist())
        installer = archive.read(WINDOWS_INSTALLER).decode("utf-8-sig")
    parts = re.search(r"\$Parts = @\((.+?)\)", installer, re.DOTALL)
    assert parts is not None
    assert set(re.findall(r"'([^']+)'", parts[1])) <= names


def test_the_installer_has_the_parameters_it_is_called_with() -> None:
    (call,) = [line for line in SCRIPT.splitlines() if WINDOWS_INSTALLER in line]
    installer = (bundle_path("agents/windows") / WINDOWS_INSTALLER).read_text(encoding="utf-8-sig")
    known = set(re.findall(r"\[string(?:\[\])?\] \$(\w+)", installer.partition("Set-StrictMode")[0]))
    used = set(re.findall(r" -([A-Z]\w+) ", call))
    assert used == {"Url", "TokenFile", "CaFile"}
    assert used <= known


def test_the_token_is_no_argument_and_its_file_goes_whatever_happens() -> None:
    assert [line for line in SCRIPT.splitlines() if TOKEN in line] == [
        f"    [IO.File]::WriteAllText((Join-Path $folder 'agent.token'), '{TOKEN}')"
    ]
    assert "} finally {\n    Remove-Item -Recurse -Force -Path $folder" in SCRIPT


def test_a_group_policy_that_sets_another_execution_policy_does_not_end_it() -> None:
    tree = Parser(Language(tree_sitter_powershell.language())).parse(SCRIPT.encode())
    (setting,) = [node for node in of_type(tree.root_node, "command") if text_of(node).startswith("Set-Execution")]
    around = setting
    while around.type != "try_statement":
        assert around.parent is not None
        around = around.parent
    assert [text_of(clause).split() for clause in of_type(around, "catch_clause")] == [["catch", "{", "}"]]
