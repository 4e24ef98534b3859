"""What the Windows agent's scripts must keep to, told from their parse tree: PowerShell itself is not at hand here.

Each rule yields what it objects to. The tree is tree-sitter's, whose grammar takes a little more than PowerShell does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import tree_sitter_powershell
from tree_sitter import Language, Node, Parser

_PARSER = Parser(Language(tree_sitter_powershell.language()))

# Cmdlets of both Windows PowerShell 5.1 and PowerShell 7, each with the parameters used, which both have. A new one is
# looked up for both before it is added. So aliases, Invoke-Expression, Write-Host, Get-WmiObject are out.
CMDLETS = {
    "Add-LocalGroupMember": "SID Member ErrorAction",
    "Add-Type": "AssemblyName TypeDefinition",
    "ConvertFrom-Json": "",
    "ConvertTo-Json": "InputObject Depth Compress",
    "Copy-Item": "LiteralPath Destination Force",
    "ForEach-Object": "",
    "Get-Acl": "LiteralPath",
    "Get-ChildItem": "LiteralPath Force",
    "Get-CimInstance": "",
    "Get-Item": "LiteralPath Force",
    "Get-Random": "Minimum Maximum",
    "Get-ScheduledTask": "TaskName TaskPath ErrorAction",
    "Invoke-CimMethod": "InputObject MethodName OperationTimeoutSec ErrorAction",
    "Join-Path": "",
    "Move-Item": "LiteralPath Destination Force ErrorAction",
    "New-Item": "ItemType Path",
    "New-Object": "TypeName ArgumentList",
    "New-ScheduledTaskAction": "Execute Argument",
    "New-ScheduledTaskPrincipal": "UserId LogonType RunLevel RequiredPrivilege",
    "New-ScheduledTaskSettingsSet": "MultipleInstances ExecutionTimeLimit AllowStartIfOnBatteries "
    "DontStopIfGoingOnBatteries StartWhenAvailable Priority",
    "New-ScheduledTaskTrigger": "AtStartup Once At RepetitionInterval",
    "New-TimeSpan": "Minutes",
    "Read-Host": "AsSecureString Prompt",
    "Register-ScheduledTask": "TaskName Action Trigger Principal Settings Description Force",
    "Remove-Item": "LiteralPath Recurse Force",
    "Remove-LocalGroupMember": "SID Member ErrorAction",
    "Resolve-Path": "LiteralPath",
    "Select-Object": "First",
    "Set-StrictMode": "Version",
    "Sort-Object": "Property",
    "Start-ScheduledTask": "TaskName",
    "Start-Sleep": "Milliseconds Seconds",
    "Stop-ScheduledTask": "TaskName ErrorAction",
    "Test-Path": "LiteralPath PathType ErrorAction",
    "Unblock-File": "LiteralPath",
    "Unregister-ScheduledTask": "TaskName Confirm",
    "Where-Object": "",
    "Write-Output": "",
    "Write-Verbose": "",
    "Write-Warning": "",
}
# Those of Get-Verb that are used.
_VERBS = """Add Assert Convert ConvertTo Copy Get Import Initialize Install Invoke Measure New Read Register Remove
Repair Save Send Set Split Start Stop Test Uninstall Update Write"""
VERBS = frozenset(_VERBS.split())
_AUTOMATIC = """_ true false null matches myinvocation psscriptroot psversiontable lastexitcode erroractionpreference"""
AUTOMATIC = frozenset(_AUTOMATIC.split())
NEWER = frozenset(["class_statement", "enum_statement", "pipeline_chain_tail"])


@dataclass(frozen=True)
class Script:
    """One file, parsed. `known` are the functions of all files together, with their parameters."""

    name: str
    text: str
    root: Node
    known: dict[str, frozenset[str]]
    shared: frozenset[str]


def parse_scripts(texts: dict[str, str]) -> list[Script]:
    """Parse files that are dot-sourced together."""
    roots = {name: _PARSER.parse(text.encode()).root_node for name, text in texts.items()}
    known: dict[str, frozenset[str]] = {}
    shared: set[str] = set()
    for root in roots.values():
        known |= {name_of(function): parameters(function) for function in functions(root)}
        shared |= set(_assigned(root, outside_functions=True))
    return [Script(name, text, roots[name], known, frozenset(shared)) for name, text in texts.items()]


def walk(node: Node, *, outside_functions: bool = False) -> Iterator[Node]:
    if outside_functions and node.type == "function_statement":
        return
    yield node
    for child in node.children:
        yield from walk(child, outside_functions=outside_functions)


def text_of(node: Node) -> str:
    return (node.text or b"").decode()


def of_type(node: Node, *types: str) -> Iterator[Node]:
    return (each for each in walk(node) if each.type in types)


def functions(root: Node) -> Iterator[Node]:
    return of_type(root, "function_statement")


def name_of(function: Node) -> str:
    return text_of(next(of_type(function, "function_name")))


def parameters(function: Node) -> frozenset[str]:
    """The names of a function's parameters, in lower case."""
    return frozenset(_parameter(each) for each in of_type(function, "script_parameter"))


