"""
The ledger as it is read: sums by provider, groups of failures, one job's attempts.

Sums are made by SQL over all attempts ever, which is what a budget bounds and what the figures of a
run have to agree with. An attempt that was never sent (`cancelled`, billed `no`) is no request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from aiq.model import LedgerRow
from aiq.store.db import Database, Row
from aiq.store.jobs import IN_SCOPE, Scope, scope_parameters


class CandidateState(msgspec.Struct, frozen=True, kw_only=True):
    """A provider and model, with how its newest ended attempt went."""

    provider: str
    kind: str
    model: str
    in_flight: int
    last_kind: str | None
    last_message: str | None


class Failures(msgspec.Struct, frozen=True, kw_only=True):
    """Failed jobs of one kind at one provider, with one of them as the sample."""

    kind: str
    provider: str | None
    count: int
    message: str | None
    job_key: str | bytes


class AttemptRow(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt in full."""

    number: int
    provider: str
    model: str
    served_model: str | None
    started_at: int
    latency_us: int | None
    kind: str | None
    cause: str | None
    status_code: int | None
    code: str | None
    message: str | None
    request_id: str | None
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    billed: str | None
    cost_nano: int | None
    bound_nano: int | None
    price_source: str | None
    bad_reply: bytes | None


_SUMS = """
SELECT candidate.provider, attempt.kind, attempt.billed, count(*),
  sum(attempt.cost_nano),
  sum(attempt.billed = 'yes' AND attempt.cost_nano IS NULL),
  sum(CASE WHEN attempt.billed = 'maybe' THEN attempt.bound_nano END),
  sum(attempt.billed = 'maybe' AND attempt.bound_nano IS NULL),
  sum(attempt.input_tokens), sum(attempt.output_tokens), sum(attempt.cached_tokens),
  sum(attempt.flags & 1), sum((attempt.flags & 2) / 2)
FROM attempt JOIN candidate ON candidate.id = attempt.candidate_id
"""
_BY_KIND = " GROUP BY candidate.provider, attempt.kind, attempt.billed"
_ENDED = " WHERE attempt.kind IS NOT NULL"
_OF_BATCH = """
 AND attempt.job_id IN (SELECT id FROM job WHERE batch_id IN (SELECT value FROM json_each(?)))
"""


def _ledger_row(row: Sequence[Any]) -> LedgerRow:
    numbers = [value or 0 for value in row[4:]]
    return LedgerRow(
        provider=row[0],
        kind=row[1],
        billed=row[2],
        count=row[3],
        cost_nano=numbers[0],
        unpriced=numbers[1],
        bound_nano=numbers[2],
        unbounded=numbers[3],
        input_tokens=numbers[4],
        output_tokens=numbers[5],
        cached_tokens=numbers[6],
        truncated=numbers[7],
        refused=numbers[8],
    )


def _batch_filter(batches: Sequence[int] | None) -> tuple[str, tuple[str, ...]]:
    if batches is None:
        return "", ()
    return _OF_BATCH, (msgspec.json.encode(batches).decode(),)


async def sums(database: Database, batches: Sequence[int] | None = None) -> list[LedgerRow]:
    """Return all ended attempts of the batches (None: of all), summed by provider and kind."""
    where, parameters = _batch_filter(batches)
    return [
        _ledger_row(r) for r in await database.rows(_SUMS + _ENDED + where + _BY_KIND, parameters)
    ]


async def scope_sums(database: Database, scope: Scope) -> list[LedgerRow]:
    """Return all ended attempts ever of the jobs in a scope, summed by provider and kind."""
    rows = await database.rows(
        f"{_SUMS} JOIN job ON job.id = attempt.job_id {_ENDED}"
        " AND job.batch_id IN (SELECT value FROM json_each(:batches))"
        f" AND {IN_SCOPE} {_BY_KIND}",
        scope_parameters(scope),
    )
    return [_ledger_row(row) for row in rows]


async def committed_nano(database: Database, batches: Sequence[int]) -> tuple[int, int]:
    """
    Return what attempts of the batches have cost, or may have at most, in nano-dollars.

    The second number counts attempts that were, or may be, paid and of which neither is known.
    """
    where, parameters = _batch_filter(batches)
    row = await database.row(_COMMITTED + where, parameters)
    return (row[0] or 0, row[1] or 0) if row else (0, 0)


_COMMITTED = """
SELECT sum(CASE billed WHEN 'yes' THEN coalesce(cost_nano, bound_nano) ELSE bound_nano END),
  sum(coalesce(CASE billed WHEN 'yes' THEN cost_nano END, bound_nano) IS NULL)
FROM attempt WHERE attempt.billed IN ('yes', 'maybe')
"""


