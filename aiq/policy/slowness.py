"""
The slow rule: a provider that answers far more slowly than it used to is degraded, not dead.

A call is slow beyond `slow_factor` times the usual latency, the median of the last hundred calls
that were not slow, and beyond `slow_min_s`. Slow calls do not enter what they are judged by, or a
provider that stays slow would pass for well. It is degraded when most of its latest calls are slow,
and well again when three of the last four are fast. Only answers count here: failures are the
breaker's business. Latencies are seconds, instants monotonic.
"""

from __future__ import annotations

import math
from collections import deque

from aiq.policy.defaults import BreakerSettings

BASELINE = 100
"""Latencies the usual one is taken from."""

BASELINE_STEP = 10
"""The median is computed when so many have been added; before the first time no call is slow."""

TRIALS = 4
FAST_TRIALS = 3


class Slowness:
    """Whether one model of one provider is slow, and when the next call may find out."""

    __slots__ = (
        "_baseline",
        "_changed_at",
        "_fresh",
        "_is_degraded",
        "_latest",
        "_next_at",
        "_settings",
        "_slow",
        "_started_at",
        "_threshold_s",
    )

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._baseline: deque[float] = deque(maxlen=BASELINE)
        self._fresh = 0
        self._threshold_s = math.inf
        self._latest: deque[bool] = deque()
        self._slow = 0
        self._is_degraded = False
        self._changed_at = self._started_at = self._next_at = -math.inf

    @property
    def is_degraded(self) -> bool:
        """Whether it is ranked last and gets half the concurrency."""
        return self._is_degraded

    @property
    def threshold_s(self) -> float:
        """The latency beyond which a call is slow; inf while too few are known."""
        return self._threshold_s

    def judge(self, latency_s: float) -> bool:
        """Return whether a call that took so long is slow."""
        return latency_s > self._threshold_s

    def note(self, latency_s: float, *, now: float, started: float) -> None:
        """Take in an answer; one to a call from before the last change does not change back."""
        is_slow = self.judge(latency_s)
        if not is_slow:
            self._extend_baseline(latency_s)
        if started < self._changed_at:
            return
        self._count(is_slow=is_slow)
        if not self._is_degraded:
            if self._is_mostly_slow():
                self._change(now, is_degraded=True)
        elif len(self._latest) - self._slow >= FAST_TRIALS:
            self._change(now, is_degraded=False)
        else:
            pause_s = self._settings.alone_s if is_slow else 0.0
            self._next_at = max(now, self._started_at + pause_s)

    def _extend_baseline(self, latency_s: float) -> None:
        self._baseline.append(latency_s)
        self._fresh += 1
        if self._fresh >= BASELINE_STEP:
            self._fresh = 0
            usual_s = sorted(self._baseline)[len(self._baseline) // 2]
            self._threshold_s = max(self._settings.slow_factor * usual_s, self._settings.slow_min_s)

    def _count(self, *, is_slow: bool) -> None:
        """Keep as many of the latest calls as are judged by."""
        size = TRIALS if self._is_degraded else 2 * self._settings.slow_calls
        if len(self._latest) >= size:
            self._slow -= self._latest.popleft()
        self._latest.append(is_slow)
        self._slow += is_slow

    def _is_mostly_slow(self) -> bool:
        count = len(self._latest)
        enough = count >= self._settings.slow_calls
        return enough and self._slow >= self._settings.slow_share * count

    def _change(self, now: float, *, is_degraded: bool) -> None:
        self._is_degraded = is_degraded
        self._latest.clear()
        self._slow = 0
        self._changed_at = self._started_at = now
        self._next_at = now + self._settings.alone_s

    def next_trial_at(self, now: float) -> float:
        """
        Return from when one call should go to it although it is degraded, `now` if that is past.

        The next trial follows a fast answer at once, and a slow one `alone_s` after its start.
        """
        return max(now, self._next_at) if self._is_degraded else now

    def trial_started(self, now: float) -> None:
        """A call went to it: the next one waits for its answer, or until that is overdue."""
        self._started_at = now
        self._next_at = now + max(self._settings.trial_expiry_s, self._settings.alone_s)
