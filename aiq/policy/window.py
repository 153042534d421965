"""
What a breaker remembers of its calls: the verdicts it judges by, and how long calls take.

Both are bounded and cost O(1) per call; nothing is sorted on the way of a healthy call. A call's
age counts from its start, so that one which hung for ten minutes does not pass for news. Calls are
kept in the order in which they ended: one that took long may stay a little beyond its age, until
those that ended before it are too old as well. All times are seconds, instants monotonic.
"""

from __future__ import annotations

import math
from collections import deque

from aiq.policy.defaults import BreakerSettings
from aiq.policy.outbreak import is_chance

WINDOW_CAP_S = 1800.0
"""No call older than this counts, however long calls take."""

SAMPLE = 200
"""Latencies kept: two of them lie above the 99th percentile."""

_STALE_AFTER = 64
"""The percentile is computed anew after so many latencies, a third of the sample."""


class Latencies:
    """How long the latest calls took, of all and of those that were answered well."""

    __slots__ = ("_all", "_good", "_p99", "_unseen")

    def __init__(self) -> None:
        self._all: deque[float] = deque(maxlen=SAMPLE)
        self._good: deque[float] = deque(maxlen=SAMPLE)
        self._p99 = 0.0
        self._unseen = 0

    def add(self, latency_s: float, *, is_good: bool) -> None:
        """Take in the latency of a call."""
        self._all.append(latency_s)
        self._unseen += 1
        if is_good:
            self._good.append(latency_s)

    def p99(self, *, refresh: bool) -> float:
        """Return the 99th percentile of all calls; without `refresh` it may be 64 calls old."""
        if refresh or self._unseen >= _STALE_AFTER:
            self._p99 = _quantile(self._all, 0.99)
            self._unseen = 0
        return self._p99

    def good_p95(self) -> float:
        """
        Return the 95th percentile of the good calls, 0 before the first.

        Of the good ones alone: a provider that died by hanging until the time-out would otherwise
        make its own trials hold their places for twice that time.
        """
        return _quantile(self._good, 0.95)


def _quantile(latencies: deque[float], share: float) -> float:
    """Return an exact percentile by nearest rank, 0 of nothing."""
    if not latencies:
        return 0.0
    return sorted(latencies)[math.ceil(share * len(latencies)) - 1]


class Window:
    """The verdicts of the latest calls, and whether they are bad enough to open a breaker."""

    __slots__ = (
        "_bad",
        "_bad_in_a_row",
        "_broken_in_a_row",
        "_calls",
        "_capacity",
        "_has_forgotten",
        "_latencies",
        "_settings",
    )

    def __init__(self, settings: BreakerSettings, latencies: Latencies) -> None:
        """`latencies` are kept by the breaker; the window's length in time follows from them."""
        self._settings = settings
        self._latencies = latencies
        self._capacity = settings.window_calls
        self._calls: deque[tuple[float, bool]] = deque()
        self._bad = 0
        self._bad_in_a_row = 0
        self._broken_in_a_row = 0
        """Those of the row that are no sign of congestion."""
        self._has_forgotten = False
        """Whether these are no longer the first calls of all."""

    def widen(self, in_flight: int) -> None:
        """Hold no fewer calls than may be in flight, or one burst would be all of them."""
        self._capacity = max(self._settings.window_calls, in_flight)

    def add(self, *, started: float, now: float, is_bad: bool, is_congestion: bool = False) -> None:
        """Take in a call that ends now, unless it began too long ago; the oldest give way."""
        age_s = now - started
        if age_s > self._settings.window_s and age_s > self._span_s(refresh=True):
            return
        while len(self._calls) >= self._capacity:
            self._drop()
        self._calls.append((started, is_bad))
        if is_bad:
            self._bad += 1
            self._bad_in_a_row += 1
            self._broken_in_a_row += not is_congestion
        else:
            self._bad_in_a_row = self._broken_in_a_row = 0

    def alarm(self, now: float, *, overtaken: int = 0) -> str | None:
        """
        Return why the breaker has to open, asked after a bad call; None if it need not.

        `overtaken` calls are out that started before that one; they count as good.
        """
        oldest = now - self._span_s(refresh=False)
        while self._calls and self._calls[0][0] < oldest:
            self._drop()
        if self._is_bad_from_the_first(overtaken) or self._is_dead(overtaken):
            return f"{self._bad_in_a_row} bad calls in a row"
        if self._is_bad(overtaken):
            return f"{self._bad} of {len(self._calls)} calls were bad"
        return None

    def _is_bad_from_the_first(self, overtaken: int) -> bool:
        """
        Whether it never did well; where calls are rare, any five would be the first in time.

        Two more for each that is still out: seven of eight are no more likely than five of five.
        """
        if self._has_forgotten:
            return False
        return self._bad == len(self._calls) >= self._settings.first_bad + 2 * overtaken

    def _is_dead(self, overtaken: int) -> bool:
        """
        Whether the latest row of bad calls is no noise; a full window would hide a death for long.

        Noise is independent from call to call: at 20 % errors thirteen in a row are needed, after
        good calls alone five or six. What a busy server sheds comes in volleys, so signs of
        congestion do not count for that; but twenty bad calls in a row of whatever kind do.
        """
        if self._bad_in_a_row >= max(self._settings.min_calls, overtaken):
            return True
        row = self._broken_in_a_row
        if row < self._settings.first_bad:
            return False
        before = max(0, len(self._calls) - self._bad_in_a_row)
        bad_before = max(0, self._bad - self._bad_in_a_row)
        return not is_chance(row, row + overtaken, (bad_before + 1) / (before + 2))

    def _is_bad(self, overtaken: int) -> bool:
        """
        Whether the share of bad calls is too high, and not by chance.

        Over twenty calls chance alone shows it in one run of eighteen at 30 % random errors. So a
        young window has to end with a row of bad calls as well, which a dead provider shows at
        once; over a hundred calls, or a whole window, the share speaks for itself.
        """
        settings, count = self._settings, len(self._calls)
        if count < settings.min_calls or self._bad < settings.bad_share * (count + overtaken):
            return False
        is_old = count >= min(5 * settings.min_calls, self._capacity)
        return is_old or self._bad_in_a_row >= settings.min_calls // 2

    def clear(self) -> None:
        """Forget everything."""
        self._calls.clear()
        self._bad = self._bad_in_a_row = self._broken_in_a_row = 0
        self._has_forgotten = False

    def _span_s(self, *, refresh: bool) -> float:
        """Return the age up to which calls count; it grows where calls take minutes."""
        p99 = self._latencies.p99(refresh=refresh)
        return min(max(self._settings.window_s, 2 * p99), WINDOW_CAP_S)

    def _drop(self) -> None:
        self._bad -= self._calls.popleft()[1]
        self._has_forgotten = True
