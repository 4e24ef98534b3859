"""The Windows agent's scripts keep to the rules, and each rule objects to what it is there for."""

from __future__ import annotations

import re

import pytest

from pvewatch.bundle import bundle_path
from tests.agents.windows_rules import RULES, objections, parse_scripts

FOLDER = bundle_path("agents") / "windows"
SCRIPTS = {file.name: file.read_text("ascii", errors="surrogateescape") for file in sorted(FOLDER.glob("*.ps1"))}

FUNCTION = """function Get-Figure {
    <#
    .SYNOPSIS
    A figure.
    #>
    [CmdletBinding()]
    param([string] $Name)
    BODY
}
"""

BROKEN = [
    ("parse_errors", "if ($Name) {"),
    ("parse_errors", "$figure = $Name ? 1 : 2"),
    ("parse_errors", "$figure = $Name ?? 1"),
    ("parse_errors", "$Name?.Length"),
    ("parse_errors", "'not closed"),
    ("plain_ascii", "# a d\u00e9j\u00e0 vu"),
    ("known_commands", "gci"),
    ("known_commands", "Join-Path $Name 'b' | % { $_ }"),
    ("known_commands", "Invoke-Expression $Name"),
    ("known_commands", "Write-Host $Name"),
    ("known_commands", "Get-WmiObject Win32_OperatingSystem"),
    ("known_commands", "Invoke-WebRequest -Uri $Name -SkipCertificateCheck"),
    ("known_commands", "Write-Output 1 | ForEach-Object -Parallel { $_ }"),
    ("known_commands", "ConvertFrom-Json -AsHashtable $Name"),
    ("known_commands", "Get-Figure -Names $Name"),
    ("known_commands", "Get-Figur -Name $Name"),
    ("assigned_variables", "Write-Output $Nmae"),
    ("assigned_variables", 'Write-Output "it is $Nmae"'),
    ("assigned_variables", "$figures['a'] = 1"),
    ("syntax_of_5_1", "Write-Output 1 && Write-Output 2"),
    ("syntax_of_5_1", "class Figure { }"),
    ("syntax_of_5_1", "enum Figure { One }"),
    ("syntax_of_5_1", "using namespace System"),
    ("null_on_the_left", "$Name -eq $null"),
    ("invariant_culture", "'{0}' -f 1.5"),
    ("invariant_culture", "(1.5).ToString()"),
    ("invariant_culture", "(1.5).ToString('N1')"),
    ("validated_certificates", "$request = $Name; $request.ServerCertificateValidationCallback = { $true }"),
    ("validated_certificates", "[System.Net.ServicePointManager]::ServerCertificateValidationCallback = { $true }"),
    ("no_program_from_text", "[scriptblock]::Create($Name)"),
    ("no_program_from_text", "& $Name"),
    ("no_program_from_text", "& cmd.exe /c $Name"),
]

BROKEN_FUNCTIONS = [
    ("approved_verbs", FUNCTION.replace("Get-Figure", "Fetch-Figure")),
    ("approved_verbs", FUNCTION.replace("Get-Figure", "figure")),
    ("documented_functions", FUNCTION.replace(".SYNOPSIS", "about")),
    ("documented_functions", FUNCTION.replace("[CmdletBinding()]", "")),
    ("typed_parameters", FUNCTION.replace("[string] $Name", "$Name")),
]


def test_there_is_something_to_look_at() -> None:
    assert {"PvewatchAgent.ps1", "Install-PvewatchAgent.ps1", "Uninstall-PvewatchAgent.ps1"} <= set(SCRIPTS)


def test_the_scripts_keep_to_the_rules() -> None:
    assert objections(parse_scripts(SCRIPTS)) == []


def test_the_sample_that_the_broken_ones_are_made_from_is_not_broken() -> None:
    assert objections(parse_scripts({"sample": FUNCTION.replace("BODY", "Write-Output $Name")})) == []


@pytest.mark.parametrize(("rule", "body"), BROKEN)
def test_a_rule_objects_to_a_broken_body(rule: str, body: str) -> None:
    said = objections(parse_scripts({"sample": FUNCTION.replace("BODY", body)}))
    assert any(f": {rule}: " in each for each in said), said


@pytest.mark.parametrize(("rule", "function"), BROKEN_FUNCTIONS)
def test_a_rule_objects_to_a_broken_function(rule: str, function: str) -> None:
    said = objections(parse_scripts({"sample": function.replace("BODY", "Write-Output 1")}))
    assert any(f": {rule}: " in each for each in said), said


def test_each_rule_has_been_seen_to_object() -> None:
    assert {rule.__name__ for rule in RULES} == {rule for rule, _ in BROKEN + BROKEN_FUNCTIONS}


@pytest.mark.parametrize("name", ["PvewatchAgent.ps1", "Install-PvewatchAgent.ps1", "Uninstall-PvewatchAgent.ps1"])
def test_strict_mode_is_on_and_dot_sourcing_does_nothing(name: str) -> None:
    text = SCRIPTS[name]
    assert "Set-StrictMode -Version 3.0" in text
    assert "$ErrorActionPreference = 'Stop'" in text
    last = parse_scripts({name: text})[0].root.children[-1].children[-1]
    assert (last.text or b"").decode().startswith("if ($MyInvocation.InvocationName -ne '.') {")


def test_the_installer_copies_every_file_that_is_needed() -> None:
    shipped = {file.name for file in FOLDER.iterdir() if file.suffix not in (".md", ".json")}
    copied = SCRIPTS["Install-PvewatchAgent.ps1"].split("$Parts = @(")[1].split(")")[0]
    assert {part.strip(" '\n") for part in copied.split(",")} == shipped


def test_no_token_is_a_parameter_of_a_program() -> None:
    """Parameters stand in process lists; inside of one process a function may take it."""
    for name in ("Install-PvewatchAgent.ps1", "PvewatchAgent.ps1", "Uninstall-PvewatchAgent.ps1"):
        outer = SCRIPTS[name].split("Set-StrictMode", maxsplit=1)[0]
        assert not re.search(r"\$token\b", outer, re.IGNORECASE)
    assert "token" not in SCRIPTS["PvewatchRights.ps1"].split("$arguments = ")[1].split("\n")[0].lower()


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_no_script_is_longer_than_400_lines(name: str) -> None:
    assert len(SCRIPTS[name].splitlines()) <= 400
