"""Rules that every dashboard keeps, checked on the JSON alone, and the few exceptions with their reasons.

Each rule is a function that yields where and what is wrong. What only an answer of Prometheus can tell (labels,
emptiness, number of series) is proved in prove.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from grafana.source import lint_look, lint_queries, lint_structure
from grafana.source.panels import Document


@dataclass(frozen=True, slots=True)
class Problem:
    """One broken rule and where."""

    rule: str
    board: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.board}, {self.where}: {self.message} [{self.rule}]"


@dataclass(frozen=True, slots=True)
class Exemption:
    """A rule that one place may break, and why; `board` is a uid, or * for all."""

    rule: str
    board: str
    where: str
    reason: str


EXCEPTIONS: tuple[Exemption, ...] = (
    Exemption(
        "ratios_end_at_one", "pve-overview", "IO wait of nodes", "the interesting values are a few percent of the whole"
    ),
    Exemption("axes", "pve-agents", "Clock offset of guests", "a clock may be behind as well as ahead"),
    Exemption(
        "variables_in_order",
        "*",
        "variable guest",
        "label_values() gives one label, and a guest is known by its VMID and read by its name",
    ),
)

_ONE: tuple[Callable[[Document], Iterator[tuple[str, str]]], ...] = (
    lint_structure.titled_uid,
    lint_structure.variables_in_order,
    lint_structure.links_out,
    lint_structure.way_back,
    lint_structure.rows,
    lint_structure.defaults,
    lint_structure.grid,
    lint_structure.size,
    lint_structure.portable,
    lint_structure.ids,
    lint_queries.known_variables,
    lint_queries.matched_as_regex,
    lint_queries.chosen_cluster,
    lint_queries.bounded,
    lint_queries.windows,
    lint_queries.query_kind,
    lint_queries.counted_once,
    lint_queries.one_line_per_guest,
    lint_queries.datasource,
    lint_look.described,
    lint_look.help_is_short,
    lint_look.units,
    lint_look.axes,
    lint_look.ratios_end_at_one,
    lint_look.decimals,
    lint_look.mapped_states,
    lint_look.thresholds_from_the_table,
    lint_look.busy_is_no_fault,
    lint_look.colours,
    lint_look.gaps_stay,
    lint_look.legends,
)
RULES = {rule.__name__: rule for rule in _ONE}
BUNDLE_RULES: dict[str, Callable[[Sequence[Document]], Iterator[tuple[str, str]]]] = {
    rule.__name__: rule for rule in (lint_structure.whole_bundle, lint_structure.repeated_work)
}


def lint(document: Document, exceptions: tuple[Exemption, ...] = EXCEPTIONS) -> list[Problem]:
    """Every broken rule of one dashboard that no exception covers."""
    board = document.get("uid", "")
    found = [Problem(name, board, *broken) for name, rule in RULES.items() for broken in rule(document)]
    allowed = {(entry.rule, entry.board, entry.where) for entry in exceptions}
    return [problem for problem in found if not _excused(problem, allowed)]


def _excused(problem: Problem, allowed: set[tuple[str, str, str]]) -> bool:
    return any((problem.rule, board, problem.where) in allowed for board in (problem.board, "*"))


def lint_bundle(documents: Sequence[Document]) -> list[Problem]:
    """Every broken rule between dashboards."""
    return [Problem(name, "bundle", *broken) for name, rule in BUNDLE_RULES.items() for broken in rule(documents)]
