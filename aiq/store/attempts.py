"""
The ledger as it is read: sums by provider, groups of failures, one job's attempts.

Sums are made by SQL over all attempts ever, which is what a budget bounds and what the figures of a
run have to agree with. An attempt that was never sent (`cancelled`, billed `no`) is no request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString

import msgspec

from aiq.model import LedgerRow
from aiq.store.db import Database, Row
from aiq.store.jobs import IN_SCOPE, Scope, scope_parameters
from aiq.store.tallies import COMMITTED, COUNTED, COUNTED_LATENCIES, NEWEST


class CandidateState(msgspec.Struct, frozen=True, kw_only=True):
    """A provider and model, with how its newest attempt went that we did not end ourselves."""

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
    job_id: int


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
SELECT candidate.provider, one.kind, one.billed, sum(one.count), sum(one.cost_nano),
  sum(one.unpriced), sum(one.bound_nano), sum(one.unbounded), sum(one.input_tokens),
  sum(one.output_tokens), sum(one.cached_tokens), sum(one.truncated), sum(one.refused)
FROM {tally} AS one JOIN candidate ON candidate.id = one.candidate_id
WHERE {which} GROUP BY candidate.provider, one.kind, one.billed
"""
_OF_BATCHES = "(:batches IS NULL OR one.batch_id IN (SELECT value FROM json_each(:batches)))"


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


def _batches(batches: Sequence[int] | None) -> dict[str, str | None]:
    """Return the parameter of `_OF_BATCHES`; None: all."""
    return {"batches": None if batches is None else msgspec.json.encode(batches).decode()}


async def _kept(database: Database, sql: LiteralString) -> LiteralString:
    """Fill in where sums are read from: reading does not migrate a database of an older version."""
    if await database.row("SELECT 1 FROM sqlite_schema WHERE name = 'tally'"):
        tally, latencies, newest = "tally", "latency_tally", "candidate.newest"
    else:
        tally, latencies, newest = f"({COUNTED})", f"({COUNTED_LATENCIES})", NEWEST
    filled = sql.replace("{tally}", tally).replace("{latency_tally}", latencies)
    return filled.replace("{newest}", newest)


async def sums(database: Database, batches: Sequence[int] | None = None) -> list[LedgerRow]:
    """Return all ended attempts of the batches (None: of all), summed by provider and kind."""
    sql = await _kept(database, _SUMS.replace("{which}", _OF_BATCHES))
    return [_ledger_row(row) for row in await database.rows(sql, _batches(batches))]


async def scope_sums(database: Database, scope: Scope) -> list[LedgerRow]:
    """
    Return all ended attempts ever of a scope, summed by provider and kind.

    Of chosen jobs just theirs; else of the whole batches, which is what a budget bounds.
    """
    if not scope.chosen:
        return await sums(database, scope.batches)
    sql = _SUMS.replace("{tally}", f"({COUNTED} AND {IN_SCOPE})").replace("{which}", "true")
    return [_ledger_row(row) for row in await database.rows(sql, scope_parameters(scope))]


async def committed_nano(
    database: Database, batches: Sequence[int], *, before_run: int | None = None
) -> tuple[int, int]:
    """
    Return what attempts of the batches have cost, or may have at most, in nano-dollars.

    The second number counts attempts that were, or may be, paid and of which neither is known.
    `before_run` leaves out those of this run and later ones.
    """
    row = await database.row(COMMITTED, {**_batches(batches), "before_run": before_run})
    return (row[0] or 0, row[1] or 0) if row else (0, 0)


async def latencies(
    database: Database, batches: Sequence[int] | None = None
) -> list[tuple[str, float, int]]:
    """Return (provider, milliseconds, count) of answered attempts, to three digits."""
    rows = await database.rows(await _kept(database, _LATENCIES), _batches(batches))
    return [(provider, latency_us / 1000, count) for provider, latency_us, count in rows]


_LATENCIES = f"""
SELECT candidate.provider, one.latency_us, sum(one.count)
FROM {{latency_tally}} AS one JOIN candidate ON candidate.id = one.candidate_id
WHERE {_OF_BATCHES} GROUP BY candidate.provider, one.latency_us
"""


async def cost_by_batch(database: Database) -> dict[int, tuple[int, int]]:
    """Return nano-dollars spent and billed attempts of unknown cost, by batch."""
    rows = await database.rows(await _kept(database, _COST_BY_BATCH))
    return {batch: (cost, unpriced) for batch, cost, unpriced in rows}


_COST_BY_BATCH = """
SELECT batch_id, sum(cost_nano), sum(unpriced) FROM {tally} AS one GROUP BY batch_id
"""


async def candidate_states(database: Database) -> list[CandidateState]:
    """Return every provider and model ever asked, with its newest outcome."""
    rows = await database.rows(await _kept(database, _CANDIDATE_STATES))
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


# CROSS JOIN fixes the order, batches first, so that the index by state is used.
_CANDIDATE_STATES = """
WITH flying AS (
  SELECT attempt.candidate_id, count(*) AS open
  FROM batch CROSS JOIN job ON job.batch_id = batch.id AND job.state = 'running'
    JOIN attempt ON attempt.id = job.lease
  GROUP BY attempt.candidate_id
)
SELECT candidate.provider, candidate.kind, candidate.model, flying.open,
  attempt.kind, attempt.message
FROM candidate LEFT JOIN flying ON flying.candidate_id = candidate.id
  LEFT JOIN attempt ON attempt.id = {newest}
ORDER BY candidate.id
"""


async def scope_flags(database: Database, scope: Scope) -> tuple[int, int]:
    """Return how many stored answers of a scope are cut off, and how many refuse to answer."""
    row = await database.row(_SCOPE_FLAGS, scope_parameters(scope))
    return (row[0] or 0, row[1] or 0) if row else (0, 0)


# CROSS JOIN keeps SQLite from reading every answer: few attempts have a flag.
_SCOPE_FLAGS = f"""
SELECT sum(attempt.flags & 1), sum((attempt.flags & 2) / 2)
FROM attempt CROSS JOIN job ON job.id = attempt.job_id AND job.state = 'succeeded'
  CROSS JOIN answer ON answer.job_id = job.id AND answer.attempt_id = attempt.id
WHERE attempt.flags & 3 AND job.batch_id IN (SELECT value FROM json_each(:batches)) AND {IN_SCOPE}
"""


async def scope_simulated(database: Database, scope: Scope) -> int:
    """Return how many finished jobs of a scope have an answer that a simulation made up."""
    if not await database.row("SELECT 1 FROM candidate WHERE kind = 'simulated'"):
        return 0
    row = await database.row(_SCOPE_SIMULATED, scope_parameters(scope))
    return int(row[0]) if row else 0


_SCOPE_SIMULATED = f"""
SELECT count(*)
FROM job JOIN answer ON answer.job_id = job.id JOIN attempt ON attempt.id = answer.attempt_id
  JOIN candidate ON candidate.id = attempt.candidate_id AND candidate.kind = 'simulated'
WHERE job.batch_id IN (SELECT value FROM json_each(:batches)) AND job.state = 'succeeded'
  AND {IN_SCOPE}
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
        Failures(
            kind=kind,
            provider=provider,
            count=count,
            message=message,
            job_key=key,
            job_id=job_id,
        )
        for kind, provider, count, message, key, job_id in rows
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
