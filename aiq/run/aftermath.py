"""
What follows an attempt: policies learn, the job ends or goes on, the writes are handed over.

The one place where an outcome meets everything that depends on it. Nothing here awaits, so the
order of outcomes is the order in which they are called.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from aiq.model import Billed, Kind, Outcome
from aiq.policy import admission, outcomes, retry
from aiq.policy.admission import Candidate
from aiq.policy.lifecycle import Event
from aiq.policy.mistake import CommonMistake
from aiq.policy.outcomes import one_line
from aiq.policy.patience import Patience
from aiq.policy.retry import Again, RetrySettings, Succeed
from aiq.policy.routing import Go, Never, Route, is_alone
from aiq.run.halt import End, Halt
from aiq.run.job import Job
from aiq.run.leases import Assignment, Leases
from aiq.run.means import Means
from aiq.run.settlement import settle
from aiq.run.waiting import Waiting
from aiq.run.withdrawn import Withdrawn
from aiq.store.writes import Cancel, Reject, Settle

ABORT = "abort"
"""The ledger's mark of an attempt that we gave up ourselves."""

TOO_OFTEN_LIMITED = 20
"""429s in a row of a job larger than any answered: one of more than a minute's tokens gets them."""

MOST_EXCUSED = 30
"""Bad trials of a breaker that do not count against the job they were made with."""


