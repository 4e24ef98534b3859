"""What is printed on a terminal, on a narrow one, and into a pipe."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from pvewatch.stack.screen import Screen

ROWS = [
    ("Alertmanager", "http://127.0.0.1:9093", "who is told, silences (by amtool)"),
    ("exporter", "http://127.0.0.1:9221/metrics", "what Prometheus reads"),
]


def printed(*, width: int, terminal: bool) -> tuple[Screen, io.StringIO]:
    told = io.StringIO()
    console = Console(file=told, width=width, force_terminal=terminal, highlight=False, soft_wrap=True)
    return Screen(console), told


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_table_stays_within_the_terminal_and_no_address_is_broken(width: int) -> None:
    screen, told = printed(width=width, terminal=False)

    screen.addresses(ROWS)

    lines = told.getvalue().splitlines()
    assert max(len(line) for line in lines) <= width
    for _, address, _ in ROWS:
        assert any(address in line for line in lines)


def test_into_a_pipe_go_plain_lines_without_colours() -> None:
    screen, told = printed(width=80, terminal=False)

    with screen.step("starting exporter"):
        pass
    screen.addresses(ROWS)
    screen.say("[green]all 9 checks hold[/green]")
    screen.status("clusters 1/1")

    assert "\x1b" not in told.getvalue()
    assert "✓ starting exporter\n" in told.getvalue()
    assert "all 9 checks hold\n" in told.getvalue()


def test_into_a_pipe_the_status_goes_only_when_it_says_something_new() -> None:
    screen, told = printed(width=80, terminal=False)

    for text in ("clusters 0/1", "clusters 0/1", "clusters 1/1", "clusters 1/1"):
        screen.status(text)

    assert told.getvalue().splitlines() == ["clusters 0/1", "clusters 1/1"]


def test_an_error_is_printed_as_it_is_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    long = "[Errno 98] " + "the address is taken, " * 12

    with Screen() as screen:
        screen.fail(long)

    assert capsys.readouterr().err.rstrip("\n") == long
