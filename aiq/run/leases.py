"""
Gives out attempts: places at the provider, money set aside, and the lease that makes it all true.

The attempt with its worst case is handed to the writer together with the lease of its job, and only
when both are committed may a byte leave.
"""

from __future__ import annotations

import asyncio

import msgspec

from aiq.policy.admission import Admission, Candidate, admit
from aiq.policy.routing import Go
from aiq.run.job import Job
from aiq.run.means import Means
from aiq.run.settlement import Open, cost_bound
from aiq.store.writes import Lease, NewCandidate, Settle


class Assignment(msgspec.Struct, frozen=True):
    """A leased attempt on its way to a worker; `durable` ends when the lease is committed."""

    attempt: Open
    admission: Admission
    durable: asyncio.Future[None]


class Leases:
    """Leases jobs to candidates."""

    def __init__(self, means: Means) -> None:
        self._fleet = means.fleet
        self._writer = means.writer
        self._budget = means.budget
        self._strategy = means.strategy
        self._clock = means.clock
        self._next_attempt_id = means.run.last_attempt + 1
        self._candidate_ids = means.candidate_ids

    def grant(self, job: Job, go: Go, now: float, *before: Settle) -> Assignment | None:
        """
        Lease a job to the candidate that was just chosen, in one commit with `before`.

        None: the budget does not allow it, now or at all, and nothing was taken or written.
        """
        candidate = go.candidate
        provider = self._fleet.providers[candidate.provider]
        now_us = self._clock.utc_us()
        bound = cost_bound(job, provider, candidate.model, utc_us=now_us)
        if not self._budget.reserve(bound):
            return None
        admission = admit(
            candidate, now, job.estimate(candidate), size=job.text_size, alone=go.alone
        )
        self._strategy.started()
        attempt = Open(
            attempt_id=self._next_attempt_id,
            job=job,
            provider=provider,
            model=candidate.model,
            bound_nano=bound,
            is_failover=job.last_provider not in (None, candidate.provider),
        )
        self._next_attempt_id += 1
        job.attempts += 1
        lease = Lease(
            attempt_id=attempt.attempt_id,
            job_id=job.id,
            number=job.attempts,
            candidate_id=self._candidate_id(candidate),
            started_at=now_us,
            bound_nano=bound,
        )
        return Assignment(attempt, admission, self._writer.lease(*before, lease))

    def bounded(self, job: Job) -> tuple[Candidate, ...]:
        """Return who of a job's candidates can be said to cost so much at most."""
        now_us = self._clock.utc_us()
        providers = self._fleet.providers
        return tuple(
            one
            for one in job.candidates
            if cost_bound(job, providers[one.provider], one.model, utc_us=now_us) is not None
        )

    def _candidate_id(self, candidate: Candidate) -> int:
        provider = self._fleet.providers[candidate.provider]
        key = (candidate.provider, provider.settings.kind, candidate.model)
        if key not in self._candidate_ids:
            self._candidate_ids[key] = max(self._candidate_ids.values(), default=0) + 1
            self._writer.submit(NewCandidate(self._candidate_ids[key], *key))
        return self._candidate_ids[key]
