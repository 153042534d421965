"""
`monitor`: every provider probed once in every interval, and what is wrong told when it begins.

Each provider has a task of its own on a grid of intervals, a little late by chance, so that one
that hangs delays nobody. A look ends before the next interval begins (`longest_look_s`): none is
missed and none is probed twice, unless the machine slept, and then what was missed is left out.
What is wrong is decided in `aiq.policy.anomaly`; who is to be told is the caller's business: `tell`
gets every alert at once and must not block.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Protocol

import msgspec

from aiq.clock import Clock
from aiq.config import ProviderSettings, Settings
from aiq.errors import ExitCode
from aiq.policy import health
from aiq.policy.alert import Alert, AlertLevel
from aiq.policy.anomaly import Detector
from aiq.policy.conditions import Finding
from aiq.policy.defaults import MonitorSettings
from aiq.policy.health import Level
from aiq.policy.observation import Observation
from aiq.policy.standing import Status
from aiq.run.probe import ProviderHealth, Round
from aiq.store.health import PastProbe

RECENT_S = 3600.0
RECENT_INTERVALS = 10
"""A failure that is older than the longer of both is no part of a row with those of today."""


class Look(Protocol):
    """Examines a provider once; `aiq.run.probe.Probe.look` does."""

    def __call__(self, settings: ProviderSettings, /) -> Awaitable[Round]:
        """Return what was found, with the history of its series."""


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """A provider as it was seen last."""

    health: ProviderHealth
    checked_at: int
    matter: Finding | None
    """The most severe condition that lasts."""
    unusual: Finding | None
    """The most severe finding of the last probe alone."""
    incident: Alert | None
    """The last warning or critical alert since the monitor was started."""

    def to_json(self) -> dict[str, object]:
        """Return the provider's object of `probe`, with what is the matter."""
        matter = self.matter and {
            "level": self.matter.level.name.lower(),
            "title": self.matter.sign.value,
            "detail": self.matter.detail,
        }
        return {**self.health.to_json(), "matter": matter}


def asked_for(settings: Settings, *, interval_s: float | None, is_free: bool) -> Settings:
    """
    Return the settings of a monitor: those of the configuration under the command line's.

    Args:
        settings: those of the configuration.
        interval_s: the command line's interval; None: the configuration's.
        is_free: nothing that costs is sent.
    """
    monitor = settings.monitor
    if interval_s is not None:
        monitor = msgspec.structs.replace(monitor, interval_s=interval_s)
    providers = settings.providers
    if is_free:
        providers = tuple(map(_without_cost, providers))
    return msgspec.structs.replace(settings, monitor=monitor, providers=providers)


def _without_cost(provider: ProviderSettings) -> ProviderSettings:
    level = min(provider.probe.level, int(Level.API))
    probe = msgspec.structs.replace(provider.probe, level=level)
    return msgspec.structs.replace(provider, probe=probe)


def longest_look_s(monitor: MonitorSettings) -> float:
    """Return the time for a look that comes as late as it may and ends before the next begins."""
    return monitor.interval_s * (1 - monitor.jitter)


