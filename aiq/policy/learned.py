"""
Learns how many requests per second an account takes, from its 429s alone.

What was sent over the last ten seconds and not refused, times 0.9, is the rate; requests start
evenly at it. It grows by 5 % for every five seconds without a 429, and the next 429 measures anew.

- The span begins with its first request, lasts at least a second, and stands still in cooldowns and
  while nobody asks: such time says how long we waited, not what the server takes.
- What is in flight counts as taken: refusals are quick, answers are slow. So every 429 of one
  volley corrects the measure, until requests start again.
- A 429 to a request that was sent before the present rate was learned does not lower it again; one
  within a second after a pause says that the pause was too short, unless it happens again.
- A 429 under a rate proves that rate too high, whatever was accepted before it was learned; but it
  never takes away more than half, because a measure over few requests may be unlucky. A rate that
  held until it grew counts as accepted, although the ten seconds began below it.
- For the same reason growth is five times as fast while the rate is far from the last one that met
  a 429: below 0.7 of it, or above 1.1. An unlucky start a hundred times too low is mended within
  two and a half minutes instead of eight. A rate that is not what limits us does not grow.

Instants are monotonic seconds.
"""

from __future__ import annotations

import math
from collections import deque

import msgspec

from aiq.policy.defaults import LimitSettings

SHORTEST_SPAN_S = 1.0
IDLE_S = 2.0
"""More than this without a request counts as one second."""

LOWEST_PER_S = 1 / 60
LATENESS_S = 0.02
"""A request that starts this much too late does not delay those after it: timers are late."""

_FAR_GROWTH = 5
_FAR_BELOW, _FAR_ABOVE = 0.7, 1.1
_TOLERANCE = 1e-9


class Second(msgspec.Struct, eq=False):
    """
    The requests sent within about a second and not refused so far.

    `start` is without the pauses, `started` is the instant itself.
    """

    start: float
    started: float
    taken: int = 0


class Taken:
    """
    What was sent and not refused over the last seconds, on a clock that stands still in pauses.

    The methods take instants of the real clock; `at` translates.
    """

    def __init__(self, span_s: float) -> None:
        self.paused_until = -math.inf
        self._span_s = span_s
        self._paused_s = 0.0
        self._seconds: deque[Second] = deque([Second(-math.inf, -math.inf)])

    def at(self, now: float) -> float:
        """Return an instant without the pauses before it."""
        return now - self._paused_s

    def start(self, now: float) -> Second:
        """Count a request."""
        second, instant = self._seconds[-1], self.at(now)
        if instant - second.start >= 1.0:
            while self._seconds and instant - self._seconds[0].start > self._span_s:
                self._seconds.popleft()
            second = Second(instant, now)
            self._seconds.append(second)
        second.taken += 1
        return second

    def refuse(self, started: float) -> None:
        """Take back the request that started then."""
        for second in reversed(self._seconds):
            if second.started <= started:
                second.taken -= 1
                return

    def pause(self, now: float, until: float) -> None:
        """Stand still; a pause within a pause only makes it longer."""
        self._paused_s += max(0.0, until - max(now, self.paused_until))
        self.paused_until = max(self.paused_until, until)

    def per_s(self, instant: float) -> float:
        """Return the requests per second over the span that ends at `instant`, as `at` gives it."""
        span = [one for one in self._seconds if instant - self._span_s <= one.start <= instant]
        ends = [*(second.start for second in span[1:]), instant]
        lasted = (end - second.start for second, end in zip(span, ends, strict=False))
        busy_s = sum(gap if gap <= IDLE_S else SHORTEST_SPAN_S for gap in lasted)
        return max(0, sum(second.taken for second in span)) / max(SHORTEST_SPAN_S, busy_s)


class LearnedRate:
    """The rate of one account: `per_s` is None until a 429 has taught one."""

    def __init__(self, settings: LimitSettings) -> None:
        self.per_s: float | None = None
        self._settings = settings
        self._taken = Taken(settings.learned_span_s)
        self._sent_at = -math.inf
        self._learned_at = -math.inf
        """From when the present rate holds: the end of the pause that its 429 began."""
        self._news_from = -math.inf
        """A 429 to a request from before says nothing new."""
        self._refused_at = -math.inf
        """When the 429 came that taught the rate, without the pauses."""
        self._before: float | None = None
        self._met = 0.0
        """The rate that met it."""
        self._held = self._held_before = 0.0
        """The last rate since then that held for as long as it takes to grow."""
        self._was_early = False
        """Whether the latest 429 was taken to speak of the pause before it."""
        self._grown_at = -math.inf
        self._level = 1.0
        self._level_at = -math.inf

    def ready_at(self, now: float) -> float:
        """Return from when a request may start."""
        if self.per_s is None:
            return now
        missing = 1.0 - self._refilled(now, self.per_s)
        return now if missing <= _TOLERANCE else max(now, self._level_at) + missing / self.per_s

    def start(self, now: float) -> Second:
        """Count a request that starts and return where it is counted."""
        self._sent_at = now
        second = self._taken.start(now)
        if self.per_s is not None:
            self._pace(now, self.per_s)
        return second

    def withdraw(self, second: Second) -> None:
        """Take back a request that was never sent, also from a measure it was just counted in."""
        second.taken -= 1
        self._level += 1.0
        if self.per_s is not None and self._sent_at < self._learned_at:
            self._learn()

    def refuse(self, *, now: float, started: float, until: float) -> None:
        """Learn from a 429 to a request sent at `started`; nothing starts before `until`."""
        taken = self._taken
        taken.refuse(started)
        is_news = started >= self._news_from
        if is_news:
            is_early = self.per_s is not None and started < taken.paused_until + SHORTEST_SPAN_S
            self._was_early = is_early and not self._was_early
        teaches = not self._was_early if is_news else self._sent_at < self._learned_at
        if is_news and teaches:
            self._refused_at = taken.at(now)
            self._before, self._held_before, self._held = self.per_s, self._held, 0.0
        taken.pause(now, until)
        self._grown_at = taken.paused_until
        if is_news or teaches:
            self._news_from = taken.paused_until
        if teaches:
            self._learned_at = self._level_at = taken.paused_until
            self._learn()

    def forget(self) -> None:
        """Give the rate up: the server has announced what it takes."""
        self.per_s = None

    def _learn(self) -> None:
        taken, before = self._taken.per_s(self._refused_at), self._before
        share = self._settings.learned_share
        if before is not None:
            self._met = before
            per_s = max(share * min(max(taken, self._held_before), before), before / 2)
        elif taken > 0:
            self._met = taken
            per_s = share * taken
        else:  # nothing was ever taken: only the cooldown knows how long to wait
            self.per_s = None
            return
        self.per_s = max(per_s, LOWEST_PER_S)
        self._level = 1.0

    def _pace(self, now: float, per_s: float) -> None:
        self._level = self._refilled(now, per_s) - 1.0
        self._level_at = max(self._level_at, now)
        if now - self._grown_at >= self._settings.growth_s:
            self._grown_at = now
            self._grow(now, per_s)

    def _refilled(self, now: float, per_s: float) -> float:
        full = 1.0 + per_s * LATENESS_S
        return min(full, self._level + max(0.0, now - self._level_at) * per_s)

    def _grow(self, now: float, per_s: float) -> None:
        if 2 * self._taken.per_s(self._taken.at(now)) < per_s:
            return
        growth = self._settings.growth
        if not _FAR_BELOW * self._met <= per_s <= _FAR_ABOVE * self._met:
            growth *= _FAR_GROWTH
        self._held = per_s
        self.per_s = per_s * (1.0 + growth)
