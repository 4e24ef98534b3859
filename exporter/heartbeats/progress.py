"""Which messages of a guest prove that it is alive now, how many are missing, and whether two machines use one token.

Nothing here asks the guest's clock. What is compared is the *lag*: the server's time of arrival minus the guest's
uptime. Within one boot it stays the same, whatever the guest thinks the time is. So a message

- whose lag is more than LATE_SECONDS above the boot's was held up on its way: it counts as late, not as alive;
- with a lag that stays there was from a guest that was paused (or restored to a snapshot with memory) and goes on: the
  second such message is believed;
- of a boot that is not the newest, and on time, comes from a second machine: after RETURNS of them the identity is
  shared, as after cloning a guest with its token. A single one may be a straggler of the boot before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

# Above what an agent's one attempt may take (20 s), and well below the least silence that anybody acts upon.
LATE_SECONDS = 30.0
# How exactly a paused guest's messages follow one another, as seen here.
STEADY_SECONDS = 5.0
# By how much a guest's uptime may run slower than the server's clock: far more than any oscillator is off.
DRIFT = 0.001
MAX_BOOTS = 4
RETURNS = 2
# How long after the last sign of a second machine the identity counts as shared.
SHARED_SECONDS = 3600.0

Total = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class Boot:
    """One boot of the guest: its newest message in time. `lag` is arrival minus uptime, seconds."""

    boot_id: str
    lag: float
    arrived_at: float
    sequence: int


@dataclass(frozen=True, slots=True)
class Late:
    """The newest late message; `interleaved` when one in time came after it."""

    boot_id: str
    lag: float
    arrived_at: float
    interleaved: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """What is remembered of a guest's messages. `boots` has the newest boot last, at most MAX_BOOTS.

    `missed` counts messages that never arrived in time, `late` those that came late. `returns` counts messages of an
    older boot since `returned_at`; `shared_at` is when a second machine was last noticed (unix seconds).
    """

    boots: tuple[Boot, ...] = ()
    suspect: Late | None = None
    missed: Total = 0
    late: Total = 0
    returns: Total = 0
    returned_at: float | None = None
    shared_at: float | None = None

    def is_shared(self, now: float) -> bool:
        """Whether two machines have used this guest's identity within the last SHARED_SECONDS before `now`."""
        return self.shared_at is not None and now - self.shared_at <= SHARED_SECONDS


NO_PROGRESS = Progress()


@dataclass(frozen=True, slots=True)
class Message:
    """What of a heartbeat is looked at here; `received_at` is the server's clock, unix seconds."""

    boot_id: str
    sequence: int
    uptime_seconds: float
    interval_seconds: float
    received_at: float

    @property
    def lag(self) -> float:
        """Arrival minus uptime, seconds."""
        return self.received_at - self.uptime_seconds


def advance(before: Progress, message: Message) -> tuple[Progress, bool]:
    """What is remembered after `message`, and whether it proves that the guest is alive now."""
    known = next((boot for boot in before.boots if boot.boot_id == message.boot_id), None)
    if known is None:
        # Counted from 1 in each boot: what is missing at its beginning was never delivered.
        missed = message.sequence - 1 if before.boots and message.sequence else 0
        boots = (*before.boots, _seen(message, message.lag))[-MAX_BOOTS:]
        return replace(before, boots=boots, suspect=None, missed=before.missed + missed), True
    limit = known.lag + DRIFT * max(0.0, message.received_at - known.arrived_at)
    if message.lag > limit + LATE_SECONDS:
        return _late(before, known, message)
    after = before
    if before.suspect is not None:
        after = replace(before, suspect=replace(before.suspect, interleaved=True))
    if known is not before.boots[-1]:
        after = _returned(after, message.received_at)
    return _in_time(after, known, message, min(message.lag, limit)), True


def _late(before: Progress, known: Boot, message: Message) -> tuple[Progress, bool]:
    seen = before.suspect
    steady = (
        seen is not None
        and seen.boot_id == message.boot_id
        and abs(message.lag - seen.lag) <= STEADY_SECONDS
        and message.received_at - seen.arrived_at >= message.interval_seconds / 2
    )
    if steady and seen is not None and not seen.interleaved:
        # It goes on, perhaps from a snapshot of before a restart: from now on this is the newest boot.
        boots = (*(boot for boot in before.boots if boot is not known), known)
        return _in_time(replace(before, boots=boots, suspect=None), known, message, message.lag), True
    suspect = Late(message.boot_id, message.lag, message.received_at)
    after = replace(before, suspect=suspect, late=before.late + 1)
    # Both of one boot, and both go on: a copy made with the guest's memory.
    return (replace(after, shared_at=message.received_at) if steady else after), False


def _in_time(before: Progress, known: Boot, message: Message, lag: float) -> Progress:
    # A number not above the last one: the agent was started again, and counts from 1.
    expected = known.sequence if message.sequence > known.sequence else 0
    missed = max(0, message.sequence - expected - 1)
    boots = tuple(_seen(message, lag) if boot is known else boot for boot in before.boots)
    return replace(before, boots=boots, missed=before.missed + missed)


def _returned(before: Progress, now: float) -> Progress:
    recent = before.returned_at is not None and now - before.returned_at <= SHARED_SECONDS
    returns = min(RETURNS, before.returns + 1) if recent else 1
    return replace(before, returns=returns, returned_at=now, shared_at=now if returns == RETURNS else before.shared_at)


def _seen(message: Message, lag: float) -> Boot:
    return Boot(message.boot_id, lag, message.received_at, message.sequence)


_STORED = TypeAdapter(Progress)


def to_json(progress: Progress) -> str:
    """The stored form."""
    return _STORED.dump_json(progress).decode()


def from_json(text: str) -> Progress:
    """Read the stored form; one that is not read any more is as good as none."""
    try:
        return _STORED.validate_json(text)
    except ValidationError:
        return NO_PROGRESS
