from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.heartbeats.progress import (
    LATE_SECONDS,
    MAX_BOOTS,
    NO_PROGRESS,
    SHARED_SECONDS,
    Message,
    Progress,
    advance,
    from_json,
    to_json,
)

START = 1_000_000.0


def sent(
    at: float,
    *,
    boot: str = "a",
    booted: float = 0.0,
    held: float = 0.0,
    sequence: int | None = None,
    every: float = 60,
) -> Message:
    """A message measured `at` seconds after START by a guest that booted at `booted`, held up for `held` seconds."""
    number = sequence if sequence is not None else int((at - booted) // every) + 1
    return Message(boot, number, at - booted, every, START + at + held)


def follow(*messages: Message, before: Progress = NO_PROGRESS) -> tuple[Progress, list[bool]]:
    """What is remembered after the messages in the order of their arrival, and which of them proved life."""
    progress = before
    alive = []
    for message in messages:
        progress, proves = advance(progress, message)
        alive.append(proves)
    return progress, alive


def test_messages_in_time_prove_life_and_miss_nothing() -> None:
    progress, alive = follow(*(sent(60.0 * minute) for minute in range(100)))
    assert all(alive)
    assert (progress.late, progress.missed, progress.shared_at) == (0, 0, None)


def test_a_message_that_was_held_up_does_not_prove_life() -> None:
    progress, alive = follow(sent(0), sent(60), sent(120, held=300))
    assert alive == [True, True, False]
    assert progress.late == 1


def test_a_backlog_that_arrives_at_once_does_not_prove_life() -> None:
    backlog = [sent(60.0 * minute, held=3600 - 60.0 * minute + minute / 10) for minute in range(1, 55)]
    _, alive = follow(sent(0), *backlog)
    assert alive == [True] + [False] * len(backlog)


def test_a_message_played_again_and_again_does_not_prove_life() -> None:
    repeated = [replace(sent(0), received_at=START + 60.0 * minute) for minute in range(1, 20)]
    _, alive = follow(sent(0), *repeated)
    assert alive == [True] + [False] * len(repeated)


def test_a_guest_that_was_paused_is_believed_again_with_its_second_message() -> None:
    # Its uptime stood still for ten minutes, and goes on.
    after = [replace(sent(60.0 * minute), received_at=START + 600 + 60.0 * minute) for minute in range(1, 5)]
    progress, alive = follow(sent(0), *after)
    assert alive == [True, False, True, True, True]
    assert progress.shared_at is None


def test_a_guest_rolled_back_to_before_a_restart_is_no_clone_of_itself() -> None:
    first = [sent(60.0 * n, boot="a") for n in range(5)]
    restarted = [sent(400 + 60.0 * n, boot="b", booted=390) for n in range(5)]
    # Ten minutes after START it goes on with the memory of the snapshot, which was taken after its fifth message.
    rolled_back = [replace(sent(60.0 * n, boot="a"), received_at=START + 700 + 60.0 * (n - 5)) for n in range(5, 25)]
    progress, alive = follow(*first, *restarted, *rolled_back)
    assert alive == [True] * 10 + [False] + [True] * 19
    assert progress.shared_at is None


def test_an_uptime_that_runs_slowly_is_followed() -> None:
    slow = [Message("a", n + 1, 60.0 * n * 0.9995, 60, START + 60.0 * n) for n in range(20_000)]
    _, alive = follow(*slow)
    assert all(alive)


def test_a_reboot_is_no_clone() -> None:
    boots = [sent(60.0 * n, boot="a") for n in range(5)] + [
        sent(400 + 60.0 * n, boot="b", booted=390) for n in range(5)
    ]
    progress, alive = follow(*boots)
    assert all(alive)
    assert progress.shared_at is None


def test_one_straggler_of_the_boot_before_is_no_clone() -> None:
    progress, _ = follow(
        sent(0),
        sent(70, boot="b", booted=65),
        sent(60, held=12),
        *(sent(60.0 * n, boot="b", booted=65) for n in range(3, 9)),
    )
    assert progress.shared_at is None


def test_two_interleaved_boots_are_a_clone() -> None:
    progress, _ = follow(sent(0), sent(30, boot="b", booted=20), sent(60), sent(90, boot="b", booted=20), sent(120))
    assert progress.shared_at == START + 120
    assert progress.is_shared(START + 120 + SHARED_SECONDS)
    assert not progress.is_shared(START + 121 + SHARED_SECONDS)


def test_a_clone_made_with_the_guests_memory_has_its_boot_id_and_is_found() -> None:
    clone = [replace(sent(60.0 * n), received_at=START + 60.0 * n + 630) for n in range(1, 6)]
    original = [sent(600 + 60.0 * n) for n in range(1, 6)]
    both = sorted(clone + original, key=lambda message: message.received_at)
    progress, _ = follow(sent(0), sent(600), *both)
    assert progress.shared_at is not None


@pytest.mark.parametrize(
    ("sequences", "missed"),
    [
        ([1, 2, 3], 0),
        ([1, 5], 3),
        ([7, 8], 0),  # what was before the very first is not known
        ([1, 2, 1, 2], 0),  # the agent was started again
        ([5, 3], 2),  # started again, and its first two did not arrive
        ([1, 1, 1], 0),  # one process for each message, as cron does it
    ],
)
def test_gaps_are_what_the_agent_counted_and_did_not_arrive(sequences: list[int], missed: int) -> None:
    progress, _ = follow(*(sent(60.0 * n, sequence=number) for n, number in enumerate(sequences)))
    assert progress.missed == missed


def test_messages_lost_at_the_begin_of_a_new_boot_are_missed() -> None:
    progress, _ = follow(sent(0), sent(400, boot="b", booted=200, sequence=4))
    assert progress.missed == 3


MESSAGES = st.builds(
    Message,
    boot_id=st.sampled_from(list("abcdefg")),
    sequence=st.integers(0, 2**53 - 1),
    uptime_seconds=st.floats(0, 1e11),
    interval_seconds=st.floats(0.1, 86_400),
    received_at=st.floats(START, START + 1e7),
)


@given(st.lists(MESSAGES, max_size=40))
def test_whatever_arrives_memory_is_bounded_counts_never_fall_and_storing_loses_nothing(
    messages: list[Message],
) -> None:
    seen = [NO_PROGRESS]
    for message in messages:
        after, alive = advance(seen[-1], message)
        assert alive or after.late == seen[-1].late + 1
        assert from_json(to_json(after)) == after
        seen.append(after)
    for before, after in pairwise(seen):
        assert len(after.boots) <= MAX_BOOTS
        assert after.late >= before.late
        assert after.missed >= before.missed


@given(st.lists(st.floats(LATE_SECONDS + 1, 3000), min_size=1, max_size=20), st.integers(1, 50))
def test_one_message_held_up_never_proves_life_however_long(holds: list[float], beats: int) -> None:
    progress, _ = follow(*(sent(60.0 * n) for n in range(beats)))
    for held in holds:
        _, alive = advance(progress, sent(60.0 * beats, held=held))
        assert not alive


def test_a_stored_form_that_is_not_read_any_more_is_as_good_as_none() -> None:
    assert from_json('{"boots": 5}') == NO_PROGRESS
    assert from_json("{}") == NO_PROGRESS
