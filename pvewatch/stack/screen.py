"""What the person at the terminal sees: steps while starting, the table of addresses, a live status line.

On a terminal the status line is redrawn in place; in a log or a pipe it is printed when it changes, without colours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text


class Screen:
    """The output of `pvewatch up` and `pvewatch demo`; a context manager that gives the terminal back."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._errors = Console(stderr=True, highlight=False, soft_wrap=True)
        self._status: Status | None = None
        self._last_status = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear_status()

    @contextmanager
    def step(self, doing: str) -> Iterator[None]:
        """Show what is being done; when the block ends well, a line says so."""
        if self._console.is_terminal:
            with self._console.status(Text(doing)):
                yield
        else:
            yield
        self.say(f"[green]✓[/green] {doing}")

    def say(self, markup: str) -> None:
        """Print a line (rich markup), above the status line."""
        self._console.print(markup)

    def fail(self, message: str) -> None:
        """Print an error exactly as it is, to standard error."""
        self._clear_status()
        self._errors.print(Text(message, style="red"))

    def addresses(self, rows: Iterable[tuple[str, str, str]]) -> None:
        """Print a table of what runs, where it answers and what it is for."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("part", "address", "what is there"):
            table.add_column(column, no_wrap=column == "address")
        for row in rows:
            table.add_row(*row)
        self._console.print()
        self._console.print(table)
        self._console.print()

    def status(self, text: str) -> None:
        """Replace the status line; without a terminal, print it if it says something new."""
        if self._console.is_terminal:
            if self._status is None:
                self._status = self._console.status(Text(text))
                self._status.start()
            self._status.update(Text(text))
        elif text != self._last_status:
            self._console.print(Text(text))
        self._last_status = text

    def _clear_status(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None
