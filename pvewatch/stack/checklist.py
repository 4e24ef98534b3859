"""Runs the checks of `pvewatch demo --check` one after the other, each until it holds or its time is up.

What is checked is in checks.py; here is how it is waited for, shown and reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.markup import escape

from pvewatch.pve.errors import PveError
from pvewatch.stack.checks import Check, NotYet, Subject, checks
from pvewatch.stack.observe import Unanswered
from pvewatch.stack.processes import Processes, tail
from pvewatch.stack.screen import Screen

__all__ = ["Result", "Subject", "prove"]

_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Result:
    """How one check ended: what was seen, or what was missing to the end."""

    name: str
    ok: bool
    seen: str
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The form for scripts."""
        return {"check": self.name, "ok": self.ok, "seen": self.seen, "seconds": round(self.seconds, 1)}


def prove(subject: Subject, processes: Processes, screen: Screen) -> list[Result]:
    """Carry out every check in order, print each as it ends, and return them all.

    A check that fails ends the list: those behind it look at what it should have brought about.
    Raises Stopped when the user asks to stop, StackError when a part of the stack ends.
    """
    results: list[Result] = []
    for check in checks(subject):
        result = _carry_out(check, processes, screen)
        results.append(result)
        mark = "[green]✓[/green]" if result.ok else "[red]✗[/red]"
        screen.say(f"{mark} {escape(check.name)}: {escape(result.seen)} [dim]({result.seconds:.1f} s)[/dim]")
        if not result.ok:
            for name in check.logs:
                screen.fail(f"  the end of {processes.log(name)}:\n{tail(processes.log(name))}")
            break
    return results


def _carry_out(check: Check, processes: Processes, screen: Screen) -> Result:
    began = time.monotonic()
    while True:
        processes.check()
        ok, seen = _attempt(check.look)
        seconds = time.monotonic() - began
        if ok or seconds > check.within_seconds:
            return Result(check.name, ok, seen, seconds)
        screen.status(f"waiting: {check.name} ({seen})")
        processes.pause(_LOOK_SECONDS)


def _attempt(look: Callable[[], str]) -> tuple[bool, str]:
    try:
        return True, look()
    except (NotYet, Unanswered, PveError) as reason:
        return False, str(reason)