def _parameter(parameter: Node) -> str:
    return next(_name(each) for each in parameter.children if each.type == "variable")


def _name(variable: Node) -> str:
    return text_of(variable).strip("@${}").lower()


def _assigned(root: Node, *, outside_functions: bool = False) -> Iterator[str]:
    for node in walk(root, outside_functions=outside_functions):
        if node.type == "script_parameter":
            yield _parameter(node)
        elif node.type == "left_assignment_expression":
            # $a[…] and $a.b set a part of what has to be there already.
            if not list(of_type(node, "member_access", "element_access")):
                yield from (_name(each) for each in of_type(node, "variable"))
        elif node.type == "foreach_statement":
            yield _name(next(each for each in node.children if each.type == "variable"))


def parse_errors(script: Script) -> Iterator[str]:
    """The parser has to understand every line."""
    for node in walk(script.root):
        if node.is_error or node.is_missing:
            yield f"line {node.start_point[0] + 1}: cannot be parsed"


def plain_ascii(script: Script) -> Iterator[str]:
    """Windows PowerShell 5.1 reads a file without a mark as the machine's own code page."""
    for number, line in enumerate(script.text.splitlines(), 1):
        if not line.isascii():
            yield f"line {number}: is not ASCII"


def known_commands(script: Script) -> Iterator[str]:
    """Only cmdlets of the list, with their parameters, and functions of these files with theirs."""
    own = {name.lower(): parameters for name, parameters in script.known.items()}
    cmdlets = {name: frozenset(used.lower().split()) for name, used in CMDLETS.items()}
    for command in of_type(script.root, "command"):
        name = next((text_of(child) for child in command.children if child.type == "command_name"), None)
        if name is None:
            continue
        allowed = cmdlets.get(name) if name in cmdlets else own.get(name.lower())
        if allowed is None:
            yield f"{name} is not in the list"
            continue
        elements = [child for child in command.children if child.type == "command_elements"]
        for element in elements:
            for argument in element.children:
                if argument.type != "command_parameter":
                    continue
                given = text_of(argument).lstrip("-").split(":")[0].lower()
                if given not in allowed:
                    yield f"{name} has no parameter -{given}"


def assigned_variables(script: Script) -> Iterator[str]:
    """Strict mode ends a script that reads a variable nobody has set."""

    def check(part: Node, visible: frozenset[str], *, skip_functions: bool) -> Iterator[str]:
        for node in walk(part, outside_functions=skip_functions):
            if node.type != "variable":
                continue
            name = _name(node)
            if name not in visible and not name.startswith("env:"):
                yield f"${name} is never set"

    everywhere = script.shared | AUTOMATIC
    yield from check(script.root, everywhere, skip_functions=True)
    for function in functions(script.root):
        yield from check(function, everywhere | set(_assigned(function)), skip_functions=False)


def approved_verbs(script: Script) -> Iterator[str]:
    """Functions are named Verb-Noun with a verb of Get-Verb."""
    for function in functions(script.root):
        name = name_of(function)
        if not re.fullmatch(r"[A-Z][A-Za-z]+-[A-Z][A-Za-z0-9]+", name) or name.split("-")[0] not in VERBS:
            yield f"{name}: no approved verb"


