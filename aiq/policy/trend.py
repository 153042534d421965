"""
Whether latencies drift: the mean of the latest few against a slow memory of those before them.

A drift that takes hours takes the last hundred latencies along, so these cannot show it. The memory
is a moving mean and variance of logarithms, in which about the last five hundred count. The latest
are no part of it, nor is what was held aside as out of the ordinary.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from statistics import fmean

from aiq.policy.defaults import MonitorSettings


class Trend:
    """The drift of one series; takes and gives natural logarithms."""

    __slots__ = ("_count", "_latest", "_mean", "_settings", "_variance")

    def __init__(self, settings: MonitorSettings, values: Iterable[float] = ()) -> None:
        self._settings = settings
        self._latest: deque[float] = deque(maxlen=settings.drift_samples - 1)
        self._count = 0
        self._mean = self._variance = 0.0
        for value in values:
            self._remember(value)

    @property
    def usual(self) -> float:
        """The mean of the memory."""
        return self._mean

    def mean_with(self, value: float) -> float:
        """Return the mean of the latest and of this one."""
        return fmean([*self._latest, value])

    def shift(self, value: float) -> float:
        """
        Return by how many standard deviations that mean is above the memory's.

        0 with too few of the latest or of those before them.
        """
        settings = self._settings
        is_short = len(self._latest) < settings.drift_samples - 1
        if is_short or self._count < settings.min_samples:
            return 0.0
        return (self.mean_with(value) - self._mean) / self._spread

    @property
    def _spread(self) -> float:
        return at_least(math.sqrt(self._variance), self._settings)

    def accept(self, value: float) -> None:
        """
        Take a value in; what is no longer among the latest is remembered.

        That they have become quicker is believed as soon as all of the latest are, by a standard
        deviation each: the memory begins anew with these.
        """
        is_quicker = self.shift(value) <= -self._settings.drift_sigma
        if is_quicker and max(self._latest) <= self._mean - self._spread:
            self._count, self._mean, self._variance = 0, 0.0, 0.0
            for one in self._latest:
                self._remember(one)
            self._latest.clear()
        if len(self._latest) == self._latest.maxlen:
            self._remember(self._latest[0])
        self._latest.append(value)

    def pass_by(self, value: float) -> None:
        """Let a value be one of the latest; neither it nor what it pushes out is remembered."""
        self._latest.append(value)

    def forget_latest(self) -> None:
        """Forget the latest, or their mean would tell of an incident after its end."""
        self._latest.clear()

    def _remember(self, value: float) -> None:
        self._count = min(self._count + 1, self._settings.drift_memory)
        weight = 1.0 / self._count
        rise = value - self._mean
        self._mean += weight * rise
        self._variance = (1.0 - weight) * (self._variance + weight * rise * rise)


def at_least(spread: float, settings: MonitorSettings) -> float:
    """Return a standard deviation of logarithms, no smaller than it is taken for."""
    return max(spread, math.log1p(settings.least_spread))
