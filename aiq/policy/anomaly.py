"""
Watches one series (a provider at one address, asked for one model to one depth) for what is wrong.

It is given one observation after the other and says of each what is the matter and what is to be
told. The same detector serves probes and the real attempts of a run: what it knows, it was told.

Detectors that look at every sample raise false alarms by their number alone, and latencies have
heavy tails. Therefore nothing is alerted on one sample, except a provider that refuses for good
(disabled). One unusual answer is a finding of level `INFO` and no more; `in_a_row` of them are a
condition, and as many good ones end it. Its level is what the least of them reaches. What that
comes to in false alarms is printed by `python -m tests.anomalies`.

Instants are seconds since the epoch. Latencies are milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from aiq.policy.alert import Alert, AlertLevel
from aiq.policy.conditions import Conditions, Ended, Finding, most_severe
from aiq.policy.defaults import MonitorSettings
from aiq.policy.duration import shown_duration
from aiq.policy.observation import Observation
from aiq.policy.outage import Outage
from aiq.policy.pace import Pace
from aiq.policy.standing import Status


class Judgement(msgspec.Struct, frozen=True):
    """The most severe finding of one observation, and what somebody is to be told."""

    finding: Finding | None
    alerts: tuple[Alert, ...]
    """A change of status, then what is over, then what has begun or become worse."""


class Detector:
    """What one series was like and what is the matter with it; constant in size."""

    __slots__ = ("_conditions", "_outage", "_pace", "_provider", "_status")

    def __init__(
        self, settings: MonitorSettings, *, provider: str, limit_ms: float | None = None
    ) -> None:
        """`limit_ms` is the latency that is too long whatever is usual; None: there is none."""
        self._provider = provider
        self._conditions = Conditions()
        self._outage = Outage(settings, self._conditions)
        self._pace = Pace(settings, self._conditions, limit_ms)
        self._status = Status.UNKNOWN

    @property
    def worst(self) -> Finding | None:
        """The most severe condition that lasts."""
        return self._conditions.worst

    @property
    def usual_ms(self) -> float | None:
        """The usual latency; None while too few answers are known."""
        return self._pace.usual_ms

    def observe(self, seen: Observation, *, now: float) -> Judgement:
        """Take in what was seen, judged by what was seen before."""
        finding = most_severe(list(self._findings(seen, now)))
        alerts = [*self._status_change(seen, now)]
        ended, begun = self._conditions.news()
        alerts += [self._recovery(one, now) for one in ended]
        if begun is not None:
            alerts.append(self._alert(begun, now))
        return Judgement(finding, tuple(alerts))

    def restated(self, *, now: float) -> Alert | None:
        """Return the alert of what is the matter, for somebody who was not there when it began."""
        worst = self.worst
        return None if worst is None else self._alert(worst, now)

    def _findings(self, seen: Observation, now: float) -> Iterable[Finding]:
        if seen.is_failure:
            yield from self._outage.failed(seen, now=now)
        elif seen.is_good:
            yield from self._outage.succeeded(now=now)
            if seen.latency_ms is not None:
                yield from self._pace.took(seen.latency_ms, now=now)

    def _status_change(self, seen: Observation, now: float) -> Iterable[Alert]:
        """Tell of another status; that a provider is healthy at first goes without saying."""
        before, self._status = self._status, seen.status
        if seen.status is before or (before, seen.status) == (Status.UNKNOWN, Status.HEALTHY):
            return
        yield Alert(
            at=now,
            level=AlertLevel.INFO,
            provider=self._provider,
            title=f"now {seen.status}",
            detail=seen.reason,
        )

    def _alert(self, finding: Finding, now: float) -> Alert:
        return Alert(
            at=now,
            level=finding.level,
            provider=self._provider,
            title=finding.sign.value,
            detail=finding.detail,
        )

    def _recovery(self, ended: Ended, now: float) -> Alert:
        return Alert(
            at=now,
            level=ended.level,
            provider=self._provider,
            title=ended.sign.value,
            detail=f"after {shown_duration(now - ended.began_at)}: {ended.detail}",
            is_recovery=True,
        )