def documented_functions(script: Script) -> Iterator[str]:
    """Each function has comment-based help with a synopsis, and CmdletBinding."""
    for function in functions(script.root):
        comments = [text_of(child) for child in function.children if child.type == "comment"]
        if not any(re.search(r"^\s*\.SYNOPSIS\n\s*\S", comment, re.MULTILINE) for comment in comments):
            yield f"{name_of(function)}: no synopsis"
        if "[CmdletBinding()]" not in text_of(function):
            yield f"{name_of(function)}: no CmdletBinding, so that a wrong parameter would be let pass"


def typed_parameters(script: Script) -> Iterator[str]:
    """Each parameter has a type."""
    for parameter in of_type(script.root, "script_parameter"):
        types = [each for each in parameter.children if each.type == "attribute_list"]
        if not any(True for each in types for _ in of_type(each, "type_literal")):
            yield f"{text_of(parameter)}: no type"


def syntax_of_5_1(script: Script) -> Iterator[str]:
    """No class, enum, && or ||; the parser itself refuses ternary, ?? and ?. ."""
    for node in of_type(script.root, *NEWER):
        yield f"line {node.start_point[0] + 1}: {node.type}"
    if re.search(r"^\s*using\s+(namespace|module|assembly)\b", script.text, re.MULTILINE | re.IGNORECASE):
        yield "using"


def null_on_the_left(script: Script) -> Iterator[str]:
    """`$list -eq $null` filters a list instead of comparing it."""
    for match in re.finditer(r"-(eq|ne|ceq|cne)\s+\$null\b", script.text, re.IGNORECASE):
        yield match.group()


def invariant_culture(script: Script) -> Iterator[str]:
    """`-f` and ToString() write numbers as the machine's language does; casts and "$x" do not."""
    if any(len(node.children) > 1 for node in of_type(script.root, "format_expression", "format_argument_expression")):
        yield "-f"
    for call in of_type(script.root, "invokation_expression"):
        text = text_of(call)
        if re.search(r"\.ToString\([^()]*\)$", text) and "$invariant" not in text.rsplit(".ToString", 1)[1]:
            yield text


def validated_certificates(script: Script) -> Iterator[str]:
    """The check of certificates is the system's, or the compiled one; never a script block, never for the process."""
    for assignment in of_type(script.root, "assignment_expression"):
        target, *_, value = assignment.children
        if "CertificateValidationCallback" in text_of(target) and (
            text_of(target) != "$request.ServerCertificateValidationCallback"
            or text_of(value) != "$Session.Authority.Callback"
        ):
            yield text_of(assignment)
    for word in ("SkipCertificateCheck", "DangerousAccept", "TrustAllCerts", "CertificatePolicy", "AllowUnencrypted"):
        if word in script.text:
            yield word


def no_program_from_text(script: Script) -> Iterator[str]:
    """No text becomes a program; and only two things are started, each by name."""
    for word in ("ScriptBlock]::Create", "InvokeScript", "ExpandString", "DownloadString", "FromBase64String($script"):
        if word.lower() in script.text.lower():
            yield word
    for node in of_type(script.root, "command_invokation_operator"):
        started = text_of(node.parent) if node.parent else ""
        if text_of(node) == "&" and not re.match(r"& (\$Measure$|\(Join-Path \$env:SystemRoot \"System32\\)", started):
            yield started


RULES: tuple[Callable[[Script], Iterator[str]], ...] = (
    parse_errors,
    plain_ascii,
    known_commands,
    assigned_variables,
    approved_verbs,
    documented_functions,
    typed_parameters,
    syntax_of_5_1,
    null_on_the_left,
    invariant_culture,
    validated_certificates,
    no_program_from_text,
)


def objections(scripts: list[Script]) -> list[str]:
    """What the rules say about these files, as `file: rule: what`."""
    return [f"{each.name}: {rule.__name__}: {what}" for each in scripts for rule in RULES for what in rule(each)]
