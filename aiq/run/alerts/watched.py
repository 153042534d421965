"""
A run with its alerts: who is to watch it, and how it ended to be told.

    async with watched(settings, ...) as watch:
        observer = Several(view, watch.observer)
        result = await Session(..., observer=observer, watchers=watch.watchers).run()
        watch.ended(result)

Without `[alerts]` nobody watches and nothing is done. An observer that fails is dropped with one
sentence, like any view.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from aiq.clock import Clock
from aiq.config import Settings
from aiq.errors import ExitCode
from aiq.run.alerts.dispatch import STOPPED_GRACE_S, Alerts
from aiq.run.alerts.opening import open_alerts
from aiq.run.alerts.run_events import RunEvents
from aiq.run.alerts.sending import sending
from aiq.run.attempt_watch import AttemptWatch
from aiq.run.board import AttemptWatcher
from aiq.run.fleet import Transports
from aiq.run.observer import Guarded, Observer
from aiq.run.result import RunResult


class Watched:
    """What a run is observed by; `events` None: nobody is to be told anything."""

    def __init__(
        self,
        alerts: Alerts,
        *,
        note: Callable[[str], None],
        events: RunEvents | None = None,
        watchers: Sequence[AttemptWatcher] = (),
    ) -> None:
        self.alerts = alerts
        self.watchers = watchers
        self._events = events
        self.observer: Observer | None = None
        if events is not None:
            self.observer = Guarded(events, called="what looks for alerts", tell=note)

    def ended(self, result: RunResult) -> None:
        """Tell how the run ended; where somebody stopped it, he is not kept waiting."""
        if result.exit_code in (ExitCode.SIGINT, ExitCode.SIGTERM):
            self.alerts.grace_s = STOPPED_GRACE_S
        if self._events is not None:
            self._events.ended(result)

    def failed(self, error: Exception) -> None:
        """Tell that the run ended in an error."""
        if self._events is not None:
            self._events.failed(error)


@contextlib.asynccontextmanager
async def watched(
    settings: Settings,
    *,
    environ: Mapping[str, str],
    clock: Clock,
    note: Callable[[str], None],
    model: str | None = None,
    transports_of: Transports | None = None,
) -> AsyncIterator[Watched]:
    """
    Let a run be watched; at the end the last alerts are waited for, a few seconds at most.

    Raises:
        ConfigError: a channel cannot be used as it is configured.
    """
    alerts = open_alerts(
        settings,
        environ=environ,
        clock=clock,
        note=note,
        model=model,
        transports_of=transports_of,
    )
    watch = Watched(alerts, note=note)
    if settings.alerts is not None:
        events = RunEvents(alerts.raise_alert, settings.alerts, clock)
        alerts.unwell = events.unwell
        attempts = AttemptWatch(settings.monitor, tell=alerts.raise_alert, clock=clock)
        watch = Watched(alerts, note=note, events=events, watchers=(attempts,))
    async with sending(alerts):
        try:
            yield watch
        except Exception as error:
            watch.failed(error)
            raise
