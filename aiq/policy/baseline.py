"""
What a series of latencies usually is, and how far one of them, or the mean of a few, is from it.

All that is computed is computed of logarithms: latencies multiply (twice the load, twice the wait)
and are skewed, and their logarithms are nearly symmetric. Median and MAD are used, because up to
half of the values can be outliers before they move far.

What came while a series was out of the ordinary does not enter what it is judged by: it is held
aside, and thrown away when the series is as it was. If that takes too long, the held values are the
new usual ones, because a step that lasts is a fact and not an incident.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from aiq.policy.defaults import MonitorSettings
from aiq.policy.trend import Trend, at_least

KEPT = 100
"""Latencies that count as history."""

MAD_OF_NORMAL = 1.4826
"""A normal distribution's standard deviation in MADs (median absolute deviations)."""

_LEAST_MS = 0.001
"""Anything quicker is as quick: zero has no logarithm."""


class Baseline:
    """The history of one series, in which the value that is judged never is."""

    __slots__ = ("_held", "_history", "_settings", "_trend")

    def __init__(self, settings: MonitorSettings) -> None:
        self._settings = settings
        self._history: deque[float] = deque(maxlen=KEPT)
        self._held: deque[float] = deque(maxlen=settings.accept_after)
        self._trend = Trend(settings)

    @property
    def usual_ms(self) -> float | None:
        """The median; None while too few latencies are known."""
        if len(self._history) < self._settings.min_samples:
            return None
        return math.exp(_quantile(sorted(self._history), 0.5))

    def score(self, latency_ms: float) -> float:
        """
        Return the robust z-score of a latency; 0 with too little history or too small a rise.

        Less than usual is no complaint, so only what is above the median scores.
        """
        usual_ms = self.usual_ms
        if usual_ms is None or latency_ms - usual_ms < self._settings.least_rise_ms:
            return 0.0
        middle = math.log(usual_ms)
        deviations = sorted(abs(one - middle) for one in self._history)
        spread = at_least(MAD_OF_NORMAL * _quantile(deviations, 0.5), self._settings)
        return (_log(latency_ms) - middle) / spread

    def is_outlier(self, latency_ms: float) -> bool:
        """Whether a latency lies beyond the upper fence of the history."""
        if len(self._history) < self._settings.fence_samples:
            return False
        ordered = sorted(self._history)
        lower, upper = _quantile(ordered, 0.25), _quantile(ordered, 0.75)
        rise_ms = latency_ms - math.exp(_quantile(ordered, 0.5))
        beyond = _log(latency_ms) > upper + self._settings.fence * (upper - lower)
        return beyond and rise_ms >= self._settings.least_rise_ms

    def drift(self, latency_ms: float) -> float:
        """
        Return by how many standard deviations the mean of the latest is above what it was.

        0 with too few latencies, or where the mean has risen too little to matter.
        """
        rise_ms = self.mean_of_latest(latency_ms) - self.before_drift_ms
        if rise_ms < self._settings.least_rise_ms:
            return 0.0
        return self._trend.shift(_log(latency_ms))

    def mean_of_latest(self, latency_ms: float) -> float:
        """Return the geometric mean that `drift` judges, in milliseconds."""
        return math.exp(self._trend.mean_with(_log(latency_ms)))

    @property
    def before_drift_ms(self) -> float:
        """Return the geometric mean that it is compared with."""
        return math.exp(self._trend.usual)

    def accept(self, latency_ms: float) -> None:
        """Make a latency part of the history, and drop what was held aside."""
        if self._held:
            self._held.clear()
            self._trend.forget_latest()
        self._history.append(_log(latency_ms))
        self._trend.accept(_log(latency_ms))

    def hold(self, latency_ms: float) -> bool:
        """Keep a latency aside; True: so many were held that they are the history now."""
        self._held.append(_log(latency_ms))
        self._trend.pass_by(_log(latency_ms))
        if len(self._held) < self._settings.accept_after:
            return False
        self._history = deque(self._held, maxlen=KEPT)
        self._trend = Trend(self._settings, self._held)
        self._held.clear()
        return True


def _log(latency_ms: float) -> float:
    return math.log(max(latency_ms, _LEAST_MS))


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Return a quantile, interpolated between neighbours."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
