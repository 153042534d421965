"""Prompt files into a real store, the way a run takes them, without the rest of the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from aiq.model import JobState, JsonObject
from aiq.prompts.shapes import parse
from aiq.run.ingest import Ingest, IngestReport
from aiq.run.request import Flags, Overlay, fingerprint
from aiq.run.sources import Source, open_sources
from aiq.store.db import Database
from tests.support import factories
from tests.support.factories import NOW_US, lease, settle, write
from tests.support.fake_clock import FakeClock

Line = str | bytes | dict[str, Any]


def write_lines(path: Path, *lines: Line) -> Path:
    """Write a prompt file; a dict becomes its JSON, anything else is a raw line."""
    path.write_bytes(b"".join(encoded(line) + b"\n" for line in lines))
    return path


def encoded(line: Line) -> bytes:
    if isinstance(line, bytes):
        return line
    return line.encode() if isinstance(line, str) else msgspec.json.encode(line)


def _accept(_: IngestReport) -> None:
    """Whatever the report says, go on."""


async def ingest(
    database: Database,
    *paths: Path | str,
    name: str | None = None,
    on_changed: str = "error",
    defaults: JsonObject | None = None,
    refuse: Callable[[IngestReport], None] = _accept,
    is_stopped: Callable[[], bool] = lambda: False,
    advanced: Callable[[int], None] = lambda _: None,
) -> IngestReport:
    sources = await open_sources(database, [str(p) for p in paths], name=name, now_us=NOW_US)
    return await ingest_sources(
        database,
        sources,
        on_changed=on_changed,
        defaults=defaults,
        refuse=refuse,
        is_stopped=is_stopped,
        advanced=advanced,
    )


async def ingest_sources(
    database: Database,
    sources: Sequence[Source],
    *,
    on_changed: str,
    defaults: JsonObject | None,
    refuse: Callable[[IngestReport], None],
    is_stopped: Callable[[], bool],
    advanced: Callable[[int], None],
) -> IngestReport:
    overlay = Overlay(defaults or {}, Flags())

    async def finish(report: IngestReport) -> None:
        refuse(report)

    return await Ingest(
        database,
        clock=FakeClock(),
        overlays={source.batch.id: overlay for source in sources},
        on_changed=on_changed,
        is_stopped=is_stopped,
        advanced=advanced,
    ).take(sources, finish=finish)


async def answer_all(database: Database, *, defaults: JsonObject | None = None) -> None:
    """Let every pending job succeed, each with the fingerprint of what it asks."""
    overlay = Overlay(defaults or {}, Flags())
    pending = await database.rows(
        "SELECT job.id, job.attempts, request.line FROM job JOIN request ON job_id = job.id"
        " WHERE state = 'pending'"
    )
    row = await database.row("SELECT coalesce(max(id), 0) FROM attempt") or (0,)
    for attempt_id, (job_id, attempts, line) in enumerate(pending, start=row[0] + 1):
        await write(database, lease(attempt_id, job_id, number=attempts + 1))
        answer = msgspec.structs.replace(
            factories.stored_answer(b"answer to " + line),
            fingerprint=fingerprint(overlay.request(parse(line))),
        )
        await write(database, settle(attempt_id, job_id, JobState.SUCCEEDED, answer=answer))


async def fail_all(database: Database) -> None:
    """Let every pending job fail."""
    pending = await database.rows("SELECT id, attempts FROM job WHERE state = 'pending'")
    row = await database.row("SELECT coalesce(max(id), 0) FROM attempt") or (0,)
    for attempt_id, (job_id, attempts) in enumerate(pending, start=row[0] + 1):
        await write(database, lease(attempt_id, job_id, number=attempts + 1))
        await write(database, settle(attempt_id, job_id, JobState.FAILED))
