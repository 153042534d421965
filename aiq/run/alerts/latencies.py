"""
The latencies of a run's own answers, held against what is usual, as `monitor` does with probes.

A run may answer thousands of times a second, and what it asks differs from job to job. So one value
is judged in a while: the median of a provider's answers in `SPAN_S`. An answer costs a place in a
histogram and no more.
"""

from __future__ import annotations

from collections.abc import Callable

from aiq.clock import Clock
from aiq.model import Kind
from aiq.policy.alert import Alert
from aiq.policy.anomaly import Detector
from aiq.policy.defaults import MonitorSettings
from aiq.policy.observation import attempted
from aiq.run.report import Histogram

SPAN_S = 5.0
"""Ten of them are enough to know what is usual, three to say that it is not so."""


class LatencyWatch:
    """Is told of every attempt (`aiq.run.board.AttemptWatcher`); constant in size by provider."""

    def __init__(
        self, raise_alert: Callable[[Alert], None], settings: MonitorSettings, clock: Clock
    ) -> None:
        self._raise = raise_alert
        self._settings = settings
        self._clock = clock
        self._series: dict[str, _Series] = {}

    def __call__(self, provider: str, kind: str, latency_ms: float) -> None:
        """Take in an attempt that is settled; only answers say how long an answer takes."""
        if kind != Kind.OK:
            return
        now = self._clock.now()
        series = self._series.get(provider)
        if series is None:
            series = _Series(Detector(self._settings, provider=provider), now)
            self._series[provider] = series
        elif now - series.began >= SPAN_S:
            self._judge(series)
            series.begin(now)
        series.latencies.add(latency_ms)

    def _judge(self, series: _Series) -> None:
        median_ms = series.latencies.quantile(0.5)
        seen = None if median_ms is None else attempted(Kind.OK, median_ms)
        if seen is not None:
            judged = series.detector.observe(seen, now=self._clock.utc_us() / 1e6)
            for alert in judged.alerts:
                self._raise(alert)


class _Series:
    """What a provider's answers took since an instant, and who judges that."""

    def __init__(self, detector: Detector, now: float) -> None:
        self.detector = detector
        self.begin(now)

    def begin(self, now: float) -> None:
        self.began = now
        self.latencies = Histogram()