async def latencies(
    database: Database, batches: Sequence[int] | None = None
) -> list[tuple[str, float, int]]:
    """Return (provider, milliseconds, count) of answered attempts, to a tenth of a millisecond."""
    where, parameters = _batch_filter(batches)
    rows = await database.rows(
        "SELECT candidate.provider, attempt.latency_us / 100 AS tenths, count(*)"
        " FROM attempt JOIN candidate ON candidate.id = attempt.candidate_id"
        f" WHERE attempt.kind = 'ok' {where} GROUP BY candidate.provider, tenths",
        parameters,
    )
    return [(provider, tenths / 10, count) for provider, tenths, count in rows]


async def cost_by_batch(database: Database) -> dict[int, tuple[int, int]]:
    """Return nano-dollars spent and billed attempts of unknown cost, by batch."""
    rows = await database.rows(_COST_BY_BATCH)
    return {batch: (cost or 0, unpriced or 0) for batch, cost, unpriced in rows}


_COST_BY_BATCH = """
SELECT job.batch_id, sum(attempt.cost_nano),
  sum(attempt.billed = 'yes' AND attempt.cost_nano IS NULL)
FROM attempt JOIN job ON job.id = attempt.job_id GROUP BY job.batch_id
"""


async def candidate_states(database: Database) -> list[CandidateState]:
    """Return every provider and model ever asked, with its newest outcome."""
    rows = await database.rows(_CANDIDATE_STATES)
    return [
        CandidateState(
            provider=provider,
            kind=kind,
            model=model,
            in_flight=in_flight or 0,
            last_kind=last_kind,
            last_message=message,
        )
        for provider, kind, model, in_flight, last_kind, message in rows
    ]


_CANDIDATE_STATES = """
WITH newest AS (
  SELECT candidate_id, sum(kind IS NULL) AS open,
    max(CASE WHEN kind <> 'cancelled' THEN id END) AS id
  FROM attempt GROUP BY candidate_id
)
SELECT candidate.provider, candidate.kind, candidate.model, newest.open,
  attempt.kind, attempt.message
FROM candidate LEFT JOIN newest ON newest.candidate_id = candidate.id
  LEFT JOIN attempt ON attempt.id = newest.id
ORDER BY candidate.id
"""


async def failures(database: Database, batches: Sequence[int] | None = None) -> list[Failures]:
    """Return the failed jobs of the batches (None: of all) in groups, the largest first."""
    if batches is None:
        return _grouped(await database.rows(_FAILURES + _BY_FAILURE))
    where = " AND job.batch_id IN (SELECT value FROM json_each(?))"
    ids = msgspec.json.encode(batches).decode()
    return _grouped(await database.rows(_FAILURES + where + _BY_FAILURE, (ids,)))


async def scope_failures(database: Database, scope: Scope) -> list[Failures]:
    """Return the failed jobs of a scope in groups, the largest first."""
    where = f" AND job.batch_id IN (SELECT value FROM json_each(:batches)) AND {IN_SCOPE}"
    return _grouped(await database.rows(_FAILURES + where + _BY_FAILURE, scope_parameters(scope)))


def _grouped(rows: Sequence[Row]) -> list[Failures]:
    return [
        Failures(kind=kind, provider=provider, count=count, message=message, job_key=key)
        for kind, provider, count, message, key, _ in rows
    ]


# With min(job.id), SQLite takes message and key from that row: the first that failed so.
_FAILURES = """
SELECT job.error_kind, candidate.provider, count(*), job.error_message, job.key, min(job.id)
FROM batch JOIN job ON job.batch_id = batch.id AND job.state = 'failed'
  LEFT JOIN attempt ON attempt.job_id = job.id AND attempt.number = job.attempts
  LEFT JOIN candidate ON candidate.id = attempt.candidate_id
WHERE true
"""
_BY_FAILURE = " GROUP BY job.error_kind, candidate.provider ORDER BY count(*) DESC"


async def of_job(database: Database, job_id: int) -> list[AttemptRow]:
    """Return a job's attempts in order."""
    return [
        AttemptRow(**dict(zip(AttemptRow.__struct_fields__, row, strict=True)))
        for row in await database.rows(_OF_JOB, (job_id,))
    ]


_OF_JOB = """
SELECT attempt.number, candidate.provider, candidate.model, attempt.served_model,
  attempt.started_at, attempt.latency_us, attempt.kind, attempt.cause, attempt.status_code,
  attempt.code, attempt.message, attempt.request_id, attempt.input_tokens, attempt.output_tokens,
  attempt.cached_tokens, attempt.billed, attempt.cost_nano, attempt.bound_nano,
  attempt.price_source, bad_reply.body
FROM attempt JOIN candidate ON candidate.id = attempt.candidate_id
  LEFT JOIN bad_reply ON bad_reply.attempt_id = attempt.id
WHERE attempt.job_id = ? ORDER BY attempt.number
"""
