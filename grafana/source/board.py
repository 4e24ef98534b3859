"""A dashboard before Grafana's JSON: rows of panels, their queries, and what each query must return."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from grafana.source.scenarios import SEEN, Feature

Step = tuple[float | None, str]


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL query and what it must return.

    `needs`: it returns something in every scenario that has these features, and nothing in one that lacks any; `()` is
    always something. `values`: scenario → the one number that it returns there. `may_be_empty` is the reason for which
    an answer may be missing where `needs` would have one; only for what scenarios cannot tell apart.
    """

    expr: str
    legend: str = ""
    needs: Sequence[Feature] = (SEEN,)
    values: Mapping[str, float] = field(default_factory=dict)
    may_be_empty: str | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: where it comes from, its heading, and how it looks.

    `source` is a label, or `Value #B` for what the second query returns (`Value` where there is one query only).
    `may_be_absent` says why an answer may not have it; Grafana then shows the table without.
    """

    source: str
    heading: str
    unit: str | None = None
    decimals: int | None = None
    maximum: float | None = None
    steps: Sequence[Step] | None = None
    mappings: Any = None
    links: Sequence[Any] = ()
    width: int | None = None
    bar: bool = False
    colored: bool = False
    may_be_absent: str | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel before it is laid out. Its id, in links to it, must never change or be used again.

    `may_lack`: the labels that not every answer has.
    """

    document: dict[str, Any]
    queries: Sequence[Query]
    width: int
    height: int
    may_lack: frozenset[str] = frozenset()


@dataclass(slots=True)
class Row:
    """Panels under one heading (None: no heading); a collapsed row asks nothing until it is opened.

    A heading takes a number of its own, as a panel does.
    """

    panels: list[Panel]
    number: int = 0
    title: str | None = None
    collapsed: bool = False


@dataclass(frozen=True, slots=True)
class Built:
    """A finished dashboard: its JSON, and what its queries promise.

    `promises`: (panel id, refId) → the query. `may_lack`: panel id → the labels that not every answer has.
    """

    document: dict[str, Any]
    promises: dict[tuple[int, str], Query] = field(default_factory=dict)
    may_lack: dict[int, frozenset[str]] = field(default_factory=dict)

    @property
    def file_name(self) -> str:
        """The name of the file it is committed under."""
        return f"{self.document['uid']}.json"

    def text(self) -> str:
        """The bytes of that file: sorted keys, two spaces, a final newline."""
        return json.dumps(self.document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
