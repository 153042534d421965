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
import shlex
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

from aiq.clock import Clock
from aiq.config import Settings
from aiq.errors import Refused, StoreError
from aiq.redaction import Redactor
from aiq.run.board import AttemptWatcher, Board
from aiq.run.channel import Channel
from aiq.run.control import Control, leave_off
from aiq.run.fleet import Fleet, Prices, Transports, transports
from aiq.run.funds import open_funds
from aiq.run.halt import Stopped
from aiq.run.intake import Intake
from aiq.run.models import asked_as_named, settle_models
from aiq.run.observer import Observer
from aiq.run.options import RunOptions
from aiq.run.ownership import owned_database
from aiq.run.planning import plan_of
from aiq.run.rescue import bring_home
from aiq.run.result import RunResult, Sent, outcome_of
from aiq.run.room import why_tight
from aiq.run.sending import Sending
from aiq.run.signals import Signals
from aiq.run.watch import Watch
from aiq.run.work import Work
from aiq.store import attempts, backlog, controls, jobs, runs
from aiq.store.backlog import Load
from aiq.store.db import Database
from aiq.store.runs import BegunRun

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
        self._transports = transports_of or transports(clock, environ)
        self._watchers = watchers
        self._signals = Signals(leave=observer.close)
        self.control = Control(self._signals, clock, note=observer.note)
        self._channel = channel
        self._watch = Watch(options.database, clock)
        self._sending = Sending(
            options,
            settings,
            observer=observer,
            clock=clock,
            draw=draw,
            signals=self._signals,
            control=self.control,
            watch=self._watch,
        )
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
        if self._only_puts_back:
            return await self._put_back(database)
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

    @property
    def _only_puts_back(self) -> bool:
        requeue = self._options.requeue
        return requeue is not None and not requeue.run_them

    async def _put_back(self, database: Database) -> RunResult:
        """
        Put failed jobs back, which is no run.

        What a dead one left in flight is the next one's to settle, by the rules that it is given.
        """
        self._signals.heed()
        try:
            work = await self._intake.take(database, is_stopped=lambda: self._signals.is_stopped)
        except Stopped:
            return self._stopped_while_reading()
        return await outcome_of(database, work, signals=self._signals)

    def _stopped_while_reading(self) -> RunResult:
        return RunResult.nothing(self._signals.exit_code, "stopped while reading; nothing was kept")

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
            with _saying_what_is_put_back(work):
                return await self._work_through(database, work, run)
        except Stopped:
            return self._stopped_while_reading()
        finally:
            with contextlib.suppress(StoreError):
                await runs.end_run(database, run_id=run.id, now_us=self._clock.utc_us())

    async def _work_through(self, database: Database, work: Work, run: BegunRun) -> RunResult:
        """Open the way to those who are asked, and ask; or end where nothing is left to ask for."""
        await self._note_simulated(database, work)
        loads = await backlog.pending_loads(database, work.scope)
        if not loads:
            return await outcome_of(database, work, signals=self._signals)
        fleet = self._fleet()
        leave_off(fleet, await controls.switched_off(database))
        try:
            return await self._ask(database, work, fleet, loads, run)
        finally:
            await fleet.close()

    async def _ask(
        self, database: Database, work: Work, fleet: Fleet, loads: Sequence[Load], run: BegunRun
    ) -> RunResult:
        """Settle what it may cost and with which models, say so, and send, unless that is all."""
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
        board = Board(
            fleet,
            self._clock,
            counts=await jobs.counts(database, work.scope),
            limit=self._options.limit,
            budget=funds.budget,
            watchers=self._watchers,
        )
        self._announce(work, fleet, loads, board)
        if self._options.dry_run:
            return await outcome_of(database, work, signals=self._signals)
        end = await self._sending.carry_out(database, work, fleet, board, run)
        return await outcome_of(
            database, work, signals=self._signals, sent=Sent(board, fleet, *end)
        )

    def _announce(self, work: Work, fleet: Fleet, loads: Sequence[Load], board: Board) -> None:
        """Say what is about to happen, and what room there is for it."""
        plan = plan_of(
            work,
            fleet,
            loads,
            skipped=board.skipped,
            limit=self._options.limit,
            strategy=self._settings.run.strategy,
            budget=board.budget,
            utc_us=self._clock.utc_us(),
        )
        if tight := why_tight(self._options.database, plan.pending):
            self._observer.note(tight)
        self._observer.plan(plan)

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


@contextlib.contextmanager
def _saying_what_is_put_back(work: Work) -> Iterator[None]:
    """Add to a refusal what the next command is: the one that was typed finds nothing any more."""
    try:
        yield
    except Refused as error:
        if work.requeued:
            name = f" -n {shlex.quote(work.batches[0].name)}" if len(work.batches) == 1 else ""
            sentence = f"the jobs are put back by now: `aiq run{name}` sends them"
            error.hint = f"{error.hint}; {sentence}" if error.hint else sentence
        raise
