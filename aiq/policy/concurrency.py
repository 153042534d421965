"""
How many requests of an account may be in flight: additive increase, multiplicative decrease.

The limit starts low and doubles with every clean round, until the first sign of congestion; from
then on it gains one per round and loses three tenths with every sign. A round is `limit` good
replies. While doubling, they are replies to requests sent in it, each of them adds one, so that a
server's bound is met by a few requests and not by a volley; and 5 s without congestion end the
round as well, because answers may take minutes. It grows only when it is what limits us. A sign of
congestion on a request sent before the last reduction is a sign of the old limit and does not
reduce the new one. Instants are monotonic seconds.
"""

from __future__ import annotations

import math

from aiq.policy.defaults import LimitSettings

ROUND_S = 5.0
"""A round without congestion ends after this, however slow the answers are."""

_NEARLY = 7 / 8
"""The share of the limit from which it is taken to be what limits us."""


class Concurrency:
    """
    One account's limit of requests in flight, between 1 and `ceiling`.

    Every `begin` is ended by exactly one `end_...`. Not adaptive: the limit is the ceiling.
    """

    __slots__ = (
        "_adaptive",
        "_ceiling",
        "_congested",
        "_decrease",
        "_doubling",
        "_good",
        "_reduced_at",
        "_round_at",
        "_round_size",
        "_was_full",
        "in_flight",
        "limit",
    )

    def __init__(self, settings: LimitSettings, *, ceiling: int, adaptive: bool) -> None:
        self.limit = min(settings.start, ceiling) if adaptive else ceiling
        self.in_flight = 0
        self._ceiling = ceiling
        self._adaptive = adaptive
        self._decrease = settings.decrease
        self._doubling = adaptive
        self._congested = False
        self._reduced_at = -math.inf
        self._round_at = -math.inf
        self._round_size = self.limit
        self._good = 0
        self._was_full = False

    @property
    def has_room(self) -> bool:
        """Whether one more request may be in flight."""
        return self.in_flight < self.limit

    @property
    def is_reduced(self) -> bool:
        """Whether it is below its ceiling because of congestion, and not merely ramping up."""
        return self._congested and self.limit < self._ceiling

    def begin(self, now: float) -> None:
        """Count a request that starts."""
        self.in_flight += 1
        if self.limit < self._ceiling:
            self.advance(now)
            self._was_full = self._was_full or self.in_flight >= self.limit * _NEARLY

    def end_good(self, now: float, *, started: float) -> None:
        """Count a reply of a server that is not at the end of its strength."""
        self.in_flight -= 1
        if self.limit < self._ceiling:
            if started >= (self._round_at if self._doubling else self._reduced_at):
                self._good += 1
                if self._doubling and self._was_full and self.limit < 2 * self._round_size:
                    self.limit += 1
            self.advance(now)

    def end_congested(self, now: float, *, started: float) -> None:
        """Count a 429, a 503, a 529 or a time-out."""
        self.in_flight -= 1
        if not self._adaptive or started < self._reduced_at:
            return
        self.limit = max(1, int(self.limit * self._decrease))
        self._congested = True
        self._doubling = False
        self._reduced_at = now
        self._begin_round(now)

    def end_neutral(self, now: float) -> None:
        """Count the end of a request that says nothing about congestion."""
        self.in_flight -= 1
        self.advance(now)

    def slow_start(self, now: float) -> None:
        """
        Begin again at a quarter after a pause, doubling.

        What is still in flight from before is no rush: the limit does not fall below it.
        """
        if not self._adaptive:
            return
        self.limit = max(1, self.limit // 4, min(self.limit, self.in_flight))
        self._doubling = True
        self._begin_round(now)

    @property
    def grows_at(self) -> float:
        """Return when `advance` may make room although nothing ends; inf: it will not."""
        if self._doubling and self._was_full and self.limit < self._ceiling:
            return self._round_at + ROUND_S
        return math.inf

    def advance(self, now: float) -> None:
        """End the round if it is over; needed only where nothing begins or ends for seconds."""
        if self.limit >= self._ceiling:
            return
        is_late = self._doubling and now >= self._round_at + ROUND_S
        if self._good < self._round_size and not is_late:
            return
        if self._was_full:
            grown = 2 * self._round_size if self._doubling else self._round_size + 1
            self.limit = min(self._ceiling, grown)
        self._begin_round(now)

    def _begin_round(self, now: float) -> None:
        self._round_at = now
        self._round_size = self.limit
        self._good = 0
        self._was_full = self.in_flight >= self.limit * _NEARLY
