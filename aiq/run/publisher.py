"""
Writes down how a run sees its providers, so that `status` in another terminal can say it too.

Only what changed is written, at most once a second, and once more at the end. What breakers and
accounts have to remember across runs is written at the same moments, and `recall` is how the next
run comes to know it.
"""

from __future__ import annotations

import hashlib

from aiq.clock import Clock
from aiq.config import ProviderSettings
from aiq.policy.cooldown import left_s
from aiq.policy.standing import Condition
from aiq.run.fleet import Fleet
from aiq.store import providers
from aiq.store.db import Database
from aiq.store.writer import Writer
from aiq.store.writes import BreakerMemory, CooldownMemory, ProviderState

INTERVAL_S = 1.0


async def recall(database: Database, fleet: Fleet, clock: Clock) -> None:
    """Let a fleet take up what its breakers and accounts had come to in earlier runs."""
    openings = await providers.openings(database)
    noted = await providers.cooldowns(database)
    now, now_us = clock.now(), clock.utc_us()
    left = {
        one.account: left_s(until_us=one.until, noted_at_us=one.noted_at, now_us=now_us)
        for one in noted
    }
    cooldowns = {
        provider.name: now + wait_s
        for provider in fleet.providers.values()
        if (wait_s := left.get(holder(provider.settings)))
    }
    fleet.remember(openings, cooldowns)


def holder(settings: ProviderSettings) -> str:
    """
    Return by what the database knows who was told to wait: the account, and which key it has.

    With another key the same variable is another customer of the vendor. Four bytes tell two keys
    apart and are of no use to whoever reads the database.
    """
    if settings.key is None:
        return settings.account
    key = settings.key.reveal().encode()
    return f"{settings.account} {hashlib.blake2b(key, digest_size=4).hexdigest()}"


class Publisher:
    """Publishes conditions."""

    def __init__(self, fleet: Fleet, writer: Writer, clock: Clock) -> None:
        self._fleet = fleet
        self._writer = writer
        self._clock = clock
        self._next_at = clock.now()
        self._published: dict[str, Condition] = {}
        self._openings: dict[tuple[str, str], int] = {}
        self._cooldowns: dict[str, float] = {}

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
        self._publish_cooldowns(now)

    def forget(self, name: str) -> None:
        """Let no later run keep to waits that a person wants forgotten: `Standing.start_over`."""
        provider = self._fleet.providers[name]
        base_url = provider.settings.base_url
        for model in {*provider.standing.openings, *provider.standing.channels}:
            self._openings.pop((base_url, model), None)
            self._writer.submit(BreakerMemory(base_url=base_url, model=model, openings=0))
        account = holder(provider.settings)
        self._cooldowns.pop(account, None)
        utc_us = self._clock.utc_us()
        self._writer.submit(CooldownMemory(account=account, until=utc_us, noted_at=utc_us))

    def _state(self, name: str, condition: Condition, now: float) -> ProviderState:
        utc_us, until = self._clock.utc_us(), condition.until
        return ProviderState(
            provider=name,
            status=condition.status.value,
            reason=condition.reason,
            until=None if until is None else _later(utc_us, until - now),
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

    def _publish_cooldowns(self, now: float) -> None:
        """
        Write down what has not ended, also what an earlier run had noted.

        That is noted anew, in case the clock was wrong then: a wait that it put years ahead would
        be served by every run until that day.
        """
        for provider in self._fleet.providers.values():
            account = holder(provider.settings)
            until = provider.standing.account.limits.cooldown.until
            if until > now and until != self._cooldowns.get(account):
                self._cooldowns[account] = until
                utc_us = self._clock.utc_us()
                self._writer.submit(
                    CooldownMemory(
                        account=account, until=_later(utc_us, until - now), noted_at=utc_us
                    )
                )


def _later(utc_us: int, seconds: float) -> int:
    return utc_us + round(seconds * 1e6)
