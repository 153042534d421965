"""
What becomes a message, and when: equal alerts once, storms in one piece, recoveries where due.

A few messages go out at once; after that what happens meanwhile is collected, and goes in one
message. Of those few the last two are kept for what is more than a piece of information, and the
very last for what is critical, so that nothing lesser holds that up. A message lists the gravest
and counts the rest, so neither it nor the memory here grows with a storm. Instants are monotonic
seconds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from aiq.policy.alert import Alert, AlertLevel
from aiq.policy.buckets import PERIOD_S, Bucket

PER_MINUTE = 6
"""Messages; more are not read."""

_BURST = 0.5

GROUP_WINDOW_S = PERIOD_S / (PER_MINUTE * (1 - _BURST))
"""
How long a critical alert waits for its message at most: what it takes to refill one of the bucket.

A warning or a recovery waits at most twice as long, a piece of information three times.
"""

_NEEDED = {AlertLevel.CRITICAL: 1, AlertLevel.WARNING: 2, AlertLevel.INFO: 3}
"""Messages that have to be left in the bucket of three, by the gravest that one would tell."""

LISTED = 10
"""Alerts that one message lists; those beyond are counted."""

KNOWN = 2000
"""Alerts that are remembered as told."""

Key: TypeAlias = tuple[str, AlertLevel, str]
"""Provider, level and title: alerts that agree in these are the same."""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """An alert in a message, and how many equal ones were left out since it was last told."""

    alert: Alert
    repeats: int = 0


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What is told at once, in order of arrival; `omitted` counts by level what is not listed."""

    items: tuple[Item, ...]
    omitted: Mapping[AlertLevel, int]

    @property
    def level(self) -> AlertLevel:
        """The gravest of what it tells; a message of recoveries alone is `INFO`."""
        told = [one.alert.level for one in self.items if not one.alert.is_recovery]
        return max([*told, *self.omitted], default=AlertLevel.INFO)

    @property
    def is_recovery(self) -> bool:
        """Whether it tells of nothing but recoveries."""
        return not self.omitted and all(one.alert.is_recovery for one in self.items)

    @property
    def count(self) -> int:
        """How many alerts it stands for, repeats left out."""
        return len(self.items) + sum(self.omitted.values())


class _Told(msgspec.Struct):
    """
    When an alert was last told, and how many equal ones were left out since.

    inf: its message has not gone yet; -inf: it may be told again at once.
    """

    at: float = math.inf
    repeats: int = 0


class Alerting:
    """Takes alerts and gives messages."""

    def __init__(self, *, min_level: AlertLevel = AlertLevel.INFO, dedup_s: float = 300.0) -> None:
        """Alerts below `min_level` are dropped; equal ones within `dedup_s` seconds are one."""
        self._min_level = min_level
        self._dedup_s = dedup_s
        self._bucket = Bucket(PER_MINUTE, burst=_BURST)
        self._told: dict[Key, _Told] = {}
        """The oldest first."""
        self._pending: list[Alert] = []
        self._omitted: Counter[AlertLevel] = Counter()

    def add(self, alert: Alert, now: float) -> bool:
        """Take an alert; return whether a message will tell of it."""
        if alert.is_recovery:
            return self._recover(alert)
        if alert.level < self._min_level:
            return False
        known = self._told.get(_key(alert))
        if known is not None and now < known.at + self._dedup_s:
            known.repeats += 1
            return False
        self._enter(alert, now, repeats=0 if known is None else known.repeats)
        return True

    def ready_at(self, now: float) -> float:
        """Return from when there is a message to take; inf: there is nothing to tell."""
        weights = [*map(_weight, self._pending), *self._omitted]
        if not weights:
            return math.inf
        return self._bucket.ready_at(now, _NEEDED[max(weights)])

    def take(self, now: float, *, is_last: bool = False) -> Message | None:
        """Return the message that is due; the last of all does not wait for its turn."""
        ready_at = self.ready_at(now)
        if math.isinf(ready_at) or (ready_at > now and not is_last):
            return None
        self._bucket.take(now, 1)
        message = Message(
            items=tuple(self._tell(alert, now) for alert in self._pending),
            omitted=dict(self._omitted),
        )
        self._pending, self._omitted = [], Counter()
        return message

    def worst(self) -> dict[str, AlertLevel]:
        """Return by provider the gravest that was told of it and is not over."""
        found: dict[str, AlertLevel] = {}
        for provider, level, _ in self._told:
            found[provider] = max(level, found.get(provider, level))
        return found

    def _recover(self, alert: Alert) -> bool:
        """
        End what was told of the provider under the same title, at whatever level.

        Where nothing was told there is nothing to end, and nobody is told.
        """
        same = (alert.provider, alert.title)
        over = [key for key in self._told if (key[0], key[2]) == same]
        for key in over:
            del self._told[key]
        if over:
            self._list(alert)
        return bool(over)

    def _enter(self, alert: Alert, now: float, *, repeats: int) -> None:
        """List an alert and remember it, or count it where either has no room."""
        key = _key(alert)
        if key not in self._told and not self._has_room(now):
            self._omitted[alert.level] += 1
        elif self._list(alert):
            self._told[key] = _Told(repeats=repeats)

    def _list(self, alert: Alert) -> bool:
        """List an alert, in place of a lesser one where the list is full; False: counted."""
        if len(self._pending) < LISTED:
            self._pending.append(alert)
            return True
        least = min(self._pending, key=_weight)
        if _weight(least) >= _weight(alert):
            self._omitted[alert.level] += 1
            return False
        self._pending.remove(least)
        self._omitted[least.level] += 1
        if (told := self._told.get(_key(least))) is not None:
            told.at = -math.inf
        self._pending.append(alert)
        return True

    def _tell(self, alert: Alert, now: float) -> Item:
        key = _key(alert)
        told = None if alert.is_recovery else self._told.pop(key, None)
        if told is None:
            return Item(alert=alert)
        self._told[key] = _Told(now)
        return Item(alert=alert, repeats=told.repeats)

    def _has_room(self, now: float) -> bool:
        """Forget the oldest that may be told again, if memory is full; False: there is none."""
        if len(self._told) < KNOWN:
            return True
        oldest = next(key for key, told in self._told.items() if told.at < math.inf)
        if now < self._told[oldest].at + self._dedup_s:
            return False
        del self._told[oldest]
        return True


def _key(alert: Alert) -> Key:
    return alert.provider, alert.level, alert.title


def _weight(alert: Alert) -> AlertLevel:
    """What makes room for what where a message is full; recoveries stay as long as warnings."""
    return AlertLevel.WARNING if alert.is_recovery else alert.level
