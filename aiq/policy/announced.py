"""
Believes what a server's headers say is left of a limit.

What was left when the reply was made, minus what is in flight, bounds what may start. Where the
limit per minute is known, it is taken to refill evenly; how long the server says a refill takes
(`reset`) is not slept on, because that is the time until all of it is back. Where the period is
unknown (a vendor counts requests per day) only what is left is believed, and one request per second
is let through in spite of it: a belief that lets nothing through would never be corrected. One that
no reply has repeated for a minute is given up: many a server says what is left only as it refuses.
"""

from __future__ import annotations

import math

UNKNOWN_PERIOD_S = 1.0
"""Between requests that start against a belief of unknown period."""

FORGOTTEN_S = 60.0
"""After this a belief of unknown period that was not repeated counts no more."""


class Announced:
    """
    One dimension of an account's limits as its server announces it.

    `units` and `in_flight` are in the dimension's own units: requests, or tokens. Instants are
    monotonic seconds.
    """

    __slots__ = ("_at", "_left", "_told_at", "_told_by", "limit")

    def __init__(self) -> None:
        self.limit: int | None = None
        """Per minute; None: not announced, or of another period."""
        self._left = math.inf
        self._at = 0.0
        self._told_at = -math.inf
        self._told_by = -math.inf
        """When the request started whose reply is believed."""

    def believe(self, now: float, *, started: float, limit: int | None, left: int) -> None:
        """
        Believe a reply to a request that started at `started`.

        A reply to an older request than the last one believed is old news and changes nothing.
        """
        if started < self._told_by or left < 0:
            return
        self.limit = limit if limit is not None and limit > 0 else None
        self._left, self._told_by = left, started
        self._at = self._told_at = now

    def spend(self, now: float, units: int, *, started: float) -> None:
        """Count what a request took whose reply said nothing, unless it was counted already."""
        if started >= self._told_by:
            self._left = self._left_at(now) - units
            self._at = max(self._at, now)

    def ready_at(self, now: float, units: int, *, in_flight: int, last_start: float) -> float:
        """
        Return from when `units` may start: `now` means now, inf when something in flight has ended.

        `last_start` is when the account's latest request started. A request larger than the limit
        may start when all of the limit is there.
        """
        if self.limit is not None:
            units = min(units, self.limit)
        needed = units + in_flight
        missing = needed - self._left_at(now)
        if missing <= 0:
            return now
        if self.limit is None:
            return max(now, last_start + UNKNOWN_PERIOD_S)
        return math.inf if needed > self.limit else now + missing * 60.0 / self.limit

    def _left_at(self, now: float) -> float:
        if self.limit is None:
            return math.inf if now - self._told_at >= FORGOTTEN_S else self._left
        refill = max(0.0, now - self._at) * self.limit / 60.0
        return max(self._left, min(self.limit, self._left + refill))
