"""
Periods in which nothing is sent, because the server asked for it or has just failed.

`Cooldown` belongs to an account and obeys 429s: its end only ever moves later, because a server
counts requests sent during the wait against us. `Recovery` belongs to a provider and keeps a dead
one from being hammered until the circuit breaker takes over that duty: one second after the first
failure, doubling to thirty. All instants are monotonic seconds.
"""

from __future__ import annotations

import math

MAX_HINT_S = 3600.0
"""A server's wish beyond an hour is not believed (`design` 7.3)."""

UNHINTED_BASE_S = 2.0
UNHINTED_CAP_S = 60.0
RECOVERY_BASE_S = 1.0
RECOVERY_CAP_S = 30.0


def _doubling(base: float, cap: float, count: int) -> float:
    """Return base * 2^(count - 1), at most cap; the exponent is bounded so it cannot overflow."""
    return min(cap, base * 2.0 ** min(count - 1, 32))


class Cooldown:
    """The wait an account owes after 429s."""

    __slots__ = ("_streak", "until")

    def __init__(self) -> None:
        self.until = -math.inf
        self._streak = 0

    def extend(self, *, now: float, started: float, hint_s: float | None, draw: float) -> None:
        """
        Take a 429 into account.

        `hint_s` is the server's wish; without one (a wish for no wait at all is none) the wait
        doubles from 2 s with jitter between half and the whole (`draw` is uniform in 0..1). A reply
        to a request that was already on its way when the present wait began does not double it.
        """
        if hint_s is not None and 0 < hint_s < math.inf:
            wait = min(hint_s, MAX_HINT_S)
        else:
            if started >= self.until or self._streak == 0:
                self._streak += 1
            wait = _doubling(UNHINTED_BASE_S, UNHINTED_CAP_S, self._streak) * (0.5 + draw / 2)
        self.until = max(self.until, now + wait)

    def clear(self, *, started: float) -> None:
        """An answer to a request sent after the wait ends the doubling."""
        if started >= self.until:
            self._streak = 0


class Recovery:
    """The pause of a provider that could not be reached or failed on its side."""

    __slots__ = ("_streak", "until")

    def __init__(self) -> None:
        self.until = -math.inf
        self._streak = 0

    def fail(self, *, now: float, started: float) -> None:
        """Begin a pause; failures of requests sent before it began do not lengthen it."""
        if started < self.until and self._streak:
            return
        self._streak += 1
        self.until = now + _doubling(RECOVERY_BASE_S, RECOVERY_CAP_S, self._streak)

    def succeed(self, *, started: float) -> None:
        """An answer to a request sent after the last pause ended means it is well again."""
        if started >= self.until:
            self._streak = 0
