"""
One invocation of `run` or `retry-failed`, from the lock to the last checkpoint.

The order is the promise: take the lock, settle what a dead run left, read the files to their end,
say what will happen, and only then send. Whatever ends the run, the writer finishes first.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import socket
from collections.abc import AsyncIterator, Coroutine, Sequence
from pathlib import Path
from typing import Any

from aiq.clock import Clock, rfc3339
from aiq.config import Settings
from aiq.errors import AiqError, Refused, StoreError, UnknownName
from aiq.model import JobState
from aiq.policy.budget import Budget
from aiq.policy.retry import RetrySettings
from aiq.policy.strategy import Strategy
from aiq.redaction import Redactor
from aiq.run.attempt import Sender
from aiq.run.board import Board
from aiq.run.deadlines import Deadlines
from aiq.run.feed import Feed
from aiq.run.fleet import Fleet, Prices
from aiq.run.funds import open_funds
from aiq.run.halt import End
from aiq.run.ingest import Stopped
from aiq.run.intake import Intake
from aiq.run.means import Means
from aiq.run.models import asked_as_named, settle_models
from aiq.run.observer import Observer, Plan
from aiq.run.options import RunOptions
from aiq.run.pool import Pool, PoolSettings
from aiq.run.pricing import estimate
from aiq.run.publisher import Publisher
from aiq.run.result import RunResult, Sent, outcome_of
from aiq.run.signals import Signals
from aiq.run.work import Work
from aiq.store import jobs, providers, runs
from aiq.store.db import Database, open_for_reading, open_for_run
from aiq.store.jobs import Load
from aiq.store.lock import RunLock
from aiq.store.runs import BegunRun
from aiq.store.writer import Write, Writer

TICK_S = 0.25
MODELS_NOTED = 3


class Session:
    """Runs one command against one database."""

    def __init__(
        self,
        options: RunOptions,
        settings: Settings,
        *,
        observer: Observer,
        clock: Clock,
        environ: dict[str, str],
    ) -> None:
        self._options = options
        self._settings = settings
        self._observer = observer
        self._clock = clock
        self._environ = environ
        self._signals = Signals(leave=observer.close)
        self._intake = Intake(options, settings, observer=observer, clock=clock)
        self._redactor = Redactor([s for p in settings.providers for s in p.secrets])

    async def run(self) -> RunResult:
        """Do the whole job; raises `AiqError` where nothing sensible can be reported."""
        with self._signals.listening():
            async with self._owned_database() as database:
                return await self._run(database)

    @contextlib.asynccontextmanager
    async def _owned_database(self) -> AsyncIterator[Database]:
        path = self._options.database
        if self._options.requeue is not None and not path.exists():
            raise UnknownName(f"there is no database at {path}", hint="name one with `--db`")
        lock = RunLock(path)
        if not await asyncio.to_thread(lock.acquire):
            raise await _in_use(path)
        with lock:
            database = await open_for_run(path)
            try:
                yield database
                with contextlib.suppress(StoreError):  # what is committed stays so in the log too
                    await database.checkpoint()
            finally:
                await database.close()

    async def _run(self, database: Database) -> RunResult:
        began_us = self._clock.utc_us()
        await runs.recover(
            database, now_us=began_us, fail_unknown=self._settings.run.on_unknown == "fail"
        )
        run = await runs.begin_run(
            database, pid=os.getpid(), host=socket.gethostname(), now_us=began_us
        )
        try:
            work = await self._intake.take(database, is_stopped=lambda: self._signals.is_stopped)
            return await self._work_through(database, work, run)
        except Stopped:
            return RunResult.nothing(
                self._signals.exit_code, "stopped while reading; nothing was kept"
            )
        finally:
            with contextlib.suppress(StoreError):
                await runs.end_run(database, run_id=run.id, now_us=self._clock.utc_us())

    async def _work_through(self, database: Database, work: Work, run: BegunRun) -> RunResult:
        loads = await jobs.pending_loads(database, work.scope)
        if not loads or work.only_requeue:
            return await outcome_of(database, work, signals=self._signals)
        fleet = Fleet.of(
            self._settings.providers,
            concurrency=self._settings.run.concurrency,
            clock=self._clock,
            environ=self._environ,
            prices=Prices(
                are_compared=self._settings.run.strategy == "cost",
                are_required=self._settings.run.budget_usd is not None,
                utc_us=self._clock.utc_us(),
            ),
        )
        try:
            if await jobs.needs_model(database, work.scope):
                await settle_models(fleet, work.overlays.values(), self._redactor)
            funds = await open_funds(database, work, fleet, self._settings)
            if funds.uncounted:
                self._observer.note(
                    f"the budget cannot count {funds.uncounted:,} earlier attempts of unknown cost"
                )
            for sentence in itertools.islice(asked_as_named(fleet, loads), MODELS_NOTED):
                self._observer.note(sentence)
            counts = await jobs.counts(database, work.scope)
            skipped = counts.get(JobState.SUCCEEDED, 0)
            self._observer.plan(self._plan(work, fleet, loads, skipped, funds.budget))
            if self._options.dry_run:
                return await outcome_of(database, work, signals=self._signals)
            board = Board(
                fleet,
                self._clock,
                counts=counts,
                limit=self._options.limit,
                budget=funds.budget,
            )
            end = await self._send(database, work, fleet, board, run)
            return await outcome_of(
                database, work, signals=self._signals, sent=Sent(board, fleet, *end)
            )
        finally:
            await fleet.close()

    def _plan(
        self, work: Work, fleet: Fleet, loads: Sequence[Load], skipped: int, budget: Budget
    ) -> Plan:
        pending = sum(load.jobs for load in loads)
        taken = min(pending, self._options.limit or pending)
        first = next(iter(fleet.providers.values()))
        flagged = next((o.model for o in work.overlays.values() if o.model is not None), None)
        estimated = estimate(
            first.settings,
            loads,
            own_model=first.resolve(flagged),
            utc_us=self._clock.utc_us(),
        )
        return Plan(
            batches=tuple(batch.name for batch in work.batches),
            pending=taken,
            skipped=skipped,
            candidates=tuple((p.name, p.model) for p in fleet.providers.values()),
            estimated_nano=None if estimated is None else estimated * taken // pending,
            budget_nano=budget.limit_nano,
            committed_nano=budget.committed_nano,
        )

    async def _send(
        self, database: Database, work: Work, fleet: Fleet, board: Board, run: BegunRun
    ) -> tuple[End, str | None]:
        """Run the pool with everything beside it; return why it ended and what stood in the way."""
        deadlines = Deadlines(self._clock)

        def committed(writes: Sequence[Write]) -> None:
            board.committed(writes)
            pool.nudge()

        fleet.remember(await providers.openings(database))
        writer = Writer(database, run_id=run.id, committed=committed)
        rules = self._settings.run
        means = Means(
            fleet=fleet,
            writer=writer,
            budget=board.budget,
            strategy=Strategy(rules.strategy, overflow=rules.overflow),
            clock=self._clock,
            draw=random.random,
            run=run,
            candidate_ids=await jobs.candidate_ids(database),
        )
        feed = Feed(
            database,
            work.scope,
            fleet=fleet,
            overlays=work.overlays,
            began_us=run.started_at,
            limit=self._options.limit,
        )
        sender = Sender(clock=self._clock, deadlines=deadlines, redactor=self._redactor)
        pool = Pool(settings=self._pool_settings(), means=means, feed=feed, sender=sender)
        writer.start(ended=pool.nudge)
        publisher = Publisher(fleet, writer, self._clock)
        self._signals.tell(stop=lambda: _drain(board, pool), abort=pool.abort)
        try:
            async with _beside(deadlines.beat(), self._show(board, publisher)):
                end = await pool.run()
        finally:
            publisher.publish_all()
            await writer.close()
        self._observer.tick(board.snapshot())
        return end, pool.trouble

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


def _drain(board: Board, pool: Pool) -> None:
    board.is_draining = True
    pool.stop()


async def _in_use(path: Path) -> AiqError:
    """Say who holds the database."""
    holder = "another run"
    with contextlib.suppress(StoreError, Refused):
        database = await open_for_reading(path)
        try:
            run = await runs.last_run(database)
        finally:
            await database.close()
        if run is not None:
            holder = f"a run (pid {run.pid} on {run.host}, since {rfc3339(run.started_at)})"
    return StoreError(
        f"database {path} is in use by {holder}",
        hint="wait until it has ended, or stop it with Ctrl-C; `aiq status` shows how far it is",
    )
