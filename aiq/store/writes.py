"""
What the run asks the store to write, and the SQL that writes a whole group of it at once.

Every transition names the state and the lease it expects and reports how many rows it changed; a
group in which one row did not change is rolled back as a whole and is a mistake of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, LiteralString

import msgspec

from aiq.model import JobState
from aiq.store.db import Database
from aiq.store.rows import Statement, change_each, statements


class NewCandidate(msgspec.Struct, frozen=True):
    """A provider and model that is asked for the first time in this database."""

    id: int
    provider: str
    kind: str
    model: str


class Lease(msgspec.Struct, frozen=True):
    """A job becomes `running` under a new attempt."""

    attempt_id: int
    job_id: int
    number: int
    candidate_id: int
    started_at: int
    bound_nano: int | None


class StoredAnswer(msgspec.Struct, frozen=True):
    """The reply that makes a job succeed."""

    fingerprint: bytes
    digest: bytes
    body: bytes


class Settle(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt ends, and its job moves to `state`."""

    attempt_id: int
    job_id: int
    kind: str
    billed: str
    latency_us: int
    state: JobState
    cause: str | None = None
    status_code: int | None = None
    code: str | None = None
    message: str | None = None
    request_id: str | None = None
    served_model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    cost_nano: int | None = None
    price_source: str | None = None
    flags: int = 0
    not_before: int | None = None
    answer: StoredAnswer | None = None
    bad_reply: bytes | None = None
    memo: object = None
    """Whatever the run wants back once this is committed; the store does not look at it."""

    def __post_init__(self) -> None:
        if (self.state is JobState.SUCCEEDED) != (self.answer is not None):
            raise ValueError("a job succeeds with an answer, and only then has a new one")

    @property
    def size(self) -> int:
        """Bytes of body that are lost if this is not written."""
        return len(self.answer.body) if self.answer else 0


class Reject(msgspec.Struct, frozen=True):
    """A pending job fails without a further attempt."""

    job_id: int
    kind: str
    message: str


class Cancel(msgspec.Struct, frozen=True):
    """A pending job is cancelled; handed in together with the end of its attempt."""

    job_id: int


class ProviderState(msgspec.Struct, frozen=True, kw_only=True):
    """How a run sees a provider; `until` is the instant of the next try."""

    provider: str
    status: str
    reason: str | None
    until: int | None
    updated_at: int


class BreakerMemory(msgspec.Struct, frozen=True, kw_only=True):
    """How often a circuit breaker has opened in a row."""

    base_url: str
    model: str
    openings: int


class CooldownMemory(msgspec.Struct, frozen=True, kw_only=True):
    """Until when an account is left alone, and when that was noted."""

    account: str
    until: int
    noted_at: int


async def apply(
    database: Database,
    *,
    run_id: int,
    settles: Sequence[Settle],
    leases: Sequence[Lease],
    rejects: Sequence[Reject],
    candidates: Sequence[NewCandidate],
    cancels: Sequence[Cancel] = (),
    states: Sequence[ProviderState] = (),
    breakers: Sequence[BreakerMemory] = (),
    cooldowns: Sequence[CooldownMemory] = (),
) -> None:
    """
    Write a group in one transaction: first what ended, then what begins.

    Raises `StaleWrite` if one of them meets another state or lease than it names.
    """
    work = [
        *endings(settles),
        *statements(_REJECT_JOB, [(r.job_id, r.kind, r.message) for r in rejects]),
        *statements(_CANCEL_JOB, [(c.job_id,) for c in cancels]),
        *statements(_ADD_CANDIDATE, [msgspec.structs.astuple(c) for c in candidates]),
        *statements(_SEE_PROVIDER, [msgspec.structs.astuple(s) for s in states]),
        *statements(_KEEP_BREAKER, [msgspec.structs.astuple(b) for b in breakers]),
        *statements(_KEEP_COOLDOWN, [msgspec.structs.astuple(c) for c in cooldowns]),
        *statements(_LEASE_JOB, [(x.job_id, x.attempt_id, x.number) for x in leases]),
        *statements(_OPEN_ATTEMPT, [_opened(x, run_id) for x in leases]),
    ]
    await database.transact(lambda connection: change_each(connection, work))


