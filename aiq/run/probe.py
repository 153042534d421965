"""
`probe`: all providers examined at once, each in its own time, and what came of it before.

A round opens connections of its own and never touches the job database; its results go to the
health database where that can be written, and into memory where not.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import msgspec

from aiq.clock import Clock, rfc3339
from aiq.config import Settings
from aiq.errors import ExitCode, StoreError
from aiq.policy import health
from aiq.policy.availability import Figures, figures
from aiq.policy.health import Level, LevelResult
from aiq.policy.standing import Status
from aiq.redaction import Redactor
from aiq.run.examination import Examination
from aiq.run.fleet import Fleet, Provider, transports
from aiq.store.health import KEPT, ProbeRow, record


class ProviderHealth(msgspec.Struct, frozen=True, kw_only=True):
    """What one round found out about one provider."""

    name: str
    kind: str
    base_url: str
    model: str | None
    depth: Level
    """How deep it was to be looked at."""
    status: Status
    reason: str
    levels: tuple[LevelResult, ...]
    history: Figures | None = None

    @property
    def latency_ms(self) -> float | None:
        """Return how long the deepest request of a probe of this depth took, if it went well."""
        deepest = min(self.depth, Level.FUNCTION)
        return next(
            (one.latency_ms for one in self.levels if one.level == deepest and one.ok), None
        )

    def to_json(self) -> dict[str, object]:
        """Return the provider's object of the JSON contract (`design` 11)."""
        latency_ms = self.latency_ms
        return {
            "name": self.name,
            "kind": self.kind,
            "model": self.model,
            "status": self.status.value,
            "reason": self.reason,
            "latency_ms": None if latency_ms is None else round(latency_ms, 1),
            "levels": [level.to_json() for level in self.levels],
            "history": self.history and self.history.to_json(),
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
    ) -> None:
        """`level` None leaves the depth to each provider's settings."""
        self._settings = settings
        self._database = database
        self._model = model
        self._level = level
        self._clock = clock
        self._environ = environ
        self._redactor = Redactor(s for one in settings.providers for s in one.secrets)
        self._memory: dict[str, deque[tuple[str, float | None]]] = {}

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
        checked_at = self._clock.utc_us()
        fleet = Fleet.of(
            self._settings.providers,
            concurrency=1,
            transports=transports(self._clock, self._environ),
        )
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._examine(provider), name=f"probe {provider.name}")
                    for provider in fleet.providers.values()
                ]
        finally:
            await fleet.close()
        return await self._with_history(checked_at, [task.result() for task in tasks])

    async def _examine(self, provider: Provider) -> ProviderHealth:
        examination = Examination(
            provider,
            wanted_model=self._model,
            clock=self._clock,
            redactor=self._redactor,
            environ=self._environ,
        )
        depth = self._depth(provider.settings.probe.level)
        levels = await examination.levels(depth)
        verdict = health.verdict(levels)
        model = examination.model
        return ProviderHealth(
            name=provider.name,
            kind=provider.settings.kind,
            base_url=provider.settings.base_url,
            model=model and self._redactor.text(model),  # keys have been pasted in odd places
            depth=depth,
            status=verdict.status,
            reason=verdict.reason,
            levels=levels,
        )

    async def _with_history(self, checked_at: int, found: Sequence[ProviderHealth]) -> Round:
        """Store a round; what cannot be stored is remembered as long as this program runs."""
        unstored = None
        rows = [_row(one, checked_at) for one in found]
        for row in rows:
            memory = self._memory.setdefault(row.provider, deque(maxlen=KEPT))
            memory.append((row.status, _ms(row.latency_us)))
        histories = [list(self._memory[row.provider]) for row in rows]
        try:
            stored = await asyncio.to_thread(record, self._database, rows)
        except StoreError as error:
            unstored = str(error)
        else:
            histories = [[(p.status, _ms(p.latency_us)) for p in series] for series in stored]
        return Round(
            checked_at=checked_at,
            providers=tuple(
                msgspec.structs.replace(one, history=figures(history))
                for one, history in zip(found, histories, strict=True)
            ),
            unstored=unstored,
        )


def _row(found: ProviderHealth, checked_at: int) -> ProbeRow:
    latency_ms = found.latency_ms
    return ProbeRow(
        provider=found.name,
        base_url=found.base_url,
        model=found.model or "",
        level=found.depth,
        checked_at=checked_at,
        status=found.status.value,
        reason=found.reason,
        latency_us=None if latency_ms is None else round(latency_ms * 1000),
    )


def _ms(latency_us: int | None) -> float | None:
    return None if latency_us is None else latency_us / 1000
