"""Sending the jobs of a run: the pool, and what goes on beside it until all is stored."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

from aiq.clock import Clock
from aiq.config import Settings
from aiq.errors import StoreError
from aiq.policy.retry import RetrySettings
from aiq.policy.strategy import Strategy
from aiq.redaction import Redactor
from aiq.run.attempt import Sender
from aiq.run.board import Board
from aiq.run.control import Control, Engine
from aiq.run.deadlines import Deadlines
from aiq.run.feed import Feed
from aiq.run.fleet import Fleet
from aiq.run.halt import End
from aiq.run.job_orders import JobOrders
from aiq.run.means import CandidateIds, Means
from aiq.run.observer import Observer
from aiq.run.options import RunOptions
from aiq.run.pool import Pool, PoolSettings
from aiq.run.publisher import Publisher, recall
from aiq.run.rescue import keep_unsaved
from aiq.run.signals import Signals
from aiq.run.watch import Watch
from aiq.run.work import Work
from aiq.store import jobs
from aiq.store.db import Database
from aiq.store.runs import BegunRun
from aiq.store.writer import Write, Writer

TICK_S = 0.25


class Sending:
    """Sends the jobs of one run."""

    def __init__(
        self,
        options: RunOptions,
        settings: Settings,
        *,
        observer: Observer,
        clock: Clock,
        draw: Callable[[], float],
        signals: Signals,
        control: Control,
        watch: Watch,
    ) -> None:
        """`draw` is uniform in 0..1."""
        self._options = options
        self._settings = settings
        self._observer = observer
        self._clock = clock
        self._draw = draw
        self._signals = signals
        self._control = control
        self._watch = watch
        self._redactor = Redactor([s for p in settings.providers for s in p.secrets])

    async def carry_out(
        self, database: Database, work: Work, fleet: Fleet, board: Board, run: BegunRun
    ) -> tuple[End, str | None]:
        """Run the pool with everything beside it; return why it ended and what stood in the way."""
        await recall(database, fleet, self._clock)
        deadlines = Deadlines(self._clock)
        engine = await self._engine(database, work, fleet, board, run, deadlines=deadlines)
        pool, writer, publisher = engine.pool, engine.writer, engine.publisher

        def stop() -> None:
            board.is_draining = True
            pool.stop()

        def stop_because(of: str) -> None:
            pool.stop()
            self._observer.note(f"{of}: nothing more is sent, what is in flight is awaited")

        def ended() -> None:
            pool.nudge()
            if writer.failure is not None:
                stop_because(str(writer.failure))

        writer.start(ended=ended)
        self._control.begin(engine)
        self._signals.tell(stop=stop, abort=pool.abort)
        watching = self._watch.beat(
            lambda lost: stop_because(f"{lost} was deleted or replaced"), self._observer.note
        )
        try:
            async with _beside(deadlines.beat(), self._show(board, publisher), watching):
                end = await pool.run()
        finally:
            self._control.end()
            publisher.publish_all()
            try:
                await self._close(writer, run)
            finally:
                self._observer.tick(board.snapshot())
        return end, pool.trouble

    async def _engine(
        self,
        database: Database,
        work: Work,
        fleet: Fleet,
        board: Board,
        run: BegunRun,
        *,
        deadlines: Deadlines,
    ) -> Engine:
        """Put together what sends and stores; nothing runs yet."""

        def committed(writes: Sequence[Write]) -> None:
            board.committed(writes)
            pool.nudge()

        writer = Writer(database, run_id=run.id, committed=committed)
        known = await jobs.candidate_ids(database)
        means = self._means(board, fleet=fleet, writer=writer, run=run, known=known)
        feed = self._feed(database, work, fleet, run)
        sender = Sender(clock=self._clock, deadlines=deadlines, redactor=self._redactor)
        pool = Pool(settings=self._pool_settings(), means=means, feed=feed, sender=sender)
        orders = JobOrders(
            hand=pool.hand,
            feed=feed,
            writer=writer,
            board=board,
            database=database,
            scope=work.scope,
        )
        return Engine(
            pool=pool,
            board=board,
            fleet=fleet,
            publisher=Publisher(fleet, writer, self._clock),
            writer=writer,
            database=database,
            work=work,
            jobs=orders,
            concurrency=self._settings.run.concurrency,
            config_file=self._settings.file,
        )

    def _feed(self, database: Database, work: Work, fleet: Fleet, run: BegunRun) -> Feed:
        return Feed(
            database,
            work.scope,
            fleet=fleet,
            overlays=work.overlays,
            began_us=run.started_at,
            limit=self._options.limit,
        )

    def _means(
        self, board: Board, *, fleet: Fleet, writer: Writer, run: BegunRun, known: CandidateIds
    ) -> Means:
        rules = self._settings.run
        return Means(
            fleet=fleet,
            writer=writer,
            budget=board.budget,
            strategy=Strategy(rules.strategy, overflow=rules.overflow),
            clock=self._clock,
            draw=self._draw,
            run=run,
            candidate_ids=known,
        )

    async def _close(self, writer: Writer, run: BegunRun) -> None:
        """End the writing; what cannot be stored is kept elsewhere before that is told."""
        try:
            await writer.close()
        except Exception as error:
            path = self._options.database
            kept = await asyncio.to_thread(keep_unsaved, path, run, writer.kept)
            if not isinstance(error, StoreError):
                self._observer.note(kept)
                raise
            raise StoreError(f"{error}; {kept}", hint=error.hint) from error

    def _pool_settings(self) -> PoolSettings:
        run = self._settings.run
        return PoolSettings(
            concurrency=run.concurrency,
            retry=RetrySettings(max_attempts=run.max_attempts, on_unknown=run.on_unknown),
            max_wait_s=run.max_wait_s,
        )

    async def _show(self, board: Board, publisher: Publisher) -> None:
        while True:
            self._observer.tick(board.snapshot())
            publisher.tick()
            await self._clock.sleep(TICK_S)


@contextlib.asynccontextmanager
async def _beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Let endless work go on beside a block, and end it with the block."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
