"""
The pool: a bounded number of workers, and the one place that decides who sends what next.

Route, then lease, then send. A job gets a candidate, then its attempt is committed together with
its lease, and only then does a worker send it; if the candidate was switched off or began to cool
in between, nothing is sent. A worker is free as soon as its answer is handed to the writer, never
before there is room for what it would buy next. Every task has an end: the pool stops leasing, what
is in flight finishes or is aborted, and the writer has the last word.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import math
from collections.abc import Callable
from typing import TypeAlias

import msgspec

from aiq.clock import Clock
from aiq.model import Kind, Outcome
from aiq.policy import outcomes, retry
from aiq.policy.lifecycle import Event
from aiq.policy.mistake import CommonMistake
from aiq.policy.patience import Patience
from aiq.policy.retry import Again, RetrySettings, Succeed
from aiq.policy.routing import Candidate, Go, Never, Route, is_alone
from aiq.run.attempt import Sender
from aiq.run.feed import Feed
from aiq.run.fleet import Fleet
from aiq.run.job import Job
from aiq.run.settlement import Open, cost_bound, settle
from aiq.run.waiting import Waiting
from aiq.store.writer import Writer
from aiq.store.writes import Lease, NewCandidate, Reject, Settle

UNSAVED_BYTES = 64 * 1024 * 1024
LOOK_AHEAD_BYTES = 64 * 1024 * 1024
"""Lines of waiting jobs that may be held; a page more is the most that can come on top."""


class End(enum.Enum):
    """Why a pool stopped."""

    DONE = "done"
    STOPPED = "stopped"
    NO_PROVIDER = "no_provider"
    WAITED = "waited"
    SAME_MISTAKE = "same_mistake"


class PoolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What bounds a pool."""

    concurrency: int
    retry: RetrySettings
    max_wait_s: float | None = None


CandidateIds: TypeAlias = dict[tuple[str, str, str], int]
"""Rows of the candidate table by provider, kind and model."""


class Assignment(msgspec.Struct, frozen=True):
    """A leased attempt on its way to a worker; `durable` ends when the lease is committed."""

    attempt: Open
    candidate: Candidate
    durable: asyncio.Future[None]


