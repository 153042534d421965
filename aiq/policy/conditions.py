"""
What can be the matter with a provider, each from its beginning to its end.

A condition is told of once when it begins, again if it becomes more severe, and when it is over. A
lesser one is not told of beside a more severe one: who is down need not be told slow as well.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec

from aiq.policy.alert import AlertLevel


class Sign(enum.Enum):
    """The conditions; the values are the titles of their alerts. Later ones weigh more."""

    LATENCY = "latency anomaly"
    SLOW = "slow"
    ERRORS = "errors"
    DOWN = "down"


_WEIGHT = {sign: weight for weight, sign in enumerate(Sign)}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one observation shows; `INFO` is unusual, and by itself no matter."""

    sign: Sign
    level: AlertLevel
    detail: str


def most_severe(findings: Iterable[Finding]) -> Finding | None:
    """Return the finding of the highest level, of the weightiest sign among equals."""
    return max(findings, key=lambda one: (one.level, _WEIGHT[one.sign]), default=None)


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """A condition that was told of and is over."""

    sign: Sign
    level: AlertLevel
    began_at: float
    detail: str


class Conditions:
    """Those of one series."""

    __slots__ = ("_active", "_began_at", "_ended", "_told")

    def __init__(self) -> None:
        self._active: dict[Sign, Finding] = {}
        self._began_at: dict[Sign, float] = {}
        self._told: dict[Sign, AlertLevel] = {}
        self._ended: list[Ended] = []

    def __contains__(self, sign: Sign) -> bool:
        return sign in self._active

    @property
    def worst(self) -> Finding | None:
        """The most severe that is the matter now, as it was when it began or became worse."""
        return most_severe(self._active.values())

    def begin(self, finding: Finding, *, now: float) -> Finding:
        """Begin a condition, or make it worse; one that is no worse stays as it is."""
        active = self._active.get(finding.sign)
        if active is None:
            self._began_at[finding.sign] = now
        if active is None or finding.level > active.level:
            self._active[finding.sign] = finding
        return finding

    def end(self, sign: Sign, detail: str) -> None:
        """End a condition; nothing happens if there is none."""
        if self._active.pop(sign, None) is None:
            return
        began_at, told = self._began_at.pop(sign), self._told.pop(sign, None)
        if told is not None:
            self._ended.append(Ended(sign=sign, level=told, began_at=began_at, detail=detail))

    def news(self) -> tuple[list[Ended], Finding | None]:
        """Return what is to be told since last asked: what is over, and what is the matter."""
        ended = sorted(self._ended, key=lambda one: _WEIGHT[one.sign], reverse=True)
        self._ended = []
        worst = self.worst
        if worst is None or self._told.get(worst.sign, 0) >= worst.level:
            return ended, None
        self._told[worst.sign] = worst.level
        return ended, worst
