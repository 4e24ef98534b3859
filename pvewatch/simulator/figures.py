"""Figures that move plausibly and are a pure function of who is asked about and of the time.

Every rate is a mean with a daily rhythm and two shorter waves, and so has an exact integral: a counter is that integral
since the guest's start. Asking twice, in any order, at any pace, gives the same numbers, and nothing is stored.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

DAY_SECONDS = 86400.0
# Shares of the mean; together below 1, so that a rate stays positive and a counter never falls.
_WAVES = ((DAY_SECONDS, 0.45), (5400.0, 0.25), (337.0, 0.15))


def fraction(*words: object) -> float:
    """A number in [0, 1) that depends on the words only: the seeded chance behind every choice."""
    digest = hashlib.blake2b("\x1f".join(str(word) for word in words).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


@dataclass(frozen=True, slots=True)
class Wave:
    """A quantity that swings around `mean` (in units a second for rates, in its own unit for levels)."""

    key: str
    mean: float

    def at(self, moment: float) -> float:
        """The value at `moment` (unix seconds); never negative."""
        swing = sum(
            share * math.sin(2 * math.pi * (moment / period + fraction(self.key, period))) for period, share in _WAVES
        )
        return self.mean * (1 + swing)

    def between(self, start: float, end: float) -> float:
        """The integral from `start` to `end` (unix seconds): what a counter has grown by."""
        if end <= start:
            return 0.0
        grown = end - start
        for period, share in _WAVES:
            phase = fraction(self.key, period)
            scale = share * period / (2 * math.pi)
            grown += scale * (
                math.cos(2 * math.pi * (start / period + phase)) - math.cos(2 * math.pi * (end / period + phase))
            )
        return max(0.0, self.mean * grown)


def noisy(value: float, share: float, key: str, moment: float) -> float:
    """`value` with up to ± `share` of it as noise that is fixed for one whole second of `moment`."""
    return value * (1 + share * (2 * fraction(key, int(moment)) - 1))
