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
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

from aiq.clock import Clock
from aiq.config import Settings
from aiq.errors import StoreError
from aiq.model import JobState
from aiq.policy.retry import RetrySettings
from aiq.policy.strategy import Strategy
from aiq.redaction import Redactor
from aiq.run.attempt import Sender
from aiq.run.board import AttemptWatcher, Board
from aiq.run.channel import Channel
from aiq.run.control import Control, Engine, leave_off
from aiq.run.deadlines import Deadlines
from aiq.run.feed import Feed
from aiq.run.fleet import Fleet, Prices, Transports, transports
from aiq.run.funds import open_funds
from aiq.run.halt import End, Stopped
from aiq.run.intake import Intake
from aiq.run.job_orders import JobOrders
from aiq.run.means import CandidateIds, Means
from aiq.run.models import asked_as_named, settle_models
from aiq.run.observer import Observer
from aiq.run.options import RunOptions
from aiq.run.ownership import owned_database
from aiq.run.planning import plan_of
from aiq.run.pool import Pool, PoolSettings
from aiq.run.publisher import Publisher, recall
from aiq.run.rescue import bring_home, keep_unsaved
from aiq.run.result import RunResult, Sent, outcome_of
from aiq.run.room import why_tight
from aiq.run.signals import Signals
from aiq.run.watch import Watch
from aiq.run.work import Work
from aiq.store import attempts, backlog, controls, jobs, runs
from aiq.store.db import Database
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
        draw: Callable[[], float] = random.random,
        transports_of: Transports | None = None,
        watchers: Sequence[AttemptWatcher] = (),
        channel: Channel | None = None,
    ) -> None:
        """
        Time, chance and the network are parameters; a whole run can be played without them.

        `draw` is uniform in 0..1; `transports_of` None is the real network; `watchers` are told of
        every attempt; `channel` is how an operator reaches the run, None: not at all.
        """
        self._options = options
        self._settings = settings
        self._observer = observer
        self._clock = clock
        self._draw = draw
        self._transports = transports_of or transports(clock, environ)
        self._watchers = watchers
        self._signals = Signals(leave=observer.close)
        self.control = Control(self._signals, clock, note=observer.note)
        self._channel = channel
        self._watch = Watch(options.database, clock)
        self._intake = Intake(options, settings, observer=observer, clock=clock)
        self._redactor = Redactor([s for p in settings.providers for s in p.secrets])

    async def run(self) -> RunResult:
        """
        Do the whole job; raises `AiqError` where nothing sensible can be reported.

        A run that is stopped while another program holds the database, so that it cannot even be
        opened, is left behind: it has done nothing, and the process has to end without it.
        """
        with self._signals.listening():
            working = asyncio.create_task(self._in_database(), name="session")
            leaving = asyncio.create_task(self._signals.ignored(), name="leaving")
            try:
                await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)
                raise
            finally:
                leaving.cancel()
        if working.done():
            return await working
        return RunResult.nothing(self._signals.exit_code, "stopped before anything was sent")

    async def _in_database(self) -> RunResult:
        options = self._options
        async with owned_database(
            options.database,
            self._watch,
            may_be_new=bool(options.files),
            wants_files=options.requeue is None,
        ) as database:
            return await self._run(database)

    async def _run(self, database: Database) -> RunResult:
        await bring_home(database, self._observer.note)
        began_us = self._clock.utc_us()
        await runs.recover(
            database, now_us=began_us, fail_unknown=self._settings.run.on_unknown == "fail"
        )
        run = await runs.begin_run(
            database, pid=os.getpid(), host=socket.gethostname(), now_us=began_us
        )
        self._signals.heed()
        self.control.enter(run)
        async with self._reachable():
            return await self._carry_out(database, run)

    @contextlib.asynccontextmanager
    async def _reachable(self) -> AsyncIterator[None]:
        """Let an operator reach the run while the block runs, if there is a way."""
        if self._channel is None:
            yield
            return
        async with self._channel.open(self.control.obey):
            yield

    async def _carry_out(self, database: Database, run: BegunRun) -> RunResult:
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
        """Settle who is asked and what it may cost, say so, then send; or end where that is all."""
        await self._note_simulated(database, work)
        loads = await backlog.pending_loads(database, work.scope)
        if not loads or work.only_requeue:
            return await outcome_of(database, work, signals=self._signals)
        fleet = self._fleet()
        leave_off(fleet, await controls.switched_off(database))
        try:
            if await backlog.needs_model(database, work.scope):
                settling = settle_models(fleet, work.overlays.values(), self._redactor)
                if not await self._signals.unless_stopped(settling):
                    return await outcome_of(database, work, signals=self._signals)
            funds = await open_funds(database, work, fleet, self._settings)
            if funds.uncounted:
                self._observer.note(
                    f"the budget cannot count {funds.uncounted:,} earlier attempts of unknown cost"
                )
            for sentence in itertools.islice(asked_as_named(fleet, loads), MODELS_NOTED):
                self._observer.note(sentence)
            counts = await jobs.counts(database, work.scope)
            skipped = counts.get(JobState.SUCCEEDED, 0)
            plan = plan_of(
                work,
                fleet,
                loads,
                skipped=skipped,
                limit=self._options.limit,
                strategy=self._settings.run.strategy,
                budget=funds.budget,
                utc_us=self._clock.utc_us(),
            )
            if tight := why_tight(self._options.database, plan.pending):
                self._observer.note(tight)
            self._observer.plan(plan)
            if self._options.dry_run:
                return await outcome_of(database, work, signals=self._signals)
            board = Board(
                fleet,
                self._clock,
                counts=counts,
                limit=self._options.limit,
                budget=funds.budget,
                watchers=self._watchers,
            )
            end = await self._send(database, work, fleet, board, run)
            return await outcome_of(
                database, work, signals=self._signals, sent=Sent(board, fleet, *end)
            )
        finally:
            await fleet.close()

    def _fleet(self) -> Fleet:
        rules = self._settings.run
        return Fleet.of(
            self._settings.providers,
            concurrency=rules.concurrency,
            transports=self._transports,
            prices=Prices(
                are_compared=rules.strategy == "cost",
                are_required=rules.budget_usd is not None,
                utc_us=self._clock.utc_us(),
            ),
        )

    async def _note_simulated(self, database: Database, work: Work) -> None:
        """Say so where answers that were made up count as done although the real thing is asked."""
        kinds = {provider.kind for provider in self._settings.providers}
        if not kinds or "simulated" in kinds:
            return
        if count := await attempts.scope_simulated(database, work.scope):
            self._observer.note(
                f"{count:,} finished job(s) were answered by a simulated provider and are not"
                " asked again; with another `--db` all are"
            )

    async def _send(
        self, database: Database, work: Work, fleet: Fleet, board: Board, run: BegunRun
    ) -> tuple[End, str | None]:
        """Run the pool with everything beside it; return why it ended and what stood in the way."""
        deadlines = Deadlines(self._clock)

        def committed(writes: Sequence[Write]) -> None:
            board.committed(writes)
            pool.nudge()

        await recall(database, fleet, self._clock)
        writer = Writer(database, run_id=run.id, committed=committed)
        means = self._means(
            board, fleet=fleet, writer=writer, run=run, known=await jobs.candidate_ids(database)
        )
        feed = self._feed(database, work, fleet, run)
        sender = Sender(clock=self._clock, deadlines=deadlines, redactor=self._redactor)
        pool = Pool(settings=self._pool_settings(), means=means, feed=feed, sender=sender)
        publisher = Publisher(fleet, writer, self._clock)

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
        self.control.begin(
            Engine(
                pool=pool,
                board=board,
                fleet=fleet,
                publisher=publisher,
                writer=writer,
                database=database,
                work=work,
                jobs=JobOrders(
                    hand=pool.hand,
                    feed=feed,
                    writer=writer,
                    board=board,
                    database=database,
                    scope=work.scope,
                ),
                concurrency=self._settings.run.concurrency,
                config_file=self._settings.file,
            )
        )
        self._signals.tell(stop=stop, abort=pool.abort)
        watching = self._watch.beat(
            lambda lost: stop_because(f"{lost} was deleted or replaced"), self._observer.note
        )
        try:
            async with _beside(deadlines.beat(), self._show(board, publisher), watching):
                end = await pool.run()
        finally:
            self.control.end()
            publisher.publish_all()
            try:
                await self._close(writer, run)
            finally:
                self._observer.tick(board.snapshot())
        return end, pool.trouble

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
