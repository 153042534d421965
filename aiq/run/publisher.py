"""
Writes down how a run sees its providers, so that `status` in another terminal can say it too.

Only what changed is written, at most once a second, and once more at the end. What breakers have to
remember across runs is written at the same moments.
"""

from __future__ import annotations

from aiq.clock import Clock
from aiq.policy.standing import Condition
from aiq.run.fleet import Fleet
from aiq.store.writer import Writer
from aiq.store.writes import BreakerMemory, ProviderState

INTERVAL_S = 1.0


class Publisher:
    """Publishes conditions."""

    def __init__(self, fleet: Fleet, writer: Writer, clock: Clock) -> None:
        self._fleet = fleet
        self._writer = writer
        self._clock = clock
        self._next_at = clock.now()
        self._published: dict[str, Condition] = {}
        self._openings: dict[tuple[str, str], int] = {}

    def tick(self) -> None:
        """Publish, if it is time."""
        if self._clock.now() >= self._next_at:
            self.publish_all()

    def publish_all(self) -> None:
        """Hand what changed since the last time to the writer."""
        now = self._clock.now()
        self._next_at = now + INTERVAL_S
        alone = self._fleet.is_all_open
        for name, provider in self._fleet.providers.items():
            condition = provider.standing.condition(now, alone=alone)
            if condition != self._published.get(name):
                self._published[name] = condition
                self._writer.submit(self._state(name, condition, now))
        self._publish_breakers()

    def _state(self, name: str, condition: Condition, now: float) -> ProviderState:
        utc_us = self._clock.utc_us()
        until = condition.until
        return ProviderState(
            provider=name,
            status=condition.status.value,
            reason=condition.reason,
            until=None if until is None else utc_us + round((until - now) * 1e6),
            updated_at=utc_us,
        )

    def _publish_breakers(self) -> None:
        """Several providers may have one address: the worst of them is what it has come to."""
        found: dict[tuple[str, str], int] = {}
        for provider in self._fleet.providers.values():
            for model, channel in provider.standing.channels.items():
                key = (provider.settings.base_url, model)
                found[key] = max(found.get(key, 0), channel.breaker.openings)
        for key, openings in found.items():
            if openings != self._openings.get(key, 0):
                self._openings[key] = openings
                base_url, model = key
                self._writer.submit(
                    BreakerMemory(base_url=base_url, model=model, openings=openings)
                )
