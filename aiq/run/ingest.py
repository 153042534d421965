"""
Prompt files into jobs: in one transaction, in constant memory, all or nothing.

Lines are read and parsed in chunks; for each, the store says which keys it knows, `disposition`
decides what that means, and the chunk is written. Nothing is durable before every file was read to
its end, so a killed or refused ingest leaves no half file behind. The files of a batch that
`readings` knows to be what they were are passed over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import TypeAlias

import msgspec

from aiq.clock import Clock
from aiq.errors import InputError
from aiq.model import Endpoint, shown_key
from aiq.prompts.lines import read_lines
from aiq.prompts.shapes import parse
from aiq.run.chunk_writes import ChunkWrites
from aiq.run.chunks import Chunk, Line, next_chunk
from aiq.run.disposition import Disposition, disposition
from aiq.run.halt import Stopped
from aiq.run.line_keys import Keyed, LineKeys
from aiq.run.readings import Readings
from aiq.run.request import Overlay, fingerprint
from aiq.run.sources import Source
from aiq.store import batches, ingesting, readings
from aiq.store.db import Database
from aiq.store.ingesting import KnownJob, NewJob

STOP_CHECK_S = 0.1
"""How often a reader that waits for its file looks whether it shall go on."""

SHOWN = 20
"""How many bad, changed or vanished lines a report names."""

Reading: TypeAlias = asyncio.Future[Chunk]


class BadLineReport(msgspec.Struct, frozen=True):
    """A bad line for a list."""

    file: str
    line: int
    reason: str


class IngestReport(msgspec.Struct, kw_only=True):
    """What an ingest did; the lists hold the first `SHOWN`, the counts all."""

    added: int = 0
    known: int = 0
    changed: int = 0
    changed_shown: list[str] = []
    invalid: int = 0
    invalid_shown: list[BadLineReport] = []
    vanished: int = 0
    vanished_shown: list[str] = []
    mistyped_keys: dict[str, str] = {}


class Ingest:
    """Takes prompt files into the store."""

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock,
        overlays: dict[int, Overlay],
        on_changed: str,
        is_stopped: Callable[[], bool],
        advanced: Callable[[int], None],
    ) -> None:
        self._database = database
        self._clock = clock
        self._overlays = overlays
        self._on_changed = on_changed
        self._is_stopped = is_stopped
        self._advanced = advanced
        self._keys = LineKeys()
        self._counted_batch: int | None = None
        self._is_new_batch = False
        self._newest = 0
        self._next_id = 1
        self._report = IngestReport()
        self._readings = Readings(database, overlays)

    async def take(
        self, sources: Sequence[Source], *, finish: Callable[[IngestReport], Awaitable[None]]
    ) -> IngestReport:
        """
        Ingest all files, or none.

        Args:
            finish: is given the whole report inside the transaction, before anything is durable;
                it may write what belongs to it, or raise.

        Raises:
            InputError: a file cannot be read, or requests of finished jobs changed.
            Stopped: the user stopped it.
        """
        try:
            async with self._database.transaction():
                changed = await self._pass_over_unchanged(sources)
                self._newest = await ingesting.begin_ingest(self._database)
                self._next_id = self._newest + 1
                for source in changed:
                    await self._read(source)
                await self._seal(changed)
                self._refuse_changed()
                await self._readings.keep(is_repeatable=self._is_repeatable())
                await finish(self._report)
        except BaseException:
            async with self._database.transaction():
                await batches.abandon(self._database, [s.id for s in sources])
            raise
        return self._report

    async def _pass_over_unchanged(self, sources: Sequence[Source]) -> list[Source]:
        """Report files that are what they were, as what they were; return those to be read."""
        unchanged = await self._readings.unchanged(sources, self._is_stopped)
        if unchanged:
            ids = [source.id for source in unchanged]
            self._report.known += await readings.count_jobs(self._database, ids)
            for source in unchanged:
                count, first = await readings.bad_lines(self._database, source.id, show=SHOWN)
                self._note_invalid(source, count, first)
            self._advanced(self._report.known + self._report.invalid)
            await batches.close_sources(self._database, ids)
        return [source for source in sources if source not in unchanged]

    def _is_repeatable(self) -> bool:
        """Whether reading the same once more would find nothing to do, and nothing to tell."""
        return not self._report.changed and not self._report.mistyped_keys

    async def _seal(self, sources: Sequence[Source]) -> None:
        self._report.vanished, vanished = await ingesting.seal(
            self._database,
            [source.id for source in sources],
            newest=self._newest,
            now_us=self._clock.utc_us(),
            show=SHOWN,
        )
        self._report.vanished_shown = [
            shown_key(key) if isinstance(key, str) else f"line {number}" for key, number in vanished
        ]

    def _refuse_changed(self) -> None:
        report = self._report
        if not report.changed or self._on_changed != "error":
            return
        shown = ", ".join(f"`{key}`" for key in report.changed_shown[:5])
        more = ", …" if report.changed > 5 else ""
        raise InputError(
            f"the request of {report.changed:,} finished job(s) has changed: {shown}{more}",
            hint="give `--on-changed rerun` to ask (and pay) again, or `--on-changed keep` to"
            " leave their answers as they are",
        )

    async def _read(self, source: Source) -> None:
        """Take one file in; the next chunk is read and parsed while one is written."""
        lines = read_lines(source.path, meanwhile=self._readings.begin(source))
        if source.batch.id != self._counted_batch:
            self._keys = LineKeys()
            self._counted_batch = source.batch.id
            self._is_new_batch = not await ingesting.has_jobs(self._database, source.batch.id)
        is_first = True
        reading = self._start_reading(lines)
        try:
            while (chunk := await self._arrived(reading)) or is_first:
                reading = self._start_reading(lines)
                invalid = await self._take_chunk(source, chunk)
                await ingesting.replace_invalid(self._database, source.id, invalid, first=is_first)
                self._note_invalid(source, len(invalid), invalid)
                is_first = False
                self._advanced(len(chunk))
        finally:
            reading.cancel()

    def _note_invalid(self, source: Source, count: int, invalid: Sequence[tuple[int, str]]) -> None:
        report = self._report
        report.invalid += count
        name = "stdin" if source.path is None else str(source.path)
        room = SHOWN - len(report.invalid_shown)
        report.invalid_shown += [
            BadLineReport(name, number, reason) for number, reason in invalid[:room]
        ]

    def _start_reading(self, lines: Iterator[tuple[int, bytes | None]]) -> Reading:
        """Read in a thread, which may wait for a pipe."""
        return asyncio.ensure_future(
            asyncio.to_thread(next_chunk, lines, self._report.mistyped_keys)
        )

    async def _arrived(self, reading: Reading) -> Chunk:
        """Wait for a chunk; whoever stops the run does not wait too."""
        while not self._is_stopped():
            if reading.done():
                return reading.result()
            await asyncio.wait({reading}, timeout=STOP_CHECK_S)
        raise Stopped

    async def _take_chunk(self, source: Source, chunk: Chunk) -> list[tuple[int, str]]:
        """Write the good lines of a chunk; return the bad ones."""
        keyed, twice = self._keys.of(chunk.good)
        # Of a batch that is new, nearly every key is; a chunk in which one is not is sorted in.
        if not (self._is_new_batch and await self._are_added(source, keyed)):
            twice += await self._sort_in(source, keyed)
        return sorted([*chunk.bad, *((line.number, _duplicate(line)) for line in twice)])

    async def _are_added(self, source: Source, keyed: Sequence[Keyed]) -> bool:
        """Add all lines as new jobs; none of them if one is known already."""
        new = [_new_job(source, key, line) for key, line in keyed]
        if not await ingesting.add_jobs(
            self._database, source.batch.id, new, first_id=self._next_id
        ):
            return False
        self._next_id += len(new)
        self._report.added += len(new)
        return True

    async def _sort_in(self, source: Source, keyed: Sequence[Keyed]) -> list[Line]:
        """Write each line as what it is to the store; return those that stood there before."""
        batch_id = source.batch.id
        look_up = partial(ingesting.known_jobs, self._database, batch_id, newest=self._newest)
        known = await look_up([key for key, _ in keyed])
        writes, twice = ChunkWrites(), []
        for key, line in await self._keys.renumbered(keyed, known, look_up):
            what = self._disposition(source, line, known.get(key))
            if what is Disposition.DUPLICATE:
                twice.append(line)
            else:
                writes.add(what, _new_job(source, key, line), known.get(key))
                self._note(what, key)
        await writes.write(self._database, batch_id, first_id=self._next_id)
        self._next_id += len(writes.new)
        return twice

    def _disposition(self, source: Source, line: Line, known: KnownJob | None) -> Disposition:
        overlay, prompt = self._overlays[source.batch.id], line.prompt
        return disposition(
            known,
            line=line.data,
            asked=lambda: fingerprint(overlay.request(prompt)),
            was_asked=lambda: fingerprint(overlay.request(parse(known.line))) if known else b"",
            on_changed=self._on_changed,
        )

    def _note(self, what: Disposition, key: str | bytes) -> None:
        report = self._report
        if what is Disposition.NEW:
            report.added += 1
            return
        report.known += 1
        if what in (Disposition.CONFLICT, Disposition.RERUN, Disposition.KEPT):
            report.changed += 1
            if len(report.changed_shown) < SHOWN:
                report.changed_shown.append(shown_key(key))


def _new_job(source: Source, key: str | bytes, line: Line) -> NewJob:
    prompt = line.prompt
    return NewJob(
        key,
        source.id,
        line.number,
        prompt.priority,
        None if prompt.endpoint is Endpoint.CHAT else prompt.endpoint.value,
        prompt.model,
        line.data,
    )


def _duplicate(line: Line) -> str:
    return f"the id `{line.prompt.id}` stands on an earlier line"