class Monitor:
    """Watches the providers of a configuration."""

    def __init__(
        self,
        settings: Settings,
        look: Look,
        *,
        clock: Clock,
        draw: Callable[[], float],
        tell: Callable[[Alert], None],
        note: Callable[[str], None],
    ) -> None:
        """
        `settings` are those of `asked_for`; `draw` gives numbers in [0, 1).

        No `look` may take longer than `longest_look_s`.
        """
        self._settings = settings
        self._look = look
        self._clock = clock
        self._draw = draw
        self._tell = tell
        self._note = note
        self._detectors: dict[str, tuple[tuple[str, str | None, Level], Detector]] = {}
        self._watched: dict[str, Watched] = {}
        self._looked = asyncio.Event()

    @property
    def watched(self) -> Mapping[str, Watched]:
        """The providers that were seen, in the order of the configuration."""
        names = (one.name for one in self._settings.providers)
        return {name: self._watched[name] for name in names if name in self._watched}

    @property
    def exit_code(self) -> ExitCode:
        """The exit status that a probe would have."""
        return health.exit_code(one.health.status for one in self._watched.values())

    async def once(self) -> None:
        """Look at every provider once, and tell what has changed since somebody last looked."""
        await self._for_each(lambda one: self._examine(one, is_first=False))

    async def run(self) -> None:
        """Go on until cancelled; what is the matter already is told as well."""
        await self._for_each(self._watch)

    async def _for_each(
        self, work: Callable[[ProviderSettings], Coroutine[Any, Any, None]]
    ) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for one in self._settings.providers:
                    group.create_task(work(one), name=f"watch {one.name}")
        except ExceptionGroup as group:
            raise group.exceptions[0] from None  # the first ends the others

    async def looked(self) -> None:
        """Wait until a provider has been looked at since the last time that this returned."""
        await self._looked.wait()
        self._looked.clear()

    async def _watch(self, provider: ProviderSettings) -> None:
        monitor = self._settings.monitor
        await self._examine(provider, is_first=True)
        began, slot = self._clock.now(), 1
        while True:
            at = began + (slot + monitor.jitter * self._draw()) * monitor.interval_s
            await self._clock.sleep(max(at - self._clock.now(), 0.0))
            present = int((self._clock.now() - began) / monitor.interval_s)
            if present > slot:
                self._tell_missed(provider.name, present - slot)
            slot = max(present, slot)
            await self._examine(provider, is_first=False)
            slot += 1

    def _tell_missed(self, name: str, count: int) -> None:
        times = "an interval" if count == 1 else f"{count:,} intervals"
        self._note(f"{name} was not looked at for {times}: this machine slept, or had no time")

    async def _examine(self, provider: ProviderSettings, *, is_first: bool) -> None:
        found = await self._look(provider)
        if found.unstored is not None:
            self._note(f"the history is not stored: {found.unstored}")
        [seen] = found.providers
        now = found.checked_at / 1e6
        detector = self._detector(provider, seen, found.checked_at)
        judged = detector.observe(_observation(seen.past[-1]), now=now)
        alerts = judged.alerts
        standing = detector.restated(now=now) if is_first else None
        if standing is not None and all(one.title != standing.title for one in alerts):
            alerts = (*alerts, standing)
        before = self._watched.get(provider.name)
        self._watched[provider.name] = Watched(
            health=seen,
            checked_at=found.checked_at,
            matter=detector.worst,
            unusual=judged.finding,
            incident=_last_incident(alerts) or (before.incident if before is not None else None),
        )
        self._looked.set()
        for alert in alerts:
            self._tell(alert)

    def _detector(
        self, provider: ProviderSettings, seen: ProviderHealth, checked_at: int
    ) -> Detector:
        """Return the detector of a series; a new one is shown what was seen of it before."""
        series = (seen.base_url, seen.wanted, seen.depth)
        known = self._detectors.get(provider.name)
        if known is not None and known[0] == series:
            return known[1]
        detector = Detector(
            self._settings.monitor, provider=provider.name, limit_ms=provider.probe.latency_ms
        )
        self._detectors[provider.name] = (series, detector)
        recent_s = max(RECENT_S, RECENT_INTERVALS * self._settings.monitor.interval_s)
        oldest = checked_at - recent_s * 1e6
        for past in seen.past[:-1]:
            observation = _observation(past)
            if observation.is_good or past.checked_at >= oldest:
                detector.observe(observation, now=past.checked_at / 1e6)
        return detector


def _observation(past: PastProbe) -> Observation:
    return Observation(status=Status(past.status), latency_ms=past.latency_ms, reason=past.reason)


def _last_incident(alerts: tuple[Alert, ...]) -> Alert | None:
    incidents = [one for one in alerts if one.level > AlertLevel.INFO and not one.is_recovery]
    return incidents[-1] if incidents else None
