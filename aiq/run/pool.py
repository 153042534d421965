"""
The pool: a bounded number of workers, and the one place that decides who sends what next.

Route, then lease, then send. A job gets a candidate and places at everything that bounds it, then
its attempt is committed together with its lease, and only then does a worker send it; if the
candidate was switched off or began to cool in between, nothing is sent. A worker is free as soon as
its answer is handed to the writer, never before there is room for what it would buy next. Every
task has an end: the pool stops leasing, what is in flight finishes or is aborted, and the writer
has the last word.
"""

from __future__ import annotations

import asyncio
import contextlib
import math

import msgspec

from aiq.model import Kind
from aiq.policy.admission import Candidate, why_not_send
from aiq.policy.patience import Patience
from aiq.policy.retry import RetrySettings
from aiq.policy.routing import Go
from aiq.providers.dialect import Inexpressible
from aiq.run.aftermath import Aftermath
from aiq.run.attempt import Sender
from aiq.run.feed import Feed
from aiq.run.halt import End, Halt
from aiq.run.hand import Hand
from aiq.run.job import Job
from aiq.run.leases import Assignment, Leases
from aiq.run.means import Means
from aiq.run.read_ahead import ReadAhead
from aiq.run.waiting import Waiting

UNSAVED_BYTES = 64 * 1024 * 1024

STORE_DRAIN_S = 120.0
"""How long what is in flight is awaited when its answers can no longer be stored, only kept."""


class PoolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What bounds a pool."""

    concurrency: int
    retry: RetrySettings
    max_wait_s: float | None = None


class Pool:
    """Works through a feed."""

    def __init__(
        self,
        *,
        settings: PoolSettings,
        means: Means,
        feed: Feed,
        sender: Sender,
    ) -> None:
        self._concurrency = settings.concurrency
        self._fleet = means.fleet
        self._writer = means.writer
        self._sender = sender
        self._clock = means.clock
        self._halt = Halt()
        self._waiting = Waiting(means.strategy)
        self._reading = ReadAhead(
            feed, self._waiting, self._halt, jobs=max(1024, 2 * settings.concurrency)
        )
        self._patience = Patience(settings.max_wait_s)
        self._leases = Leases(means)
        self.hand = Hand(
            halt=self._halt,
            waiting=self._waiting,
            reading=self._reading,
            patience=self._patience,
            means=means,
            concurrency=settings.concurrency,
        )
        self._aftermath = Aftermath(
            means=means,
            settings=settings.retry,
            leases=self._leases,
            waiting=self._waiting,
            patience=self._patience,
            halt=self._halt,
            may_go_on=self._may_go_on,
            withdrawn=self.hand.withdrawn,
        )
        self._queue: asyncio.Queue[Assignment] = asyncio.Queue()
        self._free = settings.concurrency
        self._gives_up_at = math.inf
        self._is_short = False
        """Whether the next job's worst case does not fit into what the budget has left."""

    def stop(self) -> None:
        """Send nothing new from now on; what is in flight is awaited."""
        self._halt.end(End.STOPPED)

    def abort(self) -> None:
        """Give up what is in flight: its attempts are recorded as possibly paid."""
        self._halt.is_abort = True
        self._halt.end(End.STOPPED)
        self._halt.nudge()

    def nudge(self) -> None:
        """Look again: something was committed, or can no longer be."""
        self._halt.nudge()

    @property
    def trouble(self) -> str | None:
        """What stood in the way, as far as anything did."""
        return self._halt.refusal or self._patience.last_trouble

    @property
    def in_flight(self) -> int:
        """How many workers are at work."""
        return self._concurrency - self._free

    async def run(self) -> End:
        """Work until everything is done or the pool has to stop; raises if the store fails."""
        self._note_cooldowns()
        workers = [
            asyncio.create_task(self._work(), name=f"worker-{n}") for n in range(self._concurrency)
        ]
        tasks = [asyncio.create_task(self._reading.run(), name="read-ahead"), *workers]
        for task in tasks:
            task.add_done_callback(lambda _: self._halt.nudge())
        try:
            return await self._direct(tasks)
        finally:
            self._halt.end(End.DONE)  # known before anything is awaited: no order is taken now
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            while not self._queue.empty():
                self._aftermath.conclude_abort(self._queue.get_nowait(), began=None)

    def _note_cooldowns(self) -> None:
        """A run in which everybody is cooling from the start is as patient as one that is told."""
        now = self._clock.now()
        accounts = {name: p.standing.account for name, p in self._fleet.providers.items()}
        if all(account.is_cooling for account in accounts.values()):
            for name, account in accounts.items():
                self._patience.note_cooldown(name, now, account.limits.cooldown.until - now)

    # Directing

    async def _direct(self, tasks: list[asyncio.Task[None]]) -> End:
        while True:
            self._halt.changed.clear()
            self._check_health(tasks)
            if self.hand.is_used:
                self.hand.bear()
                self._is_short = self._is_short and not self._halt.is_paused
            if self._halt.why_not is None:
                self._dispatch()
            if self._halt.is_abort:
                return End.STOPPED
            if (end := self._reason_to_end()) is not None and not self.in_flight:
                return end
            await self._rest()

    def _check_health(self, tasks: list[asyncio.Task[None]]) -> None:
        """
        A task that died takes the run with it instead of shrinking the pool in silence.

        What is in flight is awaited first: its answers are paid and can still be stored, or kept.
        """
        if self._writer.failure is not None:
            self._outlive(self._writer.failure)
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                self._halt.end(End.STOPPED)
                if not self.in_flight:
                    raise error

    def _outlive(self, failure: BaseException) -> None:
        """Await what is in flight although nothing can be stored any more; raises at its end."""
        self._halt.end(End.STOPPED)
        self._gives_up_at = min(self._gives_up_at, self._clock.now() + STORE_DRAIN_S)
        if not self.in_flight or self._clock.now() >= self._gives_up_at:
            raise failure

    def _may_go_on(self) -> bool:
        """Whether a worker may send again at once, without asking for its place."""
        return self._halt.why_not is None and self._free >= self.hand.idle

    def _reason_to_end(self) -> End | None:
        if self._halt.why is not None:
            return self._halt.why
        if self.hand.is_changing_jobs:
            return None
        if self._waiting or not self._reading.is_done or self.in_flight:
            if self._is_short:
                return End.BUDGET
            is_over = self._patience.ends_at <= self._clock.now()
            return End.WAITED if is_over and not self.in_flight else None
        return End.NO_PROVIDER if self._halt.leaves_jobs else End.DONE

    async def _rest(self) -> None:
        """Sleep until something changes or an instant comes that may change something."""
        is_over = self._patience.ends_at <= self._clock.now()
        has_room = self._free > self.hand.idle and self._has_room_for_answers()
        can_start = has_room and self._halt.why_not is None
        # When nothing starts any more, the instant at which something could have is long past.
        until = self._waiting.next_at if can_start and not (self._is_short or is_over) else math.inf
        if not self.in_flight:
            until = min(until, self._patience.ends_at)
        until = min(until, self._gives_up_at)
        if math.isinf(until):
            await self._halt.changed.wait()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - self._clock.now())):
                await self._halt.changed.wait()

    def _dispatch(self) -> None:
        """Lease and hand out jobs while workers are free and answers can be stored."""
        now = self._clock.now()
        self._is_short = False
        if self._fleet.is_hopeless:
            self._halt.end(End.NO_PROVIDER, self._fleet.why_hopeless)
            return
        while (
            self._free > self.hand.idle
            and self._has_room_for_answers()
            and self._patience.ends_at > now
        ):
            taken = self._waiting.take(now)
            self._reading.refill()
            if taken is None:
                return
            job, choice = taken
            if not isinstance(choice, Go):
                self._aftermath.give_up(job, choice)
            elif (assignment := self._leases.grant(job, choice, now)) is not None:
                self._free -= 1
                self._queue.put_nowait(assignment)
            elif choice.candidate not in (bounded := self._leases.bounded(job)):
                self._pass_on(job, choice.candidate, bounded)
            else:
                self._waiting.add(job, first=True)
                self._is_short = True
                return

    def _pass_on(self, job: Job, unbounded: Candidate, bounded: tuple[Candidate, ...]) -> None:
        """Leave a job to those whom a budget can bound, or where there are none, undone."""
        if not bounded:
            self._aftermath.leave_unbounded(job, unbounded)
            return
        job.narrow(bounded)
        self._waiting.add(job, first=True)

    def _has_room_for_answers(self) -> bool:
        """Never buy, nor reject, what cannot be stored."""
        most = max(2 * self._concurrency, 256)
        return self._writer.unsaved < most and self._writer.unsaved_bytes < UNSAVED_BYTES

    # Working

    async def _work(self) -> None:
        while True:
            assignment: Assignment | None = await self._queue.get()
            try:
                while assignment is not None:
                    assignment = await self._attempt(assignment)
            finally:
                self._free += 1
                self._halt.nudge()

    async def _attempt(self, assignment: Assignment) -> Assignment | None:
        """Send one attempt and settle it; return the next one if the job goes on at once."""
        attempt = assignment.attempt
        began: float | None = None
        try:
            await assignment.durable
            if (reason := self._why_not_send(assignment)) is not None:
                return self._aftermath.conclude_unsent(assignment, reason)
            began = self._clock.now()
            outcome = await self._sender.send(
                attempt.provider,
                attempt.job.request,
                attempt.model,
                lambda: self._why_not_send(assignment),
            )
        except Inexpressible as reason:
            return self._aftermath.conclude_inexpressible(assignment, str(reason))
        except (asyncio.CancelledError, Exception):
            # Stopped, its lease not durable, or a mistake of ours: what it may have bought is kept.
            self._aftermath.conclude_abort(assignment, began)
            raise
        if outcome.kind is Kind.CANCELLED:
            return self._aftermath.conclude_unsent(assignment, outcome.message or "not sent")
        return self._aftermath.conclude(assignment, outcome, began)

    def _why_not_send(self, assignment: Assignment) -> str | None:
        if self._writer.failure is not None:
            return "not sent: the run was stopped"
        if (reason := self._halt.why_not) is not None:
            return f"not sent: {reason}"
        return why_not_send(assignment.admission, self._clock.now())
