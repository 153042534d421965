"""
Keeps what is sent below a configured number per minute, and spread out over the minute.

A token bucket does the spreading: its capacity plus 61 s of refill is the number, so that no 60 s
window holds more, the opening burst included; the odd second covers the time between our admission
and the server's clock. A ledger of the last minute does what a bucket cannot: it keeps the promise
where a request is larger than the bucket, where units come back that were already refilled, and
where usage turns out higher than was estimated. Instants are monotonic seconds; time running
backwards counts as standing still.
"""

from __future__ import annotations

from collections import deque

import msgspec

PERIOD_S = 61.0
"""The window of 60 s and a second of slack."""

_SLICE_S = 0.5
"""What starts this close together leaves the ledger together."""

_TOLERANCE = 1e-6
"""Units; at the instant `ready_at` names, rounding may leave the level this far below the need."""


class Slice(msgspec.Struct, eq=False):
    """The units taken within half a second from `start`."""

    start: float
    units: int = 0


class Bucket:
    """
    The units of one limit: requests, or tokens.

    A request larger than the bucket is admitted when the bucket is full and leaves a debt; so a
    capacity below one request works as well. One larger than the whole minute waits for an empty
    minute.
    """

    __slots__ = ("_at", "_capacity", "_level", "_per_s", "_recent", "_slices", "per_minute")

    def __init__(self, per_minute: int, *, burst: float) -> None:
        """`burst` is the capacity as a share of the minute's number, between 0 and 1."""
        self.per_minute = per_minute
        self._capacity = per_minute * burst
        self._per_s = (per_minute - self._capacity) / PERIOD_S
        self._level = self._capacity
        self._at = 0.0
        self._slices: deque[Slice] = deque()
        self._recent = 0

    def ready_at(self, now: float, units: int) -> float:
        """Return from when `units` may be taken if nobody takes any before; `now` means now."""
        missing = min(units, self._capacity) - self._level_at(now)
        filled = now if missing <= _TOLERANCE else now + missing / self._per_s
        return max(filled, self._room_at(now, units))

    def take(self, now: float, units: int) -> Slice:
        """Take units, into debt if need be, and return where they are booked."""
        self._level = self._level_at(now) - units
        self._at = max(self._at, now)
        self._forget(now)
        if not self._slices or now - self._slices[-1].start >= _SLICE_S:
            self._slices.append(Slice(now))
        booked = self._slices[-1]
        booked.units += units
        self._recent += units
        return booked

    def correct(self, now: float, booked: Slice, more: int) -> None:
        """Take `more` units than were taken, or give some back where it is negative."""
        self._level = min(self._capacity, self._level_at(now) - more)
        self._at = max(self._at, now)
        booked.units += more
        if self._slices and booked.start >= self._slices[0].start:
            self._recent += more

    def _level_at(self, now: float) -> float:
        refill = max(0.0, now - self._at) * self._per_s
        return min(self._capacity, self._level + refill)

    def _room_at(self, now: float, units: int) -> float:
        """Return when the last minute's units and these are together no more than allowed."""
        self._forget(now)
        room = max(0, self.per_minute - units)
        excess, instant = self._recent - room, now
        for leaving in self._slices:
            if excess <= 0:
                break
            excess -= leaving.units
            instant = leaving.start + PERIOD_S
        return instant

    def _forget(self, now: float) -> None:
        while self._slices and now - self._slices[0].start >= PERIOD_S:
            self._recent -= self._slices.popleft().units
