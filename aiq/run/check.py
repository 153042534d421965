"""
What `check` finds: every bad line, and about what the good ones would cost.

It is the ingest itself, into a database that is thrown away, so that `check` and `run` cannot
disagree about a line.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from aiq.clock import Clock
from aiq.config import ProviderSettings, Settings
from aiq.model import NANO_PER_USD
from aiq.prompts.names import STDIN
from aiq.prompts.shapes import parse
from aiq.run.ingest import BadLineReport, Ingest, IngestReport
from aiq.run.pricing import assumed_output, estimate, input_tokens
from aiq.run.request import Flags, Overlay
from aiq.run.sources import open_sources
from aiq.store import backlog, reading
from aiq.store.backlog import Load
from aiq.store.db import Database
from aiq.store.jobs import Scope
from aiq.store.opening import open_for_run


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """About what all prompts cost at a provider; `usd` None: nobody knows."""

    provider: str
    model: str | None
    """For prompts that name none."""
    usd: float | None
    output_tokens: int
    """What each answer is taken for; 0 where none is text."""
    lacks_model: bool
    """Some prompts name no model, and neither does anything else."""


class MistypedKey(msgspec.Struct, frozen=True):
    """A key that looks like a request field's, and where it stands first, where that is known."""

    key: str
    meant: str
    file: str | None = None
    line: int = 0


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is in the files."""

    lines: int
    valid: int
    invalid: tuple[BadLineReport, ...]
    tokens_estimated: int
    estimates: tuple[Estimate, ...]
    """By rank; none without a provider."""
    mistyped_keys: tuple[MistypedKey, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the contract's object (`design` 11)."""
        return {
            "lines": self.lines,
            "valid": self.valid,
            "invalid": msgspec.to_builtins(self.invalid),
            "tokens_estimated": self.tokens_estimated,
            "cost_estimated_usd": {one.provider: one.usd for one in self.estimates},
            "output_tokens_assumed": {one.provider: one.output_tokens for one in self.estimates},
        }


async def check(
    files: Sequence[str], *, settings: Settings | None, flags: Flags | None = None
) -> CheckReport:
    """
    Read the files as `run` would and return what is in them; nothing is sent or kept.

    Raises:
        InputError: a file cannot be read.
    """
    clock = Clock()
    overlay = Overlay(settings.defaults if settings else {}, flags or Flags())
    with tempfile.TemporaryDirectory(prefix="aiq-check-") as directory:
        database = await open_for_run(Path(directory) / "check.db")
        try:
            sources = await open_sources(database, files, name=None, now_us=clock.utc_us())
            own = tuple(dict.fromkeys(source.batch.id for source in sources))
            report = await Ingest(
                database,
                clock=clock,
                overlays=dict.fromkeys(own, overlay),
                on_changed="keep",
                is_stopped=lambda: False,
                advanced=lambda _: None,
            ).take(sources, finish=_accept)
            loads = await backlog.pending_loads(database, Scope(batches=own))
            invalid = await reading.invalid_lines(database)
            mistyped = [await _found(database, *one) for one in report.mistyped_keys.items()]
        finally:
            await database.close()
    valid = sum(load.jobs for load in loads)
    return CheckReport(
        lines=valid + len(invalid),
        valid=valid,
        invalid=tuple(BadLineReport(_shown(path), line, reason) for path, line, reason in invalid),
        tokens_estimated=input_tokens(loads),
        estimates=_estimates(settings, loads, overlay, clock.utc_us()),
        mistyped_keys=tuple(mistyped),
    )


async def _accept(_report: IngestReport) -> None:
    """Take bad lines as they are: they are what `check` is for."""


async def _found(database: Database, key: str, meant: str) -> MistypedKey:
    """Say where a key stands first, unless the line spells it with escapes."""
    async for path, number, line in reading.lines_with(database, f'"{key}"'.encode()):
        keys: dict[str, str] = {}
        parse(line, keys)
        if key in keys:
            return MistypedKey(key, meant, _shown(path), number)
    return MistypedKey(key, meant)


def _shown(path: str) -> str:
    return "stdin" if path == STDIN else path


def _estimates(
    settings: Settings | None, loads: Sequence[Load], overlay: Overlay, utc_us: int
) -> tuple[Estimate, ...]:
    return tuple(
        _estimate(provider, loads, overlay, utc_us)
        for provider in (settings.providers if settings else ())
    )


def _estimate(
    provider: ProviderSettings, loads: Sequence[Load], overlay: Overlay, utc_us: int
) -> Estimate:
    model = provider.name_of(overlay.model, own=provider.model)
    cap = overlay.output_cap
    nano = estimate(provider, loads, own_model=model, utc_us=utc_us, cap=cap)
    writes = any(load.texts for load in loads)
    return Estimate(
        provider=provider.name,
        model=model,
        usd=None if nano is None else nano / NANO_PER_USD,
        output_tokens=assumed_output(provider, cap) if writes else 0,
        lacks_model=model is None and any(load.model is None for load in loads),
    )
