"""`aiq monitor`: providers watched, and what happens to them told as it happens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
from collections.abc import Mapping

from rich.text import Text

from aiq.cli import streams
from aiq.cli.failure import Failure
from aiq.cli.figures import plural
from aiq.cli.health_options import MonitorOptions
from aiq.cli.health_settings import looked_at
from aiq.cli.monitor_view import View, alert_json, alert_line, frame, health_table, remarks
from aiq.cli.picture import Picture
from aiq.cli.text import visible
from aiq.cli.values import model_name
from aiq.clock import Clock, rfc3339
from aiq.config import Settings
from aiq.errors import Refused
from aiq.policy.alert import Alert, AlertLevel
from aiq.policy.health import Level
from aiq.policy.standing import Status
from aiq.run.alerts.dispatch import STOPPED_GRACE_S
from aiq.run.alerts.opening import open_alerts
from aiq.run.alerts.sending import sending
from aiq.run.beside import seen_by_run
from aiq.run.health_file import HealthFile
from aiq.run.monitor import Monitor, asked_for, longest_look_s
from aiq.run.probe import Probe
from aiq.run.signals import Signals
from aiq.store.writes import ProviderState

REFRESH_S = 1.0
"""Between two pictures, so that ages count up."""

BESIDE_S = 5.0
"""Between two looks at what a run beside has published."""

_SENTENCE = 1000
_DAY_S = 86_400


def monitor_providers(options: MonitorOptions, failure: Failure) -> int:
    """Do what `aiq monitor` promises; return the exit status."""
    settings = looked_at(options.config, options.providers, failure, naming="aiq monitor")
    settings = asked_for(settings, interval_s=options.interval, is_free=options.free)
    return asyncio.run(_Watch(options, settings).carry_out())


class _Watch:
    """The monitor, the screen or stream its events go to, and the health file."""

    def __init__(self, options: MonitorOptions, settings: Settings) -> None:
        self._options = options
        self._settings = settings
        self._clock = Clock()
        self._console = streams.console(sys.stderr)
        self._picture = Picture(self._console) if _is_live(options) else None
        self._noted: set[str] = set()
        self._in_run: Mapping[str, ProviderState] = {}
        self._beside_at = self._clock.now()
        self._file: HealthFile | None = None
        # Nothing follows one look, so it has all the time that was configured.
        self._longest_s = None if options.once else longest_look_s(settings.monitor)
        model, environ = model_name(options.model), dict(os.environ)
        self._alerts = open_alerts(
            settings, environ=environ, clock=self._clock, note=self._note, model=model
        )
        self._alerts.unwell = self._unwell
        probe = Probe(
            settings,
            database=options.db,
            model=model,
            level=None,
            clock=self._clock,
            environ=environ,
            limit_s=self._longest_s,
        )
        self._monitor = Monitor(
            settings,
            probe.look,
            clock=self._clock,
            draw=random.random,
            tell=self._tell,
            note=self._note,
        )

    async def carry_out(self) -> int:
        """Return the exit status of what was seen last, or of the signal that ended it."""
        if self._options.health_file is not None:
            interval_s = self._settings.monitor.interval_s
            self._file = HealthFile(self._options.health_file, interval_s=interval_s)
        for note in self._settings.notes:
            self._note(note)
        async with sending(self._alerts):
            return await self._until_stopped()

    async def _until_stopped(self) -> int:
        signals = Signals(leave=self._leave)
        with signals.listening():
            work = asyncio.create_task(self._once() if self._options.once else self._follow())
            signals.tell(stop=work.cancel, abort=work.cancel)
            try:
                return await work
            except asyncio.CancelledError:
                if not signals.is_stopped:
                    raise
                self._alerts.grace_s = STOPPED_GRACE_S
                return signals.exit_code
            finally:
                self._leave()

    async def _once(self) -> int:
        await self._monitor.once()
        await self._write_file()
        if self._options.json:
            providers = [one.to_json() for one in self._monitor.watched.values()]
            streams.write_json(
                {"event": "state", "at": rfc3339(self._clock.utc_us()), "providers": providers}
            )
        else:
            self._in_run = await seen_by_run(self._options.db)
            width = streams.console(sys.stdout).width
            view = self._view()
            streams.write_lines([*health_table(view, width), Text(), *remarks(view)])
        return self._monitor.exit_code

    async def _follow(self) -> int:
        """Show what is going on until nobody reads it any more."""
        streams.say(self._announcement())
        running = asyncio.create_task(self._monitor.run())
        try:
            while streams.is_read() and not running.done():
                looked = asyncio.create_task(self._monitor.looked())
                await asyncio.wait(
                    {running, looked}, timeout=REFRESH_S, return_when=asyncio.FIRST_COMPLETED
                )
                if looked.done():
                    await self._write_file()
                looked.cancel()
                await self._show()
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
        return self._monitor.exit_code

    def _announcement(self) -> str:
        """Say before the first request what is about to happen, and what of it costs."""
        interval_s = self._settings.monitor.interval_s
        count = plural(len(self._settings.providers), "provider")
        paid = sum(
            one.probe.level >= Level.FUNCTION and one.simulated is None
            for one in self._settings.providers
        )
        said = f"watching {count} every {interval_s:g} s"
        if not paid:
            return f"{said}; nothing that is sent costs anything{self._cut()}"
        day = plural(round(paid * _DAY_S / interval_s), "tiny request")
        return f"{said}; {day} a day that may cost something (`--free` sends none){self._cut()}"

    def _cut(self) -> str:
        """Say where the interval leaves less time than was configured, as whoever is slow fails."""
        configured_s = max(one.probe.timeout_s for one in self._settings.providers)
        if self._longest_s is None or configured_s <= self._longest_s:
            return ""
        return (
            f"; time-out {self._longest_s:.4g} s and not {configured_s:g} s, because a probe ends"
            " before the next one begins"
        )

    async def _show(self) -> None:
        if self._picture is not None:
            if self._clock.now() >= self._beside_at:
                self._beside_at = self._clock.now() + BESIDE_S
                self._in_run = await seen_by_run(self._options.db)
            width, height = self._console.size
            self._picture.show(frame(self._view(), width=width, height=height))

    def _view(self) -> View:
        return View(
            watched=self._monitor.watched,
            in_run=self._in_run,
            interval_s=self._settings.monitor.interval_s,
            now_us=self._clock.utc_us(),
        )

    async def _write_file(self) -> None:
        if self._file is None:
            return
        try:
            await self._file.write(
                self._monitor.watched.values(),
                self._monitor.exit_code,
                now_us=self._clock.utc_us(),
            )
        except (Refused, OSError) as error:
            self._note(f"the health file cannot be written: {error}")

    def _tell(self, alert: Alert) -> None:
        """Take an alert to where events go, and to whoever is to be told of them."""
        if alert.level > AlertLevel.INFO:  # nobody wants a message per flap of a single probe
            self._alerts.raise_alert(alert)
        if self._options.json:
            streams.write_json(alert_json(alert))
        elif self._picture is not None and sys.stdout.isatty():
            streams.talk_in(self._console, [alert_line(alert)])  # above the picture
        else:
            streams.write_lines([alert_line(alert)])

    def _unwell(self) -> list[str]:
        """Return the providers that nobody should ask why another one is unwell."""
        watched = self._monitor.watched
        return [name for name, one in watched.items() if one.health.status is not Status.HEALTHY]

    def _note(self, sentence: str) -> None:
        """Say something to the user, once."""
        if sentence not in self._noted:
            self._noted.add(sentence)
            streams.talk_in(self._console, [Text(f"note: {visible(sentence, _SENTENCE)}")])

    def _leave(self) -> None:
        if self._picture is not None:
            self._picture.take_away()


def _is_live(options: MonitorOptions) -> bool:
    """Whether there is a live table: not where objects would be written right through it."""
    is_wanted = not (options.no_progress or options.once)
    return is_wanted and streams.is_live_terminal() and not (options.json and sys.stdout.isatty())