class Aftermath:
    """Concludes attempts."""

    def __init__(
        self,
        *,
        means: Means,
        settings: RetrySettings,
        leases: Leases,
        waiting: Waiting,
        patience: Patience,
        halt: Halt,
        may_go_on: Callable[[], bool],
        withdrawn: Withdrawn,
    ) -> None:
        self._withdrawn = withdrawn
        self._may_go_on = may_go_on
        self._settings = settings
        self._leases = leases
        self._waiting = waiting
        self._writer = means.writer
        self._budget = means.budget
        self._strategy = means.strategy
        self._patience = patience
        self._halt = halt
        self._clock = means.clock
        self._draw = means.draw
        self._began_us = means.run.started_at
        self._mistake = CommonMistake()

    def conclude(self, assignment: Assignment, outcome: Outcome, began: float) -> Assignment | None:
        """Settle an attempt that was sent at `began`; return the job's next one if it goes on."""
        now = self._clock.now()
        job, provider = assignment.attempt.job, assignment.attempt.provider.name
        admission.settle(
            assignment.admission,
            outcome,
            job_id=job.id,
            now=now,
            started=began,
            draw=self._draw(),
            is_suspect=job.is_suspect(assignment.admission.candidate),
        )
        self._patience.note(provider, outcome, now)
        if admission.is_bad(outcome):
            job.failed_at(assignment.admission.candidate)
        elif outcome.kind is Kind.RATE_LIMITED and outcome.status_code == 429:
            outcome = _if_too_large(outcome, job.limited_at(assignment.admission.candidate))
        is_bad_trial = self._is_excused(assignment, outcome)
        if outcome.kind in retry.REMEMBERED and not is_bad_trial:
            job.history[provider, outcome.kind] += 1
        job.last_provider = provider
        if is_bad_trial:
            return self._go_on(assignment, outcome, now, now - began, Again(), is_bad_trial=True)
        is_bad = outcome.kind is Kind.BAD_RESPONSE
        decision = retry.decide(
            outcome,
            job.history,
            settings=self._settings,
            alone=is_bad and is_alone(job.candidates, job.history, provider),
            draw=self._draw(),
        )
        if isinstance(decision, Again):
            return self._go_on(assignment, outcome, now, now - began, decision)
        event = Event.SUCCEED if isinstance(decision, Succeed) else Event.FAIL
        self._finish(assignment, outcome, event, now - began)
        return None

    def _is_excused(self, assignment: Assignment, outcome: Outcome) -> bool:
        """
        Whether it was a bad trial that is not held against its job.

        One that may be paid is, or a prompt that spoils every reply would be paid for without end.
        So is one of a job that failed while others were answered, and one beyond the thirtieth of
        any job, or such prompts would keep a run from its end.
        """
        job = assignment.attempt.job
        if not admission.is_bad_trial(assignment.admission, outcome):
            return False
        if (
            outcome.billed is not Billed.NO
            or job.is_suspect_anywhere
            or job.excused >= MOST_EXCUSED
        ):
            return False
        job.excused += 1
        return True

    def conclude_unsent(self, assignment: Assignment, reason: str) -> Assignment | None:
        """Take an attempt back of which certainly nothing was sent; the job goes on elsewhere."""
        now = self._clock.now()
        admission.withdraw(assignment.admission, now, self._draw())
        outcome = outcomes.cancelled(reason, was_sent=False)
        cause = ABORT if self._halt.why is not None else None
        return self._go_on(assignment, outcome, now, 0.0, Again(), cause=cause)

    def conclude_inexpressible(self, assignment: Assignment, reason: str) -> Assignment | None:
        """Take an attempt back that its provider's wire format has no words for."""
        provider = assignment.attempt.provider.name
        assignment.attempt.job.history[provider, Kind.BAD_REQUEST] += 1
        return self.conclude_unsent(assignment, f"{provider} cannot be asked this: {reason}")

    def conclude_abort(self, assignment: Assignment, began: float | None) -> None:
        """Record an attempt that was given up; `began` None says that it was never sent."""
        was_sent = began is not None
        never_repeat = was_sent and self._settings.on_unknown == "fail"
        outcome = outcomes.cancelled("the run was stopped", was_sent=was_sent)
        if never_repeat:
            outcome = outcomes.interrupted("the run was stopped")
        admission.withdraw(assignment.admission, self._clock.now(), self._draw())
        utc_us = self._clock.utc_us()
        write = settle(
            assignment.attempt,
            outcome,
            event=Event.FAIL if never_repeat else Event.RELEASE,
            latency_s=0.0 if began is None else self._clock.now() - began,
            utc_us=utc_us,
            not_before=None if never_repeat else utc_us,
            cause=ABORT,
        )
        self._account_for(assignment, outcome, write)
        job = assignment.attempt.job
        is_gone = not never_repeat and self._withdrawn.covers(job)
        self._writer.submit(write, *([Cancel(job.id)] if is_gone else []))

    def give_up(self, job: Job, never: Never) -> None:
        """Fail a job that nobody will take, or leave it pending if it is not to blame."""
        if never.kind is not None:
            self._writer.submit(Reject(job.id, never.kind.value, never.message))
            return
        self._halt.give_up(job.id, _why_unusable(job, never))

    def leave_unbounded(self, job: Job, candidate: Candidate) -> None:
        """Leave a job pending whose worst case at the candidate nobody knows: others go on."""
        self._halt.give_up(
            job.id,
            f"a budget cannot bound a request for `{candidate.model}` to {candidate.provider}: it"
            " has no known price, no cap on its output, or refers to more than it holds",
        )

    def route(self, job: Job, now: float) -> Route:
        """Choose who takes a job's next attempt."""
        return job.route(self._strategy, now)

    def _finish(
        self, assignment: Assignment, outcome: Outcome, event: Event, latency_s: float
    ) -> None:
        write = settle(
            assignment.attempt,
            outcome,
            event=event,
            latency_s=latency_s,
            utc_us=self._clock.utc_us(),
        )
        self._submit(assignment, outcome, write)
        if self._mistake.finished(outcome):
            self._halt.end(End.SAME_MISTAKE, outcome.message)

    def _go_on(
        self,
        assignment: Assignment,
        outcome: Outcome,
        now: float,
        latency_s: float,
        again: Again,
        *,
        cause: str | None = None,
        is_bad_trial: bool = False,
    ) -> Assignment | None:
        """Try the job again: at once, after its back-off, or not in this run."""
        job = assignment.attempt.job
        choice = self.route(job, now)
        if isinstance(choice, Never) and choice.kind is not None:
            if outcome.kind is not Kind.CANCELLED:
                self._finish(assignment, outcome, Event.FAIL, latency_s)
                return None
            # Nothing was sent: that is no outcome for a job to end with, but says why it must.
            choice = Never(choice.kind, f"{choice.message}: {outcome.message}")
        utc_us = self._clock.utc_us()
        released = settle(
            assignment.attempt,
            outcome,
            event=Event.RELEASE,
            latency_s=latency_s,
            utc_us=utc_us,
            not_before=max(utc_us + round(again.delay_s * 1e6), self._began_us + 1),
            cause=cause,
            is_bad_trial=is_bad_trial,
        )
        self._account_for(assignment, outcome, released)
        if self._withdrawn.covers(job):
            self._writer.submit(released, Cancel(job.id))
            return None
        if isinstance(choice, Go) and again.delay_s <= 0 and self._may_go_on():
            following = self._leases.grant(job, choice, now, released)
            if following is not None:
                return following
        self._writer.submit(released)
        if isinstance(choice, Never):
            self.give_up(job, choice)
        elif again.delay_s > 0:
            self._waiting.back_off(job, now + again.delay_s)
        else:
            self._queue_again(job, outcome, is_bad_trial=is_bad_trial)
        return None

    def _queue_again(self, job: Job, outcome: Outcome, *, is_bad_trial: bool) -> None:
        """
        Let a job wait for its next turn, first or last of those that wait.

        The next trial is another job's, and so is the first request after a pause: one that is
        refused each time would be the only one that is ever sent.
        """
        is_last = is_bad_trial or outcome.kind is Kind.RATE_LIMITED
        self._waiting.add(job, first=not is_last)

    def _submit(self, assignment: Assignment, outcome: Outcome, write: Settle) -> None:
        self._account_for(assignment, outcome, write)
        self._writer.submit(write)

    def _account_for(self, assignment: Assignment, outcome: Outcome, write: Settle) -> None:
        """Turn what was set aside into what it cost."""
        self._budget.settle(assignment.attempt.bound_nano, outcome.billed, write.cost_nano)
        if self._budget.is_overrun:
            name = assignment.attempt.provider.name
            self._halt.end(End.BUDGET, f"a reply of {name} cost more than the worst case allows")


def _if_too_large(outcome: Outcome, count: int) -> Outcome:
    """Take a 429 that always meets one job, the largest of all, for one about its size."""
    if count < TOO_OFTEN_LIMITED:
        return outcome
    said = f"refused {count} times, smaller ones are answered: {outcome.message or 'HTTP 429'}"
    return msgspec.structs.replace(outcome, kind=Kind.CONTEXT_TOO_LONG, message=one_line(said))


def _why_unusable(job: Job, never: Never) -> str | None:
    if not job.candidates:
        return never.message
    for candidate in job.candidates:
        if reason := candidate.standing.why_disabled(candidate.model):
            return f"{candidate.provider}: {reason}"
    return None
