"""From the user's wish to the jobs of a run: prompt files, failed jobs, or what is unfinished."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence

from aiq.clock import Clock
from aiq.config import Settings
from aiq.errors import InputError, UnknownName
from aiq.model import DAMAGED
from aiq.prompts.names import batch_name
from aiq.run.halt import Stopped
from aiq.run.ingest import Ingest, IngestReport
from aiq.run.observer import Observer
from aiq.run.options import Requeue, RunOptions
from aiq.run.request import Overlay
from aiq.run.show import find_job
from aiq.run.sources import Source, open_sources
from aiq.run.work import Work
from aiq.store import batches, readings, requeueing
from aiq.store.batches import Batch
from aiq.store.db import Database
from aiq.store.jobs import Scope


class Intake:
    """Finds the work of a run."""

    def __init__(
        self, options: RunOptions, settings: Settings, *, observer: Observer, clock: Clock
    ) -> None:
        self._options = options
        self._settings = settings
        self._observer = observer
        self._clock = clock

    async def take(self, database: Database, *, is_stopped: Callable[[], bool]) -> Work:
        """
        Read the files, requeue, or find what is unfinished; nothing is sent here.

        Raises `Refused` for what cannot be taken, `Stopped` when the user stopped it.
        """
        if self._options.requeue is not None:
            return await self._requeued(database, self._options.requeue, is_stopped)
        if self._options.files:
            return await self._ingested(database, is_stopped)
        return await self._unfinished(database)

    async def _requeued(
        self, database: Database, requeue: Requeue, is_stopped: Callable[[], bool]
    ) -> Work:
        chosen = await named_batches(database, requeue.batch)
        batch_ids = [batch.id for batch in chosen]
        only = await named_jobs(database, requeue.jobs, requeue.batch)
        damaged: list[int] = []
        if requeue.kinds is not None and DAMAGED in requeue.kinds:
            async for page in requeueing.damaged_jobs(database, batch_ids):
                if is_stopped():
                    raise Stopped
                damaged += page if only is None else [job for job in page if job in only]
        await self._keep_flags(database, chosen)
        count = await requeueing.requeue(
            database,
            batch_ids,
            kinds=requeue.kinds,
            except_kinds=requeue.except_kinds,
            jobs=only,
            damaged=damaged,
            carries_on=requeue.run_them,
        )
        scope = Scope(batches=tuple(batch.id for batch in chosen), chosen=True)
        return Work(
            scope=scope,
            batches=tuple(chosen),
            overlays=self._overlays(chosen),
            ingest=IngestReport(),
            requeued=count,
        )

    async def _unfinished(self, database: Database) -> Work:
        chosen = await named_batches(database, self._options.name)
        if not chosen:
            raise UnknownName(
                f"{self._options.database} holds no batch yet",
                hint="name a prompt file: `aiq run prompts.jsonl`",
            )
        only = chosen[0].id if self._options.name is not None else None
        if unsealed := await batches.unsealed(database, only):
            path, name = unsealed[0]
            named = "" if name == batch_name(path) else f" -n {shlex.quote(name)}"
            raise InputError(
                f"{path} was not read to its end the last time",
                hint=f"give it again: `aiq run {shlex.quote(path)}{named}`",
            )
        await self._keep_flags(database, chosen)
        return Work(
            scope=Scope(batches=tuple(batch.id for batch in chosen)),
            batches=tuple(chosen),
            overlays=self._overlays(chosen),
            ingest=IngestReport(),
        )

    async def _ingested(self, database: Database, is_stopped: Callable[[], bool]) -> Work:
        sources = await open_sources(
            database, self._options.files, name=self._options.name, now_us=self._clock.utc_us()
        )
        own = tuple({source.batch.id: source.batch for source in sources}.values())
        overlays = self._overlays(own)
        ingest = Ingest(
            database,
            clock=self._clock,
            overlays=overlays,
            on_changed=self._settings.run.on_changed,
            is_stopped=is_stopped,
            advanced=self._observer.reading,
        )

        async def finish(report: IngestReport) -> None:
            self._refuse_bad_lines(report)
            await self._keep_flags(database, own)

        report = await ingest.take(sources, finish=finish)
        self._observer.ingested(report)
        return Work(scope=_scope(sources, own), batches=own, overlays=overlays, ingest=report)

    def _refuse_bad_lines(self, report: IngestReport) -> None:
        if self._options.strict and report.invalid:
            self._observer.ingested(report)
            raise InputError(
                f"{report.invalid:,} line(s) are not valid, and `--strict` takes none",
                hint="fix them (`aiq check` lists all), or run without `--strict`",
            )

    def _overlays(self, chosen: Sequence[Batch]) -> dict[int, Overlay]:
        return {batch.id: self._overlay(batch) for batch in chosen}

    def _overlay(self, batch: Batch) -> Overlay:
        return Overlay(self._settings.defaults, self._options.flags.over(batch.flags))

    async def _keep_flags(self, database: Database, chosen: Sequence[Batch]) -> None:
        for batch in chosen:
            flags = self._options.flags.over(batch.flags).to_json()
            if flags != batch.flags:
                await batches.keep_flags(database, batch.id, flags)
            await readings.forget_unless(database, batch.id, self._overlay(batch).digest())


def _scope(sources: Sequence[Source], own: Sequence[Batch]) -> Scope:
    return Scope(
        batches=tuple(batch.id for batch in own), sources=tuple(source.id for source in sources)
    )


async def named_batches(database: Database, name: str | None) -> list[Batch]:
    """Return the batch of this name, or all without a name; raises `UnknownName`."""
    everything = await batches.batches(database)
    if name is None:
        return everything
    found = [batch for batch in everything if batch.name == name]
    if not found:
        names = ", ".join(f"`{batch.name}`" for batch in everything[:10]) or "none"
        raise UnknownName(f"there is no batch `{name}`", hint=f"the batches are: {names}")
    return found


async def named_jobs(
    database: Database, names: Sequence[str], batch: str | None
) -> list[int] | None:
    """
    Return the jobs of these ids, None where no id is given: all are meant.

    Raises:
        UnknownName: there is none, or several batches have one and none was named.
    """
    return [(await find_job(database, name, batch)).id for name in names] if names else None
