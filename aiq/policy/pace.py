"""Judges latencies: by an absolute limit, and by what is usual."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from aiq.policy.alert import AlertLevel
from aiq.policy.baseline import Baseline
from aiq.policy.conditions import Conditions, Finding, Sign
from aiq.policy.defaults import MonitorSettings

_SHOWN = 3
"""Latencies of a row that are named."""


class Pace:
    """The latencies of one series; begins and ends `SLOW` and `LATENCY`."""

    __slots__ = (
        "_baseline", "_conditions", "_is_drift", "_limit_ms", "_row_ms", "_scores", "_settings"
    )  # fmt: skip

    def __init__(
        self, settings: MonitorSettings, conditions: Conditions, limit_ms: float | None
    ) -> None:
        self._settings = settings
        self._conditions = conditions
        self._limit_ms = limit_ms
        self._baseline = Baseline(settings)
        self._row_ms: deque[float] = deque(maxlen=settings.in_a_row)
        self._scores: deque[float] = deque(
            maxlen=max(settings.in_a_row, settings.critical_in_a_row)
        )
        self._is_drift = False

    @property
    def usual_ms(self) -> float | None:
        """The usual latency; None while too few are known."""
        return self._baseline.usual_ms

    def took(self, latency_ms: float, *, now: float) -> Iterable[Finding]:
        """Take in how long an answer took."""
        self._row_ms.append(latency_ms)
        if self._limit_ms is not None:
            yield from self._by_limit(latency_ms, self._limit_ms, now)
        self._scores.append(self._baseline.score(latency_ms))
        yield from self._by_usual(latency_ms, now)
        self._remember(latency_ms)

    def _by_limit(self, latency_ms: float, limit_ms: float, now: float) -> Iterable[Finding]:
        limit = f"the limit is {milliseconds(limit_ms)}"
        row = f"{self._row()}; {limit}"
        if self._is_row and min(self._row_ms) > limit_ms:
            slow = Finding(sign=Sign.SLOW, level=AlertLevel.WARNING, detail=row)
            yield self._conditions.begin(slow, now=now)
        elif latency_ms > limit_ms:
            said = f"{milliseconds(latency_ms)}; {limit}"
            yield Finding(sign=Sign.SLOW, level=AlertLevel.INFO, detail=said)
        elif self._is_row and max(self._row_ms) <= limit_ms:
            self._conditions.end(Sign.SLOW, row)

    def _by_usual(self, latency_ms: float, now: float) -> Iterable[Finding]:
        settings, baseline, score = self._settings, self._baseline, self._scores[-1]
        if score >= settings.z_warning or baseline.is_outlier(latency_ms):
            said = f"{milliseconds(latency_ms)} (z {score:.1f}); {self._usual}"
            yield Finding(sign=Sign.LATENCY, level=AlertLevel.INFO, detail=said)
        if (least := self._least_score(settings.in_a_row)) >= settings.z_warning:
            self._is_drift = False
            is_critical = self._least_score(settings.critical_in_a_row) >= settings.z_critical
            level = AlertLevel.CRITICAL if is_critical else AlertLevel.WARNING
            said = f"{self._row()} (z at least {least:.1f}); {self._usual}"
        elif self._has_drifted(latency_ms):
            self._is_drift = True
            level = AlertLevel.WARNING
            mean = milliseconds(baseline.mean_of_latest(latency_ms))
            before = milliseconds(baseline.before_drift_ms)
            said = f"the last {settings.drift_samples} took {mean} on average, before {before}"
        else:
            return
        anomaly = Finding(sign=Sign.LATENCY, level=level, detail=said)
        yield self._conditions.begin(anomaly, now=now)

    def _least_score(self, count: int) -> float:
        """Return the least of the last `count` scores; 0 while there are not so many."""
        return min(list(self._scores)[-count:]) if len(self._scores) >= count else 0.0

    def _has_drifted(self, latency_ms: float) -> bool:
        is_known = Sign.LATENCY in self._conditions
        return not is_known and self._baseline.drift(latency_ms) >= self._settings.drift_sigma

    def _remember(self, latency_ms: float) -> None:
        """Make a latency part of what is usual, or hold it aside as long as there is an anomaly."""
        baseline, usual = self._baseline, self._usual
        if Sign.LATENCY not in self._conditions:
            baseline.accept(latency_ms)
        elif self._is_calm(latency_ms):
            self._conditions.end(Sign.LATENCY, f"{self._row()}; {usual}")
            baseline.accept(latency_ms)
        elif baseline.hold(latency_ms):
            self._scores.clear()
            lasted = f"{self._settings.accept_after} answers have been like that"
            said = f"{lasted}, so that is usual now ({self._usual}; before, {usual})"
            self._conditions.end(Sign.LATENCY, said)

    def _is_calm(self, latency_ms: float) -> bool:
        """Whether an anomaly is over; a drift when half of it is gone, so that it does not flap."""
        if self._is_drift:
            return self._baseline.drift(latency_ms) < self._settings.drift_sigma / 2
        return max(list(self._scores)[-self._settings.in_a_row :]) < self._settings.z_warning

    @property
    def _is_row(self) -> bool:
        return len(self._row_ms) == self._settings.in_a_row

    @property
    def _usual(self) -> str:
        usual_ms = self.usual_ms
        return "nothing is usual yet" if usual_ms is None else f"usual: {milliseconds(usual_ms)}"

    def _row(self) -> str:
        return f"{', '.join(map(milliseconds, list(self._row_ms)[-_SHOWN:]))} in a row"


def milliseconds(ms: float) -> str:
    """Write a latency in a sentence."""
    return f"{ms:,.0f} ms" if ms >= 10 else f"{ms:.1f} ms"
