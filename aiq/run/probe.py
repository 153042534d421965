"""
`probe`: all providers examined at once, each in its own time, and what came of it before.

A round opens connections of its own and never touches the job database; its results go to the
health database where that can be written, and into memory where not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec

from aiq.clock import Clock, rfc3339
from aiq.config import ProviderSettings, Settings
from aiq.errors import ExitCode
from aiq.policy import health
from aiq.policy.availability import Figures, figures
from aiq.policy.health import Level, LevelResult
from aiq.policy.standing import Status
from aiq.redaction import Redactor
from aiq.run.examination import Examination
from aiq.run.fleet import Fleet, Provider, Transports, transports
from aiq.run.probe_history import ProbeHistory
from aiq.run.probe_ways import lasting
from aiq.store.health import PastProbe, ProbeRow


class ProviderHealth(msgspec.Struct, frozen=True, kw_only=True):
    """What one round found out about one provider."""

    name: str
    kind: str
    base_url: str
    model: str | None
    """The one that was asked; of a local server without a configured one, its only one."""
    wanted: str | None
    """The one that was to be asked; None: whichever it has, known only while it answers."""
    depth: Level
    """How deep it was to be looked at."""
    status: Status
    reason: str
    levels: tuple[LevelResult, ...]
    past: tuple[PastProbe, ...] = ()
    """The last 100 of its series, this one last."""

    @property
    def history(self) -> Figures | None:
        """Return the last 100 in figures."""
        if not self.past:
            return None
        return figures([(one.status, one.latency_ms) for one in self.past])

    @property
    def latency_ms(self) -> float | None:
        """Return how long the deepest request of a probe of this depth took, if it went well."""
        deepest = min(self.depth, Level.FUNCTION)
        return next(
            (one.latency_ms for one in self.levels if one.level == deepest and one.ok), None
        )

    def to_json(self) -> dict[str, object]:
        """Return the provider's object of the JSON contract (`design` 11)."""
        latency_ms, history = self.latency_ms, self.history
        return {
            "name": self.name,
            "kind": self.kind,
            "model": self.model,
            "status": self.status.value,
            "reason": self.reason,
            "latency_ms": None if latency_ms is None else round(latency_ms, 1),
            "levels": [level.to_json() for level in self.levels],
            "history": history and history.to_json(),
        }


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """All providers at one instant; `unstored` says why the health database does not have it."""

    checked_at: int
    providers: tuple[ProviderHealth, ...]
    unstored: str | None = None

    @property
    def exit_code(self) -> ExitCode:
        """Return the exit status of a probe that ends with this round."""
        return health.exit_code(provider.status for provider in self.providers)

    def to_json(self) -> dict[str, object]:
        """Return the contract's object (`design` 11)."""
        return {
            "checked_at": rfc3339(self.checked_at),
            "providers": [provider.to_json() for provider in self.providers],
        }


class Probe:
    """Examines the providers of a configuration, as often as it is told to."""

    def __init__(
        self,
        settings: Settings,
        *,
        database: Path,
        model: str | None,
        level: int | None,
        clock: Clock,
        environ: dict[str, str],
        ways: Transports | None = None,
        limit_s: float | None = None,
    ) -> None:
        """
        Take what is to be examined, and how.

        Args:
            settings: the providers, and their time-outs.
            database: the job database, beside which the results are kept.
            model: the one to ask for; None: each provider's own.
            level: how deep to look at most; None: as deep as each provider's settings say.
            clock: measures.
            environ: names the proxies.
            ways: to the providers; None: real ones.
            limit_s: the time there is for a provider at most, whatever its settings say; None:
                what they say.
        """
        self._settings = settings
        self._model = model
        self._level = level
        self._clock = clock
        self._environ = environ
        self._limit_s = limit_s
        self._ways = ways or lasting(transports(clock, environ), clock)
        self._redactor = Redactor(s for one in settings.providers for s in one.secrets)
        self._history = ProbeHistory(database)

    @property
    def is_paid(self) -> bool:
        """Whether a round sends requests that cost something."""
        return any(
            self._depth(one.probe.level) >= Level.FUNCTION for one in self._settings.providers
        )

    def _depth(self, configured: int) -> Level:
        return Level(self._level or configured)

    async def round(self) -> Round:
        """
        Examine every provider once.

        Raises:
            ConfigError: the environment names a proxy that cannot be used.
        """
        return await self._look(self._settings.providers)

    async def look(self, settings: ProviderSettings) -> Round:
        """Examine one provider; raises as `round`."""
        return await self._look([settings])

    async def _look(self, providers: Sequence[ProviderSettings]) -> Round:
        checked_at = self._clock.utc_us()
        fleet = Fleet.of(providers, concurrency=1, transports=self._ways)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._examine(provider), name=f"probe {provider.name}")
                    for provider in fleet.providers.values()
                ]
        finally:
            await fleet.close()
        found = [task.result() for task in tasks]
        series, unstored = await self._history.keep([_row(one, checked_at) for one in found])
        return Round(
            checked_at=checked_at,
            providers=tuple(
                msgspec.structs.replace(one, past=tuple(past))
                for one, past in zip(found, series, strict=True)
            ),
            unstored=unstored,
        )

    async def _examine(self, provider: Provider) -> ProviderHealth:
        examination = Examination(
            provider,
            wanted_model=self._model,
            clock=self._clock,
            redactor=self._redactor,
            environ=self._environ,
            limit_s=self._limit_s,
        )
        depth = self._depth(provider.settings.probe.level)
        wanted = examination.model
        levels = await examination.levels(depth)
        verdict = health.verdict(levels)
        model = examination.model
        return ProviderHealth(
            name=provider.name,
            kind=provider.settings.kind,
            base_url=provider.settings.base_url,
            model=model and self._redactor.text(model),  # keys have been pasted in odd places
            wanted=wanted and self._redactor.text(wanted),
            depth=depth,
            status=verdict.status,
            reason=verdict.reason,
            levels=levels,
        )


def _row(found: ProviderHealth, checked_at: int) -> ProbeRow:
    latency_ms = found.latency_ms
    return ProbeRow(
        provider=found.name,
        base_url=found.base_url,
        model=found.wanted or "",
        level=found.depth,
        checked_at=checked_at,
        status=found.status.value,
        reason=found.reason,
        latency_us=None if latency_ms is None else round(latency_ms * 1000),
    )
