"""Judges failures: how many there are in a row, and what share of all they are."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from aiq.policy.alert import AlertLevel
from aiq.policy.conditions import Conditions, Finding, Sign
from aiq.policy.defaults import MonitorSettings
from aiq.policy.observation import Observation

WINDOW = 100
"""Observations over which the share of failures is taken."""


class Outage:
    """The failures of one series; begins and ends `DOWN` and `ERRORS`."""

    __slots__ = ("_conditions", "_failures", "_good_in_a_row", "_in_a_row", "_settings")

    def __init__(self, settings: MonitorSettings, conditions: Conditions) -> None:
        self._settings = settings
        self._conditions = conditions
        self._failures: deque[bool] = deque(maxlen=WINDOW)
        self._in_a_row = self._good_in_a_row = 0

    def failed(self, seen: Observation, *, now: float) -> Iterable[Finding]:
        """Take in a failure; one is unusual, `in_a_row` of them or a final one are an outage."""
        self._good_in_a_row = 0
        self._in_a_row += 1
        self._failures.append(True)
        yield Finding(sign=Sign.DOWN, level=AlertLevel.INFO, detail=seen.reason)
        yield from self._share(now)
        if seen.is_final or self._in_a_row >= self._settings.in_a_row:
            row = "" if self._in_a_row == 1 else f"{self._in_a_row} failures in a row, the last: "
            down = Finding(sign=Sign.DOWN, level=AlertLevel.CRITICAL, detail=row + seen.reason)
            yield self._conditions.begin(down, now=now)

    def succeeded(self, *, now: float) -> Iterable[Finding]:
        """Take in that it did well; `in_a_row` times that, and an outage is over."""
        self._in_a_row = 0
        self._good_in_a_row += 1
        self._failures.append(False)
        if Sign.DOWN not in self._conditions:
            yield from self._share(now)
        elif self._good_in_a_row >= self._settings.in_a_row:
            self._conditions.end(Sign.DOWN, "it answers again")
            self._conditions.end(Sign.ERRORS, "they were the outage")
            self._failures.clear()  # it was told of, and must not be told again as errors

    def _share(self, now: float) -> Iterable[Finding]:
        settings, count, failures = self._settings, len(self._failures), sum(self._failures)
        share = failures / count
        said = f"{failures} of the last {count} failed"
        is_known = count >= settings.error_samples and failures >= settings.in_a_row
        if is_known and share >= settings.error_share:
            errors = Finding(sign=Sign.ERRORS, level=AlertLevel.WARNING, detail=said)
            yield self._conditions.begin(errors, now=now)
        elif share <= settings.error_share / 2:
            self._conditions.end(Sign.ERRORS, said)
