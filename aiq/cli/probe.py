"""`aiq probe`: the health of providers, as a table or JSON, once or again and again."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence

from rich.text import Text

from aiq.cli import figures, streams
from aiq.cli.columns import GAP, Column, table
from aiq.cli.failure import Failure
from aiq.cli.health_options import ProbeOptions
from aiq.cli.health_settings import looked_at
from aiq.cli.signs import status_text
from aiq.cli.text import visible
from aiq.cli.values import model_name
from aiq.clock import Clock, rfc3339
from aiq.config import Settings
from aiq.policy.health import Level
from aiq.run.probe import Probe, ProviderHealth, Round
from aiq.run.signals import Signals

_REASON = 1000
"""How much of a reason is shown; models can have long names."""

_COLUMNS = (
    Column("provider", right=False, least=10),
    Column("status", right=False),
    Column("network", rank=3),
    Column("API", rank=2),
    Column("answer", rank=1),
)
_TIMED = (Level.NETWORK, Level.API, Level.FUNCTION)
_HISTORY = (
    Column("last 100", right=False, least=10),
    Column("probes", rank=5),
    Column("available"),
    Column("mean", rank=1),
    Column("p50", rank=2),
    Column("p95", rank=3),
    Column("p99", rank=4),
)


def probe_providers(options: ProbeOptions, failure: Failure) -> int:
    """Do what `aiq probe` promises; return the exit status."""
    settings = looked_at(options.config, options.providers, failure, naming="aiq probe")
    return asyncio.run(_Watch(options, settings).carry_out())


class _Watch:
    """One round of probes, or one after the other."""

    def __init__(self, options: ProbeOptions, settings: Settings) -> None:
        self._options = options
        self._settings = settings
        self._clock = Clock()
        self._probe = Probe(
            settings,
            database=options.db,
            model=model_name(options.model),
            level=options.level,
            clock=self._clock,
            environ=dict(os.environ),
        )
        self._noted: set[str] = set()

    async def carry_out(self) -> int:
        """Return the exit status of the last round, or of the signal that ended it."""
        for note in self._settings.notes:
            self._note(note)
        if self._options.watch is not None and self._probe.is_paid:
            self._note("each round sends every provider a request that costs; `--level 2` is free")
        signals = Signals(leave=lambda: None)
        with signals.listening():
            rounds = asyncio.create_task(self._rounds(), name="rounds")
            signals.tell(stop=lambda: _cancel(rounds), abort=lambda: _cancel(rounds))
            try:
                return await rounds
            except asyncio.CancelledError:
                if not signals.is_stopped:
                    raise
                return signals.exit_code

    async def _rounds(self) -> int:
        while True:
            began = self._clock.now()
            found = await self._probe.round()
            self._show(found)
            if self._options.watch is None:
                return found.exit_code
            rest_s = began + self._options.watch - self._clock.now()
            await self._clock.sleep(max(rest_s, 0.0))
            if not streams.is_read():
                return found.exit_code

    def _show(self, found: Round) -> None:
        if found.unstored is not None:
            self._note(f"the history is not stored: {found.unstored}")
        if self._options.json:
            streams.write_json(found.to_json())
            return
        width = streams.console(sys.stdout).width
        lines = health_table(found.providers, width)
        if self._options.verbose:
            lines += [line for one in found.providers for line in level_lines(one)]
        if self._options.watch is not None:
            lines = [Text(rfc3339(found.checked_at), "bold"), *lines, Text()]
            lines += [*history_table(found.providers, width), Text()]
        streams.write_lines(lines)

    def _note(self, sentence: str) -> None:
        """Say something to the user, once."""
        if sentence not in self._noted:
            self._noted.add(sentence)
            streams.say(f"note: {visible(sentence, _REASON)}")


def health_table(providers: Sequence[ProviderHealth], width: int) -> list[Text]:
    """Return a row a provider: its status, how long each level took, and the reason, uncut."""
    rows = [
        [
            Text(visible(one.name, 24)),
            status_text(one.status),
            *(Text(_took(one, n)) for n in _TIMED),
        ]
        for one in providers
    ]
    heading, *lines = table(_COLUMNS, rows, width)
    reasons = [Text(visible(one.reason, _REASON)) for one in providers]
    return [
        Text.assemble(heading, GAP, ("reason", "dim")),
        *(Text.assemble(row, GAP, reason) for row, reason in zip(lines, reasons, strict=True)),
    ]


def level_lines(one: ProviderHealth) -> list[Text]:
    """Return what each level found, for `-v`."""
    model = f", model {visible(one.model)}" if one.model is not None else ""
    lines = [Text(), Text(f"{visible(one.name)} ({one.kind}{model})", "bold")]
    for level in one.levels:
        word = {True: "ok", False: "failed", None: "not asked"}[level.ok]
        name = f"  {int(level.level)} {level.level.name.lower():<8}  "
        lines.append(Text(f"{name}  {word:<9}  {visible(level.detail, _REASON)}"))
    return lines


def history_table(providers: Sequence[ProviderHealth], width: int) -> list[Text]:
    """Return the last 100 probes of each provider in figures."""
    rows = []
    for one in providers:
        past = one.history
        if past is None:
            continue
        share = past.availability
        cells = [
            visible(one.name, 24),
            f"{past.probes:,}",
            figures.NONE if share is None else f"{share * 100:.4g} %",
            *map(figures.milliseconds, (past.mean, past.p50, past.p95, past.p99)),
        ]
        rows.append([Text(cell) for cell in cells])
    return table(_HISTORY, rows, width)


def _took(one: ProviderHealth, wanted: Level) -> str:
    """Return how long a level took, or that it failed; a dash where nothing was asked."""
    found = next((level for level in one.levels if level.level is wanted), None)
    if found is None or found.ok is None:
        return figures.NONE
    return figures.milliseconds(found.latency_ms) if found.ok else "failed"


def _cancel(task: asyncio.Task[int]) -> None:
    """Stop at once: whatever a probe has in flight is worth nothing without the rest."""
    task.cancel()