def endings(settles: Sequence[Settle]) -> Iterator[Statement]:
    """Yield the statements that end attempts and move their jobs."""
    yield from statements(
        _CLOSE_ATTEMPT,
        [
            (
                s.attempt_id, s.kind, s.cause, s.latency_us, s.status_code, s.code, s.message,
                s.request_id, s.served_model, s.input_tokens, s.output_tokens, s.cached_tokens,
                s.billed, s.cost_nano, s.price_source, s.flags,
            )
            for s in settles
        ],
    )  # fmt: skip
    answers = [(s, s.answer) for s in settles if s.answer is not None]
    yield from statements(
        _STORE_ANSWER,
        [(s.job_id, s.attempt_id, a.fingerprint, a.digest, a.body) for s, a in answers],
    )
    bad = [(s.attempt_id, s.bad_reply) for s in settles if s.bad_reply is not None]
    yield from statements(_KEEP_BAD_REPLY, bad)
    yield from statements(
        _END_LEASE,
        [
            (
                s.job_id,
                s.attempt_id,
                s.state.value,
                s.not_before,
                s.kind if s.state is JobState.FAILED else None,
                s.message if s.state is JobState.FAILED else None,
            )
            for s in settles
        ],
    )


def _opened(lease: Lease, run_id: int) -> tuple[Any, ...]:
    return (
        lease.attempt_id,
        lease.job_id,
        lease.number,
        run_id,
        lease.candidate_id,
        lease.started_at,
        lease.bound_nano,
    )


_CLOSE_ATTEMPT: LiteralString = """
UPDATE attempt SET kind = v.column2, cause = v.column3, latency_us = v.column4,
  status_code = v.column5, code = v.column6, message = v.column7, request_id = v.column8,
  served_model = v.column9, input_tokens = v.column10, output_tokens = v.column11,
  cached_tokens = v.column12, billed = v.column13, cost_nano = v.column14,
  price_source = v.column15, flags = v.column16
FROM (VALUES {rows}) AS v
WHERE attempt.id = v.column1 AND attempt.kind IS NULL
"""
_STORE_ANSWER: LiteralString = """
INSERT INTO answer (job_id, attempt_id, fingerprint, digest, body)
SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL
ON CONFLICT (job_id) DO UPDATE SET attempt_id = excluded.attempt_id,
  fingerprint = excluded.fingerprint, digest = excluded.digest, body = excluded.body
"""
_KEEP_BAD_REPLY: LiteralString = """
INSERT INTO bad_reply (attempt_id, body)
SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL
"""
_END_LEASE: LiteralString = """
UPDATE job SET state = v.column3, lease = NULL, not_before = v.column4, error_kind = v.column5,
  error_message = v.column6
FROM (VALUES {rows}) AS v
WHERE job.id = v.column1 AND job.state = 'running' AND job.lease = v.column2
"""
_LEASE_JOB: LiteralString = """
UPDATE job SET state = 'running', lease = v.column2, not_before = NULL, attempts = v.column3
FROM (VALUES {rows}) AS v
WHERE job.id = v.column1 AND job.state = 'pending' AND job.attempts = v.column3 - 1
"""
_OPEN_ATTEMPT: LiteralString = """
INSERT INTO attempt (id, job_id, number, run_id, candidate_id, started_at, bound_nano)
SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL
"""
_ADD_CANDIDATE: LiteralString = """
INSERT INTO candidate (id, provider, kind, model)
SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL
"""
_SEE_PROVIDER: LiteralString = """
INSERT INTO provider_state (provider, status, reason, until, updated_at)
SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL
ON CONFLICT (provider) DO UPDATE SET status = excluded.status, reason = excluded.reason,
  until = excluded.until, updated_at = excluded.updated_at
"""
_KEEP_BREAKER: LiteralString = """
INSERT INTO breaker (base_url, model, openings)
SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL
ON CONFLICT (base_url, model) DO UPDATE SET openings = excluded.openings
"""
_KEEP_COOLDOWN: LiteralString = """
INSERT INTO cooldown (account, until, noted_at)
SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL
ON CONFLICT (account) DO UPDATE SET until = excluded.until, noted_at = excluded.noted_at
"""
_REJECT_JOB: LiteralString = """
UPDATE job SET state = 'failed', not_before = NULL, error_kind = v.column2,
  error_message = v.column3
FROM (VALUES {rows}) AS v
WHERE job.id = v.column1 AND job.state = 'pending'
"""
_CANCEL_JOB: LiteralString = """
UPDATE job SET state = 'cancelled', not_before = NULL
FROM (VALUES {rows}) AS v WHERE job.id = v.column1 AND job.state = 'pending'
"""
