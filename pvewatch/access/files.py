"""pvewatch.yaml and the files of secrets: written whole or not at all, and nothing of a person's is lost."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

import yaml


class CannotWrite(Exception):
    """Nothing was written; the message names the file and the remedy."""


def write_files(contents: dict[Path, str]) -> dict[Path, Path | None]:
    """Write all files, mode 0600, in this order; each is whole or not there, and no unfinished one stays behind.

    What a file held before is kept beside it as .bak, .bak2, …; returned is, for each file, where. Raises CannotWrite.
    """
    scratches: dict[Path, Path] = {}
    target = Path()
    try:
        for target, text in contents.items():
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
            scratches[target] = Path(name)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        return {target: _put_in_place(scratch, target) for target, scratch in scratches.items()}
    except OSError as error:
        raise CannotWrite(f"{target} cannot be written: {error.strerror}; choose a folder of yours") from error
    finally:
        for scratch in scratches.values():
            scratch.unlink(missing_ok=True)


def _put_in_place(scratch: Path, target: Path) -> Path | None:
    backup = None
    if target.exists():
        names = (target.with_name(f"{target.name}.bak{number or ''}") for number in (0, *range(2, 1000)))
        backup = next(name for name in names if not name.exists())
        os.link(target, backup)
    scratch.replace(target)
    return backup


def with_cluster(text: str, entry: dict[str, Any], place: Path) -> str:
    """The configuration `text` and one more cluster, with all comments and all else as it was.

    Raises CannotWrite where `clusters:` is not written as a list over several lines; the message has the lines to add.
    """
    added = yaml.safe_dump([entry], sort_keys=False, allow_unicode=True, width=1000)
    if not text.strip():
        return "clusters:\n" + _indented(added, "  ")
    before = yaml.safe_load(text) or {}
    wanted = {**before, "clusters": [entry, *(before.get("clusters") or [])]}
    head = re.search(r"^clusters:[ \t]*(#.*)?\n", text, re.M)
    if head:
        first = re.match(r"(?:[ \t]*(?:#.*)?\n)*([ \t]*)- ", text[head.end() :])
        result = text[: head.end()] + _indented(added, first[1] if first else "  ") + text[head.end() :]
    elif "clusters" not in before:
        result = text.rstrip("\n") + "\n\nclusters:\n" + _indented(added, "  ")
    else:
        result = ""
    if yaml.safe_load(result) != wanted:
        raise CannotWrite(f"{place}: its clusters are not a list over several lines; add this there by hand:\n{added}")
    return result


def _indented(text: str, by: str) -> str:
    return "".join(f"{by}{line}\n" for line in text.splitlines())
