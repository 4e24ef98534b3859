"""Durations in Prometheus' notation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvewatch.render import durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("1m30s", 90),
        ("5m", 300),
        ("1h", 3600),
        ("2d", 172_800),
        ("1w", 604_800),
        ("250ms", 0.25),
        ("0", 0),
    ],
)
def test_a_duration_is_read_as_prometheus_reads_it(text: str, seconds: float) -> None:
    assert durations.parse(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "s", "1s1m", "-5m", "1.5m", "5 m"])
def test_what_prometheus_refuses_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        durations.parse(text)


@given(st.integers(min_value=0, max_value=10**11))
def test_what_is_written_reads_back_to_the_millisecond(milliseconds: int) -> None:
    assert round(durations.parse(durations.written(milliseconds / 1000)) * 1000) == milliseconds


def test_a_factor_of_one_leaves_the_text_as_it_was() -> None:
    assert durations.scaled("90s", 1.0) == "90s"
    assert durations.scaled("90s", 0.1) == "9s"
