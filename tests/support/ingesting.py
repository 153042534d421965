"""Prompt files into a real store, the way a run takes them, without the rest of the run."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from aiq.errors import Refused
from aiq.model import JobState, JsonObject
from aiq.prompts.shapes import parse
from aiq.run.halt import Stopped
from aiq.run.ingest import Ingest, IngestReport
from aiq.run.request import Flags, Overlay, fingerprint
from aiq.run.sources import Source, open_sources
from aiq.store import readings
from aiq.store.db import Database
from aiq.store.opening import open_for_run
from tests.support import factories
from tests.support.factories import NOW_US, dump, lease, query, settle, write
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
    is_compared: bool = True,
) -> IngestReport:
    """Take files in; passing over unchanged ones has to come to what reading them comes to."""
    sources = await open_sources(database, [str(p) for p in paths], name=name, now_us=NOW_US)
    take = partial(
        ingest_sources,
        on_changed=on_changed,
        defaults=defaults,
        refuse=refuse,
        is_stopped=is_stopped,
    )
    if not is_compared or not await database.rows("SELECT 1 FROM reading"):
        return await take(database, sources=sources, advanced=advanced)
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "copy.db"
        await database.copy(copy)
        expected = await _with_every_line_read(copy, sources, take)
        report = await take(database, sources=sources, advanced=advanced)
        assert report == expected
        assert _facts(database.path) == _facts(copy)
    return report


def _facts(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Everything stored but where lines without an id stand: equal ones may trade places."""
    tables = dump(path)
    rows = query(path, "SELECT *, iif(typeof(key) = 'blob', 0, line) FROM job ORDER BY id")
    line = [name for _, name, *_ in query(path, "PRAGMA table_info(job)")].index("line")
    return tables | {"job": [row[:line] + row[line + 1 :] for row in rows]}


async def _with_every_line_read(
    copy: Path, sources: Sequence[Source], take: Callable[..., Awaitable[IngestReport]]
) -> IngestReport | None:
    """Do the same in a copy that remembers no reading of these; None if it is refused there."""
    other = await open_for_run(copy)
    await other.rows("PRAGMA synchronous = OFF")  # it is thrown away
    try:
        for source in sources:
            await readings.forget(other, source.batch.id)
        with contextlib.suppress(Refused, Stopped):
            return await take(other, sources=sources, advanced=lambda _: None)
    finally:
        await other.close()
    return None


async def ingest_sources(
    database: Database,
    *,
    sources: Sequence[Source],
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
