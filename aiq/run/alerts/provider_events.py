"""
What a run tells of its providers: down, disabled, or switched off by an operator, and back.

What an operator did is no alarm, and only an answer shows that a provider answers again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from aiq.clock import Clock
from aiq.policy.alert import Alert, AlertLevel
from aiq.policy.standing import Status
from aiq.policy.switch import Switch
from aiq.run.board import ProviderView

DOWN = "down"
DISABLED = "disabled"
SWITCHED_OFF = "switched off"

FIT = (Status.HEALTHY, Status.UNKNOWN)
"""The conditions of a provider that can be asked, as far as anybody knows."""

_BY = {Switch.OFF: "by an operator", Switch.LEFT_OFF: "by an operator, in an earlier run"}


class _Down(NamedTuple):
    """Since when a provider is down, and its answers when it was last seen so."""

    since: float
    answers: int


class ProviderEvents:
    """Raises alerts about single providers."""

    def __init__(self, raise_alert: Callable[[Alert], None], clock: Clock) -> None:
        self._raise = raise_alert
        self._clock = clock
        self._down: dict[str, _Down] = {}
        self._disabled: set[str] = set()
        self._switched_off: set[str] = set()

    def look_at(self, one: ProviderView) -> None:
        """Tell what is new of a provider; what it does itself shows only while it is on."""
        by = _BY.get(one.switch)
        if by is None:
            if one.name in self._switched_off:
                self._switched_off.discard(one.name)
                self._recover(one, SWITCHED_OFF, "an operator switched it on again")
            self._look_for_disabled(one)
            self._look_for_down(one)
        elif one.name not in self._switched_off:
            self._switched_off.add(one.name)
            self._tell(AlertLevel.INFO, one, SWITCHED_OFF, by)

    def _look_for_disabled(self, one: ProviderView) -> None:
        """Whoever is disabled comes back only by an operator's `reset`, and then is fit."""
        status = one.condition.status
        if status is Status.DISABLED and one.name not in self._disabled:
            self._disabled.add(one.name)
            self._tell(AlertLevel.CRITICAL, one, DISABLED, one.condition.reason or "")
        elif status in FIT and one.name in self._disabled:
            self._disabled.discard(one.name)
            self._recover(one, DISABLED, "it is asked again")

    def _look_for_down(self, one: ProviderView) -> None:
        """
        A provider is down when its breaker opens, and back when that is closed after an answer.

        An operator's `reset` closes it too, and shows nothing.
        """
        now, answers = self._clock.now(), one.tally.succeeded
        down = self._down.get(one.name)
        if one.condition.status is Status.UNHEALTHY:
            self._down[one.name] = _Down(now if down is None else down.since, answers)
            if down is None:
                self._tell(AlertLevel.CRITICAL, one, DOWN, one.condition.reason or "")
        elif down is not None and not one.is_shut and answers > down.answers:
            del self._down[one.name]
            self._recover(one, DOWN, f"it answers again after {span(now - down.since)}")

    def _tell(
        self,
        level: AlertLevel,
        one: ProviderView,
        title: str,
        detail: str,
        *,
        is_recovery: bool = False,
    ) -> None:
        self._raise(
            Alert(
                at=self._clock.utc_us() / 1e6,
                level=level,
                provider=one.name,
                title=title,
                detail=detail,
                is_recovery=is_recovery,
            )
        )

    def _recover(self, one: ProviderView, title: str, detail: str) -> None:
        self._tell(AlertLevel.INFO, one, title, detail, is_recovery=True)


def why_unfit(one: ProviderView) -> str | None:
    """Say what keeps a provider from being asked as much as could be; None: nothing."""
    if (by := _BY.get(one.switch)) is not None:
        return f"{one.name}: {SWITCHED_OFF} {by}"
    condition = one.condition
    if condition.status in FIT and condition.reason is None:
        return None
    return f"{one.name}: {condition.reason or condition.status}"


def span(seconds: float) -> str:
    """Return a duration for people."""
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600} h {whole // 60 % 60} min"
