"""
The wait an account owes after 429s, in which nothing is sent to it.

Its end only ever moves later, because a server counts requests sent during the wait against us. A
new run takes up what is left of it. All instants are monotonic seconds, but for those that one run
notes for the next, which are microseconds of the wall clock.
"""

from __future__ import annotations

import math

from aiq.policy.defaults import LimitSettings

MAX_HINT_S = 3600.0
"""A server's wish beyond an hour is not believed (`design` 7.3)."""

_MAX_DOUBLINGS = 32
"""Bounds the exponent, so that it cannot overflow."""


class Cooldown:
    """The wait an account owes after 429s."""

    __slots__ = ("_settings", "_streak", "until")

    def __init__(self, settings: LimitSettings) -> None:
        self._settings = settings
        self.until = -math.inf
        self._streak = 0

    def extend(self, *, now: float, started: float, hint_s: float | None, draw: float) -> None:
        """
        Take a 429 into account.

        `hint_s` is the server's wish; without one (a wish for no wait at all is none) the wait
        doubles from `cooldown_s` to `cooldown_cap_s` with jitter between half and the whole (`draw`
        is uniform in 0..1). A reply to a request that was already on its way when the present wait
        began does not double it.
        """
        if hint_s is not None and 0 < hint_s < math.inf:
            wait = min(hint_s, MAX_HINT_S)
        else:
            if started >= self.until or self._streak == 0:
                self._streak += 1
            doubled = self._settings.cooldown_s * 2.0 ** min(self._streak - 1, _MAX_DOUBLINGS)
            wait = min(doubled, self._settings.cooldown_cap_s) * (0.5 + draw / 2)
        self.until = max(self.until, now + wait)

    def remember(self, until: float) -> None:
        """
        Take up the end of a wait that an earlier run was told of.

        The doubling is not: without hints a new run is back at a long wait after a few short ones,
        while a doubling that was kept would need an end of its own.
        """
        self.until = max(self.until, until)

    def forget(self) -> None:
        """Owe nothing any more, on a person's word."""
        self.until = -math.inf
        self._streak = 0

    def clear(self, *, started: float) -> None:
        """An answer to a request sent after the wait ends the doubling."""
        if started >= self.until:
            self._streak = 0


def left_s(*, until_us: int, noted_at_us: int, now_us: int) -> float:
    """
    Return the seconds that are left of a wait whose end an earlier run noted; 0: none.

    They are never more than were left when it was noted, so that a clock that has been set back
    since then keeps nobody longer than the server asked. One that has been set forward ends the
    wait early, which the server then says.
    """
    return max(0, min(until_us - now_us, until_us - noted_at_us)) / 1e6
