"""
Tells when the answers of a run become slow: the detector of `monitor`, fed with real attempts.

It is called with every attempt that is settled, and looks at the latency of answers alone: that a
provider is down, or fails too often, the run's breaker and figures know better.
"""

from __future__ import annotations

from collections.abc import Callable

from aiq.clock import Clock
from aiq.model import Kind
from aiq.policy.alert import Alert
from aiq.policy.anomaly import Detector
from aiq.policy.defaults import MonitorSettings
from aiq.policy.observation import attempted
from aiq.policy.pulse import Pulse


class AttemptWatch:
    """Watches the providers of one run; `tell` gets alerts and must not block."""

    def __init__(
        self, settings: MonitorSettings, *, tell: Callable[[Alert], None], clock: Clock
    ) -> None:
        self._settings = settings
        self._tell = tell
        self._clock = clock
        self._series: dict[str, tuple[Pulse, Detector]] = {}

    def __call__(self, provider: str, kind: str, latency_ms: float) -> None:
        """Take in an attempt; thousands a second cost little, because they are summed up first."""
        if kind != Kind.OK:
            return
        if provider not in self._series:
            self._series[provider] = Pulse(), Detector(self._settings, provider=provider)
        pulse, detector = self._series[provider]
        usual_ms = pulse.beat(latency_ms, now=self._clock.now())
        seen = None if usual_ms is None else attempted(Kind.OK, usual_ms)
        if seen is None:
            return
        for alert in detector.observe(seen, now=self._clock.utc_us() / 1e6).alerts:
            self._tell(alert)
