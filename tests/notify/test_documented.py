"""The examples of docs/notifications.md are channels, of every type there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import TypeAdapter

from pvewatch.settings_channels import ALERTMANAGER_NEVER, ALERTMANAGER_SECRET_FILES, Channel

PAGE = (Path(__file__).parents[2] / "docs" / "notifications.md").read_text(encoding="utf-8")
KINDS = {get_args(kind.model_fields["type"].annotation)[0]: kind for kind in get_args(get_args(Channel)[0])}


def examples() -> list[dict[str, Any]]:
    found = []
    for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL):
        document = yaml.safe_load(block)
        found += document.get("channels", []) if isinstance(document, dict) else document
    return found


def test_every_type_has_an_example_that_is_valid() -> None:
    channels = [TypeAdapter(Channel).validate_python(example) for example in examples()]
    assert {channel.type for channel in channels} == set(KINDS)


def test_the_table_says_which_alertmanager_delivers_each_type() -> None:
    rows = {
        row[0]: row[3] for row in re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+?) \| .+ \|$", PAGE, re.MULTILINE)
    }
    said = {ALERTMANAGER_NEVER: "never", ALERTMANAGER_SECRET_FILES: "from 0.28"}
    assert {name: rows.get(name) for name in KINDS} == {
        name: said.get(kind.native_since, "always") for name, kind in KINDS.items()
    }
