"""
Tells a death from noise where failures come faster than answers, or slower.

By the order in which calls end, quick failures stand in a row although the calls between them may
be fine and only take longer; and a death hides, while slow answers from before come in between its
failures. So the calls that are still out are known here, by the order in which they started:

- one that a later failure has overtaken counts as good until it ends;
- the bad calls that started after every call that ended well are held against all calls that
  started since, the ones that are out counting as good again.
"""

from __future__ import annotations

import math

MEMORY = 1000
"""Calls before the outbreak of which about so many count for how bad is usual."""

BY_CHANCE = 1e-9
"""Bad calls less likely than this, at the share of bad ones before them, are no noise."""


def is_chance(bad: int, calls: int, share: float) -> bool:
    """
    Whether so many bad ones of so many calls may be noise, where `share` of the calls are bad.

    In noise calls fail independently of each other. The number of ways to choose the bad ones times
    the likelihood that just those are bad bounds the likelihood of so many or more; in logarithms,
    because the factors leave the range of floats.
    """
    ways = math.lgamma(calls + 1) - math.lgamma(bad + 1) - math.lgamma(calls - bad + 1)
    return ways + bad * math.log(share) > math.log(BY_CHANCE)


class Outbreak:
    """
    The bad calls since the newest good one, and the calls that are out; newest by its start.

    Every `start` is followed by exactly one `good`, `bad` or `ignored` with its number.
    """

    __slots__ = ("_bad", "_bad_before", "_before", "_newest_good", "_out", "_started")

    def __init__(self) -> None:
        self._started = 0
        self._newest_good = 0
        self._bad: list[int] = []
        self._before = 0.0
        """Calls that started no later than the newest good one."""
        self._bad_before = 0.0
        """The bad ones of these."""
        self._out: dict[int, None] = {}

    def start(self) -> int:
        """Count a call that starts and return its number."""
        self._started += 1
        self._out[self._started] = None
        return self._started

    def good(self, number: int) -> None:
        """End a call well; what started before it is history."""
        self._out.pop(number, None)
        if number <= self._newest_good:
            return
        self._before += number - self._newest_good
        self._newest_good = number
        if self._bad:
            left = [one for one in self._bad if one > number]
            self._bad_before += len(self._bad) - len(left)
            self._bad = left
        if self._before > 2 * MEMORY:
            self._before /= 2
            self._bad_before /= 2

    def bad(self, number: int, *, is_congestion: bool) -> None:
        """End a call badly; what a busy server sheds comes in volleys and is no sign of a death."""
        self._out.pop(number, None)
        if number <= self._newest_good:
            self._bad_before += 1
        elif not is_congestion:
            self._bad.append(number)

    def ignored(self, number: int) -> None:
        """End a call that says nothing."""
        self._out.pop(number, None)

    @property
    def size(self) -> int:
        """How many bad calls it has, never more than started since the newest good one."""
        return len(self._bad)

    @property
    def is_noise(self) -> bool:
        """Whether they may be noise, as far as one can tell from the calls before them."""
        share = (self._bad_before + 1) / (self._before + 2)
        return is_chance(len(self._bad), self._started - self._newest_good, share)

    def overtaken(self, number: int) -> int:
        """Return how many calls are out that started before this one."""
        return sum(1 for one in self._out if one < number)

    def clear(self) -> None:
        """Forget everything; calls that are out count no more."""
        self._newest_good = self._started
        self._before = self._bad_before = 0.0
        self._bad.clear()
        self._out.clear()
