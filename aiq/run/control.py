"""
Carries out what an operator tells a run: policy decides, this moves the parts and writes it down.

One order at a time, and beside it one about jobs. What it changes is in force before it is
recorded, and it is recorded before the operator is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import NamedTuple

from aiq.clock import Clock, rfc3339
from aiq.errors import Refused
from aiq.policy.control import (
    Change,
    Command,
    Disable,
    Enable,
    Nothing,
    Pause,
    ProviderState,
    Refusal,
    Reset,
    Resume,
    SetBudget,
    SetConcurrency,
    Situation,
    Stop,
    argument,
    decide,
    verb,
)
from aiq.policy.switch import Switch
from aiq.run.board import Board
from aiq.run.fleet import Fleet, Provider
from aiq.run.funds import refuse_unbounded
from aiq.run.job_orders import JobOrders
from aiq.run.pool import Pool
from aiq.run.protocol import (
    CancelJobs,
    Order,
    Reply,
    RequeueJobs,
    RunReport,
    Status,
)
from aiq.run.publisher import Publisher
from aiq.run.run_report import report_of
from aiq.run.signals import Signals
from aiq.run.work import Work
from aiq.store import attempts, controls, jobs
from aiq.store.db import Database
from aiq.store.runs import BegunRun
from aiq.store.writer import Writer

NAMES_RECORDED = 5
"""Of what `cancel` was about."""

_OWN_COMMANDS = ("cancel", "retry-failed")


class Engine(NamedTuple):
    """What of a run that sends an operator can move."""

    pool: Pool
    board: Board
    fleet: Fleet
    publisher: Publisher
    writer: Writer
    database: Database
    """For reading; what is written goes through the writer."""
    work: Work
    jobs: JobOrders
    concurrency: int
    config_file: str


class Control:
    """What an operator can tell one run."""

    def __init__(self, signals: Signals, clock: Clock, *, note: Callable[[str], None]) -> None:
        self._signals = signals
        self._clock = clock
        self._note = note
        self._turn = asyncio.Lock()
        self._jobs_turn = asyncio.Lock()
        """Orders about jobs move any number of them, and nothing else may wait for that."""
        self._run: BegunRun | None = None
        self._engine: Engine | None = None

    def enter(self, run: BegunRun) -> None:
        """From now on there is a run, which reads its files; it can be stopped."""
        self._run = run

    def begin(self, engine: Engine) -> None:
        """From now on it sends."""
        self._engine = engine

    def end(self) -> None:
        """From now on nothing more is sent, and nothing more can be written down."""
        self._engine = None

    async def obey(self, order: Order) -> Reply:
        """
        Carry an order out and return what came of it.

        Raises:
            Refused: it cannot be done, and why.
            StoreError: it is done and could not be written down.
        """
        if isinstance(order, Status):
            return Reply(report=self._report())
        if isinstance(order, CancelJobs | RequeueJobs):
            async with self._jobs_turn:
                if isinstance(order, CancelJobs):
                    return await self._cancel(order)
                return await self._requeue(order)
        async with self._turn:
            return Reply(said=await self._carry_out(order))

    async def _cancel(self, order: CancelJobs) -> Reply:
        cancelled = await self._sending().jobs.cancel(order)
        said = str(cancelled)
        await self._record("cancel", " ".join(order.names[:NAMES_RECORDED]), said)
        return Reply(said=said, cancelled=cancelled)

    async def _requeue(self, order: RequeueJobs) -> Reply:
        requeued = await self._sending().jobs.requeue(order)
        said = str(requeued)
        await self._record("retry-failed", order.batch, said)
        return Reply(said=said, requeued=requeued)

    def _sending(self) -> Engine:
        """Return the engine of a run that sends; raises `Refused` where it does not."""
        engine = self._engine
        if engine is None or engine.pool.hand.is_ending or self._signals.is_stopped:
            doing = "reading its prompts, or ending" if engine is None else "ending"
            doing = "stopping" if self._signals.is_stopped else doing
            raise Refused(
                f"the run takes no commands now: it is {doing}", hint="try again in a moment"
            )
        return engine

    async def _carry_out(self, command: Command) -> str:
        engine = self._engine
        if engine is None:
            return self._without_engine(command)
        if isinstance(command, SetBudget) and command.limit_nano is not None:
            await self._count_all(engine)
            self._sending()  # what was counted took its time
        match decide(command, self._situation(engine)):
            case Refusal(said, hint):
                raise Refused(said, hint=hint)
            case Nothing(said):
                return said
            case Change(said):
                self._move(command, engine)
        engine.publisher.publish_all()
        if isinstance(command, Reset | Enable | SetBudget):
            again = partial(_read_again, engine.writer)
            await engine.pool.hand.reconsider(again)
        await self._record(verb(command), argument(command), said)
        return said

    async def _record(self, command: str, about: str | None, said: str) -> None:
        """Say it in the run's own terminal, and write it down."""
        name = command if command in _OWN_COMMANDS else "ctl"
        self._note(f"`aiq {name}`: {said}")
        if self._engine is not None:
            await self._engine.writer.run(
                partial(
                    controls.record,
                    run_id=self._run.id if self._run else None,
                    at=self._clock.utc_us(),
                    command=command,
                    argument=about,
                )
            )

    def _without_engine(self, command: Command) -> str:
        if not isinstance(command, Stop):
            self._sending()
        if self._signals.is_stopped:
            return "the run is stopping already"
        self._signals.stop_on_request()
        return "stopping: nothing was sent yet"

    def _situation(self, engine: Engine) -> Situation:
        budget = engine.board.budget
        return Situation(
            providers=tuple(
                ProviderState(name, one.standing.switch, one.standing.why_refused)
                for name, one in engine.fleet.providers.items()
            ),
            concurrency=engine.pool.hand.concurrency,
            most=engine.concurrency,
            in_flight=engine.pool.in_flight,
            is_paused=engine.pool.hand.is_paused,
            is_stopping=self._signals.is_stopped or engine.pool.hand.is_ending,
            budget_nano=budget.limit_nano,
            committed_nano=budget.committed_nano,
            reserved_nano=budget.reserved_nano,
        )

    def _move(self, command: Command, engine: Engine) -> None:
        hand, board = engine.pool.hand, engine.board
        match command:
            case Stop():
                self._signals.stop_on_request()
            case Pause():
                hand.pause()
            case Resume():
                hand.resume()
            case SetConcurrency(jobs):
                hand.limit(jobs)
                board.concurrency = jobs
            case SetBudget(limit_nano):
                board.budget.limit(limit_nano)
                hand.nudge()
            case Disable(name):
                _switch(engine, name, Switch.OFF)
            case Enable(name):
                _switch(engine, name, Switch.ON)
            case Reset(name):
                engine.publisher.forget(name)
                _provider(engine, name).standing.start_over()
                hand.nudge()
        board.is_paused = hand.is_paused

    async def _count_all(self, engine: Engine) -> None:
        """
        Make a run fit for a budget that began without one: it has counted its own attempts only.

        Raises:
            Refused: a provider is such that a budget cannot bound it.
        """
        budget = engine.board.budget
        if budget.limit_nano is None:
            await refuse_unbounded(engine.database, engine.work, engine.fleet, engine.config_file)
            engine.fleet.require_prices()
        if not engine.board.counts_earlier:
            earlier, uncounted = await attempts.committed_nano(
                engine.database,
                engine.work.scope.batches,
                before_run=self._run.id if self._run else None,
            )
            engine.board.counts_earlier = True
            budget.committed_nano += earlier
            if uncounted := uncounted + budget.uncounted:
                self._note(
                    f"the budget cannot count {uncounted:,} earlier attempts of unknown cost"
                )

    def _report(self) -> RunReport:
        if self._run is None:
            raise Refused("the run has not begun", hint="try again in a moment")
        if (engine := self._engine) is None:
            phase = "stopping" if self._signals.is_stopped else "reading"
            started_at = rfc3339(self._run.started_at)
            return RunReport(pid=self._run.pid, started_at=started_at, phase=phase)
        return report_of(
            engine.board.snapshot(),
            run=self._run,
            batches=[batch.name for batch in engine.work.batches],
            concurrency=engine.pool.hand.concurrency,
        )


def leave_off(fleet: Fleet, switched_off: Collection[str]) -> None:
    """Keep out whom an operator has switched off in an earlier run, or between runs."""
    for name, provider in fleet.providers.items():
        if name in switched_off:
            provider.standing.switch = Switch.LEFT_OFF


async def _read_again(writer: Writer, jobs_given_up: Sequence[int]) -> None:
    await writer.run(partial(jobs.read_again, job_ids=jobs_given_up))


def _switch(engine: Engine, name: str, switch: Switch) -> None:
    _provider(engine, name).standing.switch = switch
    engine.pool.hand.nudge()


def _provider(engine: Engine, name: str) -> Provider:
    return engine.fleet.providers[name]