class Pool:
    """Works through a feed."""

    def __init__(
        self,
        *,
        settings: PoolSettings,
        fleet: Fleet,
        feed: Feed,
        writer: Writer,
        sender: Sender,
        clock: Clock,
        draw: Callable[[], float],
        began_us: int,
        first_attempt_id: int,
        candidate_ids: CandidateIds,
    ) -> None:
        self._settings = settings
        self._fleet = fleet
        self._feed = feed
        self._writer = writer
        self._sender = sender
        self._clock = clock
        self._draw = draw
        self._next_attempt_id = first_attempt_id
        self._candidate_ids = candidate_ids
        self._waiting = Waiting()
        self._mistake = CommonMistake()
        self._queue: asyncio.Queue[Assignment] = asyncio.Queue()
        self._free = settings.concurrency
        self._changed = asyncio.Event()
        self._hungry = asyncio.Event()
        self._hungry.set()
        self._reading = False
        self._stuck = 0
        self._stop: End | None = None
        self._aborting = False
        self._patience = Patience(settings.max_wait_s)
        self._refusal: str | None = None
        self._began_us = began_us
        self._look_ahead = max(1024, 2 * settings.concurrency)

    def stop(self) -> None:
        """Send nothing new from now on; what is in flight is awaited."""
        self._end(End.STOPPED)

    def abort(self) -> None:
        """Give up what is in flight: its attempts are recorded as possibly paid."""
        self._aborting = True
        self._end(End.STOPPED)

    def nudge(self) -> None:
        """Look again: something was committed, or can no longer be."""
        self._changed.set()

    def _end(self, why: End) -> None:
        if self._stop is None:
            self._stop = why
        self._changed.set()

    @property
    def trouble(self) -> str | None:
        """What stood in the way, as far as anything did."""
        return self._refusal or self._patience.last_trouble

    @property
    def in_flight(self) -> int:
        """How many workers are at work."""
        return self._settings.concurrency - self._free

    async def run(self) -> End:
        """Work until everything is done or the pool has to stop; raises if the store fails."""
        workers = [
            asyncio.create_task(self._work(), name=f"worker-{n}")
            for n in range(self._settings.concurrency)
        ]
        tasks = [asyncio.create_task(self._read_ahead(), name="read-ahead"), *workers]
        for task in tasks:
            task.add_done_callback(lambda _: self._changed.set())
        try:
            return await self._direct(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            while not self._queue.empty():
                self._conclude_abort(self._queue.get_nowait(), began=None)

    async def _direct(self, tasks: list[asyncio.Task[None]]) -> End:
        while True:
            self._changed.clear()
            self._check_health(tasks)
            if self._stop is None:
                self._dispatch()
            if self._aborting:
                return End.STOPPED
            if (end := self._reason_to_end()) is not None and not self.in_flight:
                return end
            await self._rest()

    def _check_health(self, tasks: list[asyncio.Task[None]]) -> None:
        """
        A task that died takes the run with it instead of shrinking the pool in silence.

        What is in flight is awaited first: its answers are paid and can still be stored.
        """
        if self._writer.failure is not None:
            raise self._writer.failure
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                self._end(End.STOPPED)
                if not self.in_flight:
                    raise error

    def _reason_to_end(self) -> End | None:
        if self._stop is not None:
            return self._stop
        if self._waiting or self._reading or not self._feed.is_done or self.in_flight:
            is_over = self._patience.ends_at <= self._clock.now()
            return End.WAITED if is_over and not self.in_flight else None
        return End.NO_PROVIDER if self._stuck else End.DONE

    async def _rest(self) -> None:
        """Sleep until something changes or an instant comes that may change something."""
        can_start = self._free and self._has_room_for_answers() and self._stop is None
        until = self._waiting.next_at if can_start else math.inf
        if not self.in_flight:
            until = min(until, self._patience.ends_at)
        if math.isinf(until):
            await self._changed.wait()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - self._clock.now())):
                await self._changed.wait()

    # Choosing

    def _dispatch(self) -> None:
        """Lease and hand out jobs while workers are free and answers can be stored."""
        now = self._clock.now()
        if self._fleet.is_hopeless:
            self._refusal = self._fleet.why_hopeless
            self._end(End.NO_PROVIDER)
            return
        while self._free and self._has_room_for_answers() and self._patience.ends_at > now:
            taken = self._waiting.take(now)
            if self._has_room_to_read():
                self._hungry.set()
            if taken is None:
                return
            job, choice = taken
            if isinstance(choice, Go):
                self._free -= 1
                self._queue.put_nowait(self._lease(job, choice.candidate))
            else:
                self._give_up(job, choice)

    def _has_room_for_answers(self) -> bool:
        """Never buy what cannot be stored."""
        most = max(2 * self._settings.concurrency, 256)
        return self._writer.unsaved < most and self._writer.unsaved_bytes < UNSAVED_BYTES

    def _give_up(self, job: Job, never: Never) -> None:
        if never.kind is None:
            self._stuck += 1
            self._refusal = self._why_unusable(job, never) or self._refusal
        else:
            self._writer.submit(Reject(job.id, never.kind.value, never.message))

    def _why_unusable(self, job: Job, never: Never) -> str | None:
        if not job.candidates:
            return never.message
        for candidate in job.candidates:
            if reason := candidate.standing.why_disabled(candidate.model):
                return f"{candidate.provider}: {reason}"
        return None

    def _lease(self, job: Job, candidate: Candidate, *before: Settle) -> Assignment:
        """Commit an attempt together with its lease, and with the outcome before it."""
        provider = self._fleet.providers[candidate.provider]
        now_us = self._clock.utc_us()
        is_failover = job.last_provider is not None and job.last_provider != candidate.provider
        attempt = Open(
            attempt_id=self._next_attempt_id,
            job=job,
            provider=provider,
            model=candidate.model,
            bound_nano=cost_bound(job, provider, candidate.model, utc_us=now_us),
            is_failover=is_failover,
        )
        self._next_attempt_id += 1
        job.attempts += 1
        candidate.standing.in_flight += 1
        lease = Lease(
            attempt_id=attempt.attempt_id,
            job_id=job.id,
            number=job.attempts,
            candidate_id=self._candidate_id(candidate),
            started_at=now_us,
            bound_nano=attempt.bound_nano,
        )
        return Assignment(attempt, candidate, self._writer.lease(*before, lease))

    def _candidate_id(self, candidate: Candidate) -> int:
        provider = self._fleet.providers[candidate.provider]
        key = (candidate.provider, provider.settings.kind, candidate.model)
        if key not in self._candidate_ids:
            self._candidate_ids[key] = max(self._candidate_ids.values(), default=0) + 1
            self._writer.submit(NewCandidate(self._candidate_ids[key], *key))
        return self._candidate_ids[key]

    # Working

    async def _work(self) -> None:
        while True:
            assignment: Assignment | None = await self._queue.get()
            try:
                while assignment is not None:
                    assignment = await self._attempt(assignment)
            finally:
                self._free += 1
                self._changed.set()

    async def _attempt(self, assignment: Assignment) -> Assignment | None:
        """Send one attempt and settle it; return the next one if the job goes on at once."""
        attempt, candidate = assignment.attempt, assignment.candidate
        began: float | None = None
        try:
            await assignment.durable
            began = self._clock.now()
            if (reason := self._why_not_send(candidate, began)) is not None:
                outcome = outcomes.cancelled(reason, was_sent=False)
                return self._conclude(assignment, outcome, began)
            outcome = await self._sender.send(
                attempt.provider,
                attempt.job.request,
                candidate.model,
                lambda: self._why_not_send(candidate, self._clock.now()),
            )
        except asyncio.CancelledError:
            self._conclude_abort(assignment, began)
            raise
        return self._conclude(assignment, outcome, began)

    def _why_not_send(self, candidate: Candidate, now: float) -> str | None:
        """Look again right before sending: the commit took time in which things may change."""
        if self._stop is not None:
            return "not sent: the run was stopped"
        if candidate.standing.usable_at(candidate.model) > now:
            return "not sent: the provider became unusable"
        return None

    def _conclude(
        self, assignment: Assignment, outcome: Outcome, began: float
    ) -> Assignment | None:
        """Let policies learn, decide what follows, and hand the writes over."""
        now = self._clock.now()
        attempt, candidate = assignment.attempt, assignment.candidate
        job, provider = attempt.job, candidate.provider
        candidate.standing.in_flight -= 1
        candidate.standing.settle(
            candidate.model, outcome, job_id=job.id, now=now, started=began, draw=self._draw()
        )
        self._patience.note(provider, outcome, now)
        if outcome.kind in retry.REMEMBERED:
            job.history[provider, outcome.kind] += 1
        if outcome.kind is not Kind.CANCELLED:
            job.last_provider = provider
        is_bad = outcome.kind is Kind.BAD_RESPONSE
        decision = retry.decide(
            outcome,
            job.history,
            settings=self._settings.retry,
            alone=is_bad and is_alone(job.candidates, job.history, provider),
            draw=self._draw(),
        )
        if isinstance(decision, Again):
            return self._go_on(assignment, outcome, now, now - began, decision.delay_s)
        event = Event.SUCCEED if isinstance(decision, Succeed) else Event.FAIL
        self._finish(assignment, outcome, event, now - began)
        return None

    def _finish(
        self, assignment: Assignment, outcome: Outcome, event: Event, latency_s: float
    ) -> None:
        self._writer.submit(
            settle(
                assignment.attempt,
                outcome,
                event=event,
                latency_s=latency_s,
                utc_us=self._clock.utc_us(),
            )
        )
        if self._mistake.finished(outcome):
            self._refusal = outcome.message
            self._end(End.SAME_MISTAKE)

    def _go_on(
        self,
        assignment: Assignment,
        outcome: Outcome,
        now: float,
        latency_s: float,
        delay_s: float,
    ) -> Assignment | None:
        """Try the job again: at once, after its back-off, or not in this run."""
        job = assignment.attempt.job
        choice: Route = job.route(now)
        if isinstance(choice, Never) and choice.kind is not None:
            self._finish(assignment, outcome, Event.FAIL, latency_s)
            return None
        utc_us = self._clock.utc_us()
        released = settle(
            assignment.attempt,
            outcome,
            event=Event.RELEASE,
            latency_s=latency_s,
            utc_us=utc_us,
            not_before=max(utc_us + round(delay_s * 1e6), self._began_us + 1),
            cause="abort" if self._stop is not None and outcome.kind is Kind.CANCELLED else None,
        )
        if isinstance(choice, Go) and delay_s <= 0 and self._stop is None:
            return self._lease(job, choice.candidate, released)
        self._writer.submit(released)
        if isinstance(choice, Never):
            self._give_up(job, choice)
        elif delay_s > 0:
            self._waiting.back_off(job, now + delay_s)
        else:
            self._waiting.add(job, first=True)
        return None

    def _conclude_abort(self, assignment: Assignment, began: float | None) -> None:
        """
        Record an attempt that we gave up on.

        One that was sent (`began`) may be answered and paid without our seeing it.
        """
        assignment.candidate.standing.in_flight -= 1
        was_sent = began is not None
        never_repeat = was_sent and self._settings.retry.on_unknown == "fail"
        outcome = outcomes.cancelled("the run was stopped", was_sent=was_sent)
        if never_repeat:
            outcome = outcomes.interrupted("the run was stopped")
        utc_us = self._clock.utc_us()
        self._writer.submit(
            settle(
                assignment.attempt,
                outcome,
                event=Event.FAIL if never_repeat else Event.RELEASE,
                latency_s=0.0 if began is None else self._clock.now() - began,
                utc_us=utc_us,
                not_before=None if never_repeat else utc_us,
                cause="abort",
            )
        )

    # Reading ahead

    def _has_room_to_read(self) -> bool:
        return len(self._waiting) < self._look_ahead and self._waiting.bytes < LOOK_AHEAD_BYTES

    async def _read_ahead(self) -> None:
        """Keep enough jobs in memory for every worker, and no more than a bounded number."""
        while not self._feed.is_done:
            await self._hungry.wait()
            self._hungry.clear()
            self._reading = True
            while self._has_room_to_read() and not self._feed.is_done:
                for job in await self._feed.read():
                    self._waiting.add(job)
                self._changed.set()
            self._reading = False
        self._changed.set()
