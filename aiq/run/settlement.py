"""
How an outcome is written down: the ledger row with its cost, and the job's next state.

A job that succeeds is stored with the raw reply, its digest and the fingerprint of the question, in
the same transaction as its attempt.
"""

from __future__ import annotations

import hashlib

import msgspec

from aiq.model import NANO_PER_USD, Billed, JobState, Kind, Outcome
from aiq.policy.lifecycle import Event, move
from aiq.run.fleet import Provider
from aiq.run.job import Job
from aiq.run.price_table import UNKNOWN, Charge
from aiq.run.request import fingerprint
from aiq.run.worst_case import output_bound, terms, token_bound
from aiq.store.writes import Settle, StoredAnswer

TRUNCATED = 1
REFUSED = 2
BAD_TRIAL = 4
"""Flags of the ledger; the last says that the outcome does not count against the job."""


class Memo(msgspec.Struct, frozen=True, kw_only=True):
    """What the figures want to know about a settled attempt once it is committed."""

    provider: str
    bound_nano: int | None
    is_failover: bool


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt under way."""

    attempt_id: int
    job: Job
    provider: Provider
    model: str
    bound_nano: int | None
    is_failover: bool


MOST_NANO = 1_000 * NANO_PER_USD
"""
The most one attempt is taken to cost; the sums of a million such still fit a column. Some write a
cap of 2^63 for "none".
"""


def cost_bound(job: Job, provider: Provider, model: str, *, utc_us: int) -> int | None:
    """Return the most an attempt can cost, None if nobody can say, or it is beyond all reason."""
    pricer, request, settings = provider.pricer, job.request, provider.settings
    if not pricer.knows_prices:
        return None
    if pricer.is_free:
        return 0
    try:
        input_bound = token_bound(request, model)
        output_cap = output_bound(request, settings.max_tokens)
    except ValueError:  # it cannot be written down, so it will not be sent either
        return None
    if input_bound is None:
        return None
    bound = pricer.bound(
        model,
        input_bound=input_bound,
        output_cap=output_cap,
        utc_us=utc_us,
        within_s=settings.timeout_s,
        terms=terms(request),
    )
    return bound if bound is None or bound <= MOST_NANO else None


def settle(
    attempt: Open,
    outcome: Outcome,
    *,
    event: Event,
    latency_s: float,
    utc_us: int,
    not_before: int | None = None,
    cause: str | None = None,
    is_bad_trial: bool = False,
) -> Settle:
    """Return the write that ends an attempt and moves its job by the event."""
    state = move(JobState.RUNNING, event)
    answer, usage = outcome.answer, outcome.usage
    charge = _charge(attempt, outcome, utc_us)
    is_answer = state is JobState.SUCCEEDED
    body = outcome.body or b""
    return Settle(
        attempt_id=attempt.attempt_id,
        job_id=attempt.job.id,
        kind=outcome.kind.value,
        billed=outcome.billed.value,
        latency_us=max(0, round(latency_s * 1e6)),
        state=state,
        cause=cause,
        status_code=outcome.status_code,
        code=outcome.code,
        message=outcome.message,
        request_id=outcome.request_id,
        served_model=answer.served_model if answer else None,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cached_tokens,
        cost_nano=charge.nano,
        price_source=charge.source,
        flags=_flags(outcome, is_bad_trial=is_bad_trial),
        not_before=not_before,
        answer=_stored(attempt.job, body) if is_answer else None,
        bad_reply=body if outcome.kind is Kind.BAD_RESPONSE and body else None,
        memo=Memo(
            provider=attempt.provider.name,
            bound_nano=attempt.bound_nano,
            is_failover=attempt.is_failover,
        ),
    )


def _flags(outcome: Outcome, *, is_bad_trial: bool) -> int:
    answer = outcome.answer
    if answer is None:
        return BAD_TRIAL * is_bad_trial
    return TRUNCATED * answer.truncated + REFUSED * answer.refused


def _charge(attempt: Open, outcome: Outcome, utc_us: int) -> Charge:
    if outcome.billed is Billed.NO:
        return Charge(0)
    endpoint, pricer = attempt.job.request.endpoint, attempt.provider.pricer
    if outcome.answer is not None:
        return pricer.charge(endpoint, attempt.model, outcome.answer, utc_us=utc_us)
    if outcome.billed is Billed.YES:
        return pricer.failure_charge(endpoint, attempt.model, outcome, utc_us=utc_us)
    return UNKNOWN


def _stored(job: Job, body: bytes) -> StoredAnswer:
    return StoredAnswer(
        fingerprint=fingerprint(job.request),
        digest=hashlib.sha256(body).digest(),
        body=body,
    )
