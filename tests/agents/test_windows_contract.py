"""The Windows agent's message: its fields by the scripts' parse tree, and a sample of it through the real ingest.

The sample was written by hand from the documented values of the CIM classes. Nothing here ran PowerShell.
"""

from __future__ import annotations

import json
import re
import time

import jsonschema
import requests
from prometheus_client.parser import text_string_to_metric_families

from exporter.heartbeats.page import HeartbeatPage
from exporter.heartbeats.schema import Heartbeat, parse
from pvewatch.bundle import bundle_path
from tests.agents.ingest import TOKEN, Authority, Ingest
from tests.agents.linux_agent import call
from tests.agents.windows_rules import Script, functions, name_of, of_type, parse_scripts, text_of

AGENTS = bundle_path("agents")
FOLDER = AGENTS / "windows"
SAMPLE = (FOLDER / "payload.sample.json").read_bytes()
SCRIPTS = parse_scripts({file.name: file.read_text("ascii") for file in sorted(FOLDER.glob("*.ps1"))})
EXAMPLE = json.loads((AGENTS / "heartbeat.example.json").read_text("utf-8"))


def script(name: str) -> Script:
    return next(each for each in SCRIPTS if each.name == name)


def assembled() -> list[str]:
    """The fields in the order in which Get-AgentPayload puts them in."""
    payload = next(each for each in functions(script("PvewatchFields.ps1").root) if name_of(each) == "Get-AgentPayload")
    text = text_of(payload)
    added = re.findall(r"Add-Field \$message '(\w+)'|\$message\.Fields\['(\w+)'\] = 0", text)
    return [first or second for first, second in added]


def written_keys() -> dict[str, list[str]]:
    """Of each function named after a field: the keys of the object it makes, in their order."""
    found = {}
    for function in functions(script("PvewatchFields.ps1").root):
        text = text_of(function)
        keys = [text_of(key) for key in of_type(function, "key_expression")]
        keys = re.findall(r"\$cpu\['(\w+)'\]", text) or keys
        found[name_of(function)] = keys
    return found


def test_fields_and_their_order_are_the_linux_agents_without_load() -> None:
    linux = list(json.loads(call('INTERVAL=60; CPU_BEFORE="100 50"; payload', tree="server")))
    assert assembled() == [name for name in linux if name != "load"]
    names = [field.alias or name for name, field in Heartbeat.model_fields.items()]
    assert assembled() == [name for name in names if name != "load"]


def test_each_part_has_the_fields_of_the_example_in_its_order() -> None:
    parts = {
        "Get-AgentField": EXAMPLE["agent"],
        "Get-CpuField": EXAMPLE["cpu"],
        "Get-MemoryField": EXAMPLE["memory"],
        "Get-SwapField": EXAMPLE["swap"],
        "Get-FilesystemsField": EXAMPLE["filesystems"][0],
        "Get-NetworkField": EXAMPLE["network"][0],
        "Get-ServicesField": EXAMPLE["services"][0],
        "Get-LastRepairField": EXAMPLE["last_repair"],
        "Get-OsField": EXAMPLE["os"],
    }
    keys = written_keys()
    assert {name: keys[name] for name in parts} == {name: list(part) for name, part in parts.items()}


def test_the_states_and_outcomes_that_are_sent_are_those_of_the_schema() -> None:
    schema = json.loads((AGENTS / "heartbeat.schema.json").read_text("utf-8"))
    text = script("PvewatchServices.ps1").text
    states = set(schema["$defs"]["Service"]["properties"]["state"]["enum"])
    mapping = text.split("function ConvertTo-ServiceState")[1].split("\nfunction ")[0]
    assert set(re.findall(r"^ {12,16}'(\w+)'$", mapping, re.MULTILINE)) | {"missing"} == states
    outcomes = set(schema["$defs"]["Repair"]["properties"]["outcome"]["enum"])
    assert set(re.findall(r"\$outcome = '(\w+)'|-Outcome '(\w+)'", text)) == {
        ("failed", ""),
        ("succeeded", ""),
        ("", "given_up"),
    }
    assert outcomes == {"failed", "succeeded", "given_up"}


def test_the_version_sent_is_that_of_the_linux_agent() -> None:
    linux = re.search(r"^PVEWATCH_AGENT_VERSION=(\S+)$", (AGENTS / "linux/pvewatch-agent").read_text(), re.MULTILINE)
    assert linux is not None
    assert f"$PvewatchAgentVersion = '{linux[1]}'" in script("PvewatchAgent.ps1").text


def test_every_setting_is_explained_in_the_example_and_the_example_has_no_other() -> None:
    text = script("PvewatchSettings.ps1").text
    known = set(re.findall(r"'([A-Z_]+)'", text.split("$known = @(")[1].split(")")[0]))
    example = (FOLDER / "agent.conf.example").read_text("ascii")
    assert set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE)) == known
    assert set(re.findall(r"-Key '([A-Z_]+)'", text)) == known


def test_every_event_is_in_the_readme() -> None:
    sent = {number for each in SCRIPTS for number in re.findall(r"Write-AgentEvent -Id (\d+)", each.text)}
    readme = (FOLDER / "README.md").read_text("utf-8")
    assert sent == set(re.findall(r"^\| (\d{3}) \|", readme, re.MULTILINE))


def test_the_sample_is_what_the_scripts_would_assemble() -> None:
    message = json.loads(SAMPLE)
    assert list(message) == assembled()
    jsonschema.validate(message, json.loads((AGENTS / "heartbeat.schema.json").read_text("utf-8")))
    for name, part in message.items():
        for entry in part if isinstance(part, list) else [part]:
            if isinstance(entry, dict):
                example = EXAMPLE[name][0] if isinstance(EXAMPLE[name], list) else EXAMPLE[name]
                assert list(entry) == list(example)


def test_the_sample_is_said_to_be_written_by_hand_and_the_agent_not_to_have_run() -> None:
    readme = (FOLDER / "README.md").read_text("utf-8")
    assert "written by hand" in readme
    assert "not run on Windows" in readme


def test_the_sample_is_taken_by_the_real_ingest_and_its_figures_appear(ingest: Ingest, authority: Authority) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    url = f"{ingest.url}/api/v1/heartbeat"
    answer = requests.post(url, data=SAMPLE, headers=headers, verify=str(authority.ca), timeout=10)
    assert (answer.status_code, answer.text) == (204, "")
    record = ingest.record()
    assert record.payload is not None
    assert record.payload.heartbeat() == parse(SAMPLE)

    guest_ids = {"home": {101: "qemu/101"}}
    page = HeartbeatPage(lambda: {("home", 101): record}, lambda: guest_ids, {}, time.time, timeout=180).text().decode()
    shown = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    samples = {(sample.name, tuple(sample.labels.values())): sample.value for sample in shown}
    guest = ("home", "qemu/101")
    assert samples["pvewatch_agent_cpu_usage_ratio", guest] == 0.0731
    assert samples["pvewatch_agent_memory_available_bytes", guest] == 5_368_709_120
    assert samples["pvewatch_agent_filesystem_size_bytes", (*guest, "C:")] == 106_846_744_576
    assert samples["pvewatch_agent_service_state", (*guest, "MSSQL$SQLEXPRESS", "stopped")] == 1
    assert ("pvewatch_agent_load1", guest) not in samples
    info = next(labels for name, labels in samples if name == "pvewatch_agent_info")
    assert info[2:] == ("0.1.0", "windows", "Microsoft Windows Server 2022 Standard 10.0.20348")
