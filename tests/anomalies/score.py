"""What the detector makes of a series: incidents found, and alarms where there was nothing."""

from __future__ import annotations

import bisect
from collections import Counter
from dataclasses import dataclass, field
from statistics import median

from aiq.policy.alert import Alert, AlertLevel
from aiq.policy.anomaly import Detector
from aiq.policy.defaults import MonitorSettings
from aiq.policy.observation import Observation
from aiq.policy.standing import Status
from tests.anomalies.series import Series

AFTERMATH = 15
"""Samples after an incident in which an alert is still one of it: rolling means lag."""


@dataclass
class Score:
    """What became of one series."""

    samples: int
    incidents: int
    delays: list[int] = field(default_factory=list)
    """Samples of each incident that was found, up to the alert that named it."""
    false: Counter[AlertLevel] = field(default_factory=Counter)
    """Alerts that began outside of incidents; of `INFO`, the answers that were marked unusual."""

    def per_10_000(self, level: AlertLevel) -> float:
        return self.false[level] * 10_000 / self.samples

    @property
    def delay(self) -> float | None:
        return median(self.delays) if self.delays else None


def observed(latency_ms: float | None) -> Observation:
    if latency_ms is None:
        return Observation(status=Status.UNHEALTHY, reason="HTTP 500")
    return Observation(status=Status.HEALTHY, latency_ms=latency_ms)


def played(series: Series, settings: MonitorSettings | None = None) -> Score:
    """Show a series to a detector, one sample a minute."""
    detector = Detector(settings or MonitorSettings(), provider="p")
    score = Score(len(series.values), len(series.incidents))
    starts = [first for first, _ in series.incidents]
    found: set[int] = set()
    for n, value in enumerate(series.values):
        judgement = detector.observe(observed(value), now=60.0 * n)
        incident = bisect.bisect_right(starts, n) - 1
        is_outside = incident < 0 or n >= series.incidents[incident][1] + AFTERMATH
        if is_outside and judgement.finding is not None:
            score.false[AlertLevel.INFO] += judgement.finding.level is AlertLevel.INFO
        for alert in filter(_is_begun, judgement.alerts):
            if is_outside:
                score.false[alert.level] += 1
            elif alert.title == series.title and incident not in found:
                found.add(incident)
                score.delays.append(n - starts[incident] + 1)
    return score


def _is_begun(alert: Alert) -> bool:
    return alert.level > AlertLevel.INFO and not alert.is_recovery
