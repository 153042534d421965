"""
Gradual return: how many calls may start in the seconds after a provider came back.

A provider that has just recovered is often still weak, and everybody waits for it. After its
breaker closed, calls start at a pace that grows fourfold per second: about a dozen in the first,
four times as many in the next, and so on until no bound is needed. What is not used is not saved
up. The trials before the closing are the breaker's and do not count here. Instants are monotonic
seconds.
"""

from __future__ import annotations

import math

FIRST_PACE = 5.0
"""Calls per second at the beginning; as the pace grows, twelve start within the first second."""

GROWTH = 4.0
"""The pace grows by this factor per second."""

RAMP_S = 8.0
"""After this the pace would be hundreds of thousands per second: there is no bound any more."""

SLACK_S = 0.05
"""A start may catch up on so much delay, or a late wake-up would cost pace at every start."""


class Ramp:
    """Bounds the starts after `begin`; before the first one there is no bound."""

    __slots__ = ("_began", "_next_at")

    def __init__(self) -> None:
        self._began = self._next_at = -math.inf

    def begin(self, now: float) -> None:
        """Start over from the first pace: the provider is back."""
        self._began = self._next_at = now

    def ready_at(self, now: float) -> float:
        """Return the instant from which the next call may start, `now` if that is past."""
        return max(now, self._next_at)

    def start(self, now: float) -> None:
        """Count a call that starts."""
        elapsed = now - self._began
        if elapsed >= RAMP_S:
            return
        pace = FIRST_PACE * GROWTH**elapsed
        self._next_at = max(self._next_at, now - SLACK_S) + 1 / pace
