"""
What a run tells of its providers: down, disabled, or switched off by an operator, and back.

What an operator did is no alarm, and only an answer shows that a provider answers again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from aiq.clock import Clock
from aiq.policy.alert import Alert, AlertLevel
from aiq.policy.duration import shown_duration
from aiq.policy.standing import Status
from aiq.policy.switch import Switch
from aiq.run.alerts.raising import Raising
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
        self._raising = Raising(raise_alert, clock)
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
                self._raising.recover(
                    AlertLevel.INFO, SWITCHED_OFF, "an operator switched it on again", of=one.name
                )
            self._look_for_disabled(one)
            self._look_for_down(one)
        elif one.name not in self._switched_off:
            self._switched_off.add(one.name)
            self._raising.tell(AlertLevel.INFO, SWITCHED_OFF, by, of=one.name)

    def _look_for_disabled(self, one: ProviderView) -> None:
        """Whoever is disabled comes back only by an operator's `reset`, and then is fit."""
        status = one.condition.status
        if status is Status.DISABLED and one.name not in self._disabled:
            self._disabled.add(one.name)
            self._raising.tell(
                AlertLevel.CRITICAL, DISABLED, one.condition.reason or "", of=one.name
            )
        elif status in FIT and one.name in self._disabled:
            self._disabled.discard(one.name)
            self._raising.recover(AlertLevel.CRITICAL, DISABLED, "it is asked again", of=one.name)

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
                self._raising.tell(
                    AlertLevel.CRITICAL, DOWN, one.condition.reason or "", of=one.name
                )
        elif down is not None and not one.is_shut and answers > down.answers:
            del self._down[one.name]
            said = f"it answers again after {shown_duration(now - down.since)}"
            self._raising.recover(AlertLevel.CRITICAL, DOWN, said, of=one.name)


def why_unfit(one: ProviderView) -> str | None:
    """Say what keeps a provider from being asked as much as could be; None: nothing."""
    if (by := _BY.get(one.switch)) is not None:
        return f"{one.name}: {SWITCHED_OFF} {by}"
    condition = one.condition
    if condition.status in FIT and condition.reason is None:
        return None
    return f"{one.name}: {condition.reason or condition.status}"
