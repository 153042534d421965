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
from aiq.config import Settings
from aiq.model import NANO_PER_USD
from aiq.run.ingest import BadLineReport, Ingest, IngestReport
from aiq.run.pricing import estimate, input_tokens
from aiq.run.request import Flags, Overlay
from aiq.run.sources import open_sources
from aiq.store import jobs, reading
from aiq.store.db import open_for_run
from aiq.store.jobs import Load, Scope


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is in the files."""

    lines: int
    valid: int
    invalid: tuple[BadLineReport, ...]
    tokens_estimated: int
    cost_estimated_usd: dict[str, float | None]
    mistyped_keys: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return the contract's object (`design` 11)."""
        body: dict[str, Any] = msgspec.to_builtins(self)
        del body["mistyped_keys"]
        return body


async def check(files: Sequence[str], *, settings: Settings | None) -> CheckReport:
    """
    Read the files as `run` would and return what is in them; nothing is sent or kept.

    Raises:
        InputError: a file cannot be read.
    """
    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="aiq-check-") as directory:
        database = await open_for_run(Path(directory) / "check.db")
        try:
            sources = await open_sources(database, files, name=None, now_us=clock.utc_us())
            own = tuple(dict.fromkeys(source.batch.id for source in sources))
            defaults = settings.defaults if settings else {}
            report = await Ingest(
                database,
                clock=clock,
                overlays=dict.fromkeys(own, Overlay(defaults, Flags())),
                on_changed="keep",
                is_stopped=lambda: False,
                advanced=lambda _: None,
            ).take(sources, finish=_accept)
            loads = await jobs.pending_loads(database, Scope(batches=own))
            invalid = await reading.invalid_lines(database)
        finally:
            await database.close()
    valid = sum(load.jobs for load in loads)
    return CheckReport(
        lines=valid + len(invalid),
        valid=valid,
        invalid=tuple(
            BadLineReport("stdin" if path == "-" else path, line, reason)
            for path, line, reason in invalid
        ),
        tokens_estimated=input_tokens(loads),
        cost_estimated_usd=_costs(settings, loads, clock.utc_us()),
        mistyped_keys=report.mistyped_keys,
    )


async def _accept(_report: IngestReport) -> None:
    """Take bad lines as they are: they are what `check` is for."""


def _costs(
    settings: Settings | None, loads: Sequence[Load], utc_us: int
) -> dict[str, float | None]:
    costs: dict[str, float | None] = {}
    for provider in settings.providers if settings else ():
        nano = estimate(provider, loads, own_model=provider.model, utc_us=utc_us)
        costs[provider.name] = None if nano is None else nano / NANO_PER_USD
    return costs
