"""
A job database read from end to end, by somebody who trusts nothing that is written in it.

The connection is read-only. Every rule is one statement and so sees one instant of its own; nothing
is held between two of them, so that a run at work may fold its log in. Damage that keeps a rule
from being looked at is an error of that rule alone.
"""

from __future__ import annotations

from typing import LiteralString

import msgspec

from aiq.model import LedgerRow
from aiq.store import attempts
from aiq.store.db import Database, Row
from aiq.store.digests import teach_digest
from aiq.store.rules import Rule

SAMPLES = 3
"""How many breaches of a rule are named."""

_MOST_FAULTS = 1000
"""SQLite's own check ends there."""


class Sample(msgspec.Struct, frozen=True):
    """One breach: the job by its key and batch, as far as there is one, and what else is known."""

    key: str | bytes | None
    batch: str | None
    detail: str


class Breaches(msgspec.Struct, frozen=True):
    """How often a rule is broken, and the first few times."""

    count: int
    samples: tuple[Sample, ...] = ()


class Extent(msgspec.Struct, frozen=True, kw_only=True):
    """How much there is, and what nobody has ended yet."""

    schema_version: int
    batches: int
    jobs: int
    attempts: int
    answers: int
    leased: int
    unended_runs: int


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """What `status` adds up, and the same from the bare tables, at one instant."""

    by_provider: list[LedgerRow]
    cost_by_batch: int
    jobs_by_batch: int
    jobs: int
    ended: int
    """Attempts that have ended, also those that were never sent."""
    cost_nano: int
    unpriced: int
    possibly_paid: int
    possibly_paid_nano: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int


async def prepare(database: Database) -> None:
    """Teach a connection what the rules need."""
    await teach_digest(database)


async def extent(database: Database) -> Extent:
    """Count what is there."""
    (version,) = await database.row("PRAGMA user_version") or (0,)
    counts = await database.row(_EXTENT) or (0,) * 6
    return Extent(
        schema_version=version,
        batches=counts[0],
        jobs=counts[1],
        attempts=counts[2],
        answers=counts[3],
        leased=counts[4],
        unended_runs=counts[5],
    )


_EXTENT = """
SELECT (SELECT count(*) FROM batch), (SELECT count(*) FROM job), (SELECT count(*) FROM attempt),
  (SELECT count(*) FROM answer), (SELECT count(*) FROM job WHERE state = 'running'),
  (SELECT count(*) FROM run WHERE ended_at IS NULL)
"""


async def faults(database: Database) -> Breaches:
    """Return what SQLite's own check of the whole file finds."""
    rows = await database.rows(f"PRAGMA integrity_check({_MOST_FAULTS})")
    said = [str(fault) for (fault,) in rows if fault != "ok"]
    return Breaches(len(said), tuple(Sample(None, None, one) for one in said[:SAMPLES]))


async def breaches(database: Database, rule: Rule) -> Breaches:
    """Return where a rule is broken."""
    found = await database.rows(f"{rule.sql} LIMIT {SAMPLES + 1}")
    count = len(found)
    if count > SAMPLES:
        (count,) = await database.row(f"SELECT count(*) FROM ({rule.sql})") or (count,)
    return Breaches(count, tuple([await _sample(database, row) for row in found[:SAMPLES]]))


async def _sample(database: Database, row: Row) -> Sample:
    job_id, detail = row
    if job_id is None:
        return Sample(None, None, detail or "")
    job = await database.row(_KEY, (job_id,))
    if job is None:
        return Sample(None, None, f"job {job_id}, which is not there {detail or ''}".strip())
    return Sample(job[0], job[1], detail or "")


_KEY = """
SELECT job.key, batch.name FROM job LEFT JOIN batch ON batch.id = job.batch_id WHERE job.id = ?
"""


async def sums(database: Database) -> Sums:
    """Add up the ledger in both ways; one instant for all of it."""
    await database.rows("BEGIN")
    try:
        plain = await database.row(await _plain(database)) or ()
        by_batch = await attempts.cost_by_batch(database)
        return Sums(
            by_provider=await attempts.sums(database),
            cost_by_batch=sum(cost for cost, _ in by_batch.values()),
            **dict(zip(_PLAIN_FIELDS, (value or 0 for value in plain), strict=True)),
        )
    finally:
        await database.rows("ROLLBACK")


async def _plain(database: Database) -> LiteralString:
    """Return the statement over the ledger, and over what was purged from it if that is kept."""
    if await database.row("SELECT 1 FROM sqlite_schema WHERE name = 'purged'"):
        return _PLAIN.replace("{purged}", _PURGED)
    return _PLAIN.replace("{purged}", "")


_PLAIN_FIELDS = (
    "jobs_by_batch",
    "jobs",
    "ended",
    "cost_nano",
    "unpriced",
    "possibly_paid",
    "possibly_paid_nano",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
)
_PLAIN: LiteralString = """
SELECT (SELECT count(*) FROM batch CROSS JOIN job ON job.batch_id = batch.id),
  (SELECT count(*) FROM job NOT INDEXED), sum(count), sum(cost_nano), sum(unpriced),
  sum(possibly_paid), sum(possibly_paid_nano), sum(input_tokens), sum(output_tokens),
  sum(cached_tokens)
FROM (
  SELECT count(*) AS count, sum(cost_nano) AS cost_nano,
    sum(billed = 'yes' AND cost_nano IS NULL) AS unpriced, sum(billed = 'maybe') AS possibly_paid,
    sum(CASE billed WHEN 'maybe' THEN bound_nano END) AS possibly_paid_nano,
    sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
    sum(cached_tokens) AS cached_tokens
  FROM attempt WHERE kind IS NOT NULL
  {purged})
"""
_PURGED: LiteralString = """
  UNION ALL
  SELECT sum(count), sum(cost_nano), sum(unpriced), sum(iif(billed = 'maybe', count, 0)),
    sum(bound_nano), sum(input_tokens), sum(output_tokens), sum(cached_tokens)
  FROM purged
"""
