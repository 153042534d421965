"""
The ledger as it went over time: what `report` draws, on a read-only connection.

Each statement is a transaction of its own and reads the ledger once from end to end. What comes
back is bounded by the number of time slices, providers and kinds, never by the number of attempts.
An attempt that was never sent (`cancelled`, billed `no`) is no request, here as in `attempts`.
"""

from __future__ import annotations

from typing import LiteralString

import msgspec

from aiq.store.db import Database


class Span(msgspec.Struct, frozen=True):
    """From the first start to the last end of what one run sent, in microseconds UTC."""

    began_at: int
    ended_at: int


class Cell(msgspec.Struct, frozen=True):
    """Attempts of one provider that ended in one slice of time, alike in kind and latency."""

    slice: int
    """The end of the attempts in whole slices since the epoch."""
    provider: str
    kind: str
    latency_us: int | None
    """Of answers, to 5 %; None of all else."""
    count: int
    cost_nano: int


class Ranked(msgspec.Struct, frozen=True):
    """A job by what makes it one of the first in a list: microseconds, or nano-dollars."""

    job_id: int
    value: int


_END = "(attempt.started_at + coalesce(attempt.latency_us, 0))"
_SENT: LiteralString = """
attempt.kind IS NOT NULL AND NOT (attempt.kind = 'cancelled' AND attempt.billed = 'no')
  AND (:batch IS NULL OR :batch = (SELECT batch_id FROM job WHERE job.id = attempt.job_id))
"""


async def spans(database: Database, batch: int | None) -> list[Span]:
    """Return when each run was sending for a batch (None: for any), in order of its runs."""
    rows = await database.rows(_SPANS, {"batch": batch})
    return [Span(began_at, ended_at) for began_at, ended_at in rows]


_SPANS = f"""
SELECT min(attempt.started_at), max({_END}) FROM attempt WHERE {_SENT}
GROUP BY attempt.run_id ORDER BY attempt.run_id
"""


async def cells(database: Database, batch: int | None, *, width_us: int) -> list[Cell]:
    """Return the ended attempts of a batch (None: of all) by slice, provider, kind and latency."""
    rows = await database.rows(_CELLS, {"batch": batch, "width": width_us})
    return [Cell(*row) for row in rows]


# Two digits of a latency, and the middle of what they stand for: over a million rows, printf and
# a cast took twice as long.
_ROUGHLY = """
CASE WHEN attempt.kind <> 'ok' OR attempt.latency_us IS NULL THEN NULL
  WHEN attempt.latency_us < 100 THEN attempt.latency_us
  WHEN attempt.latency_us < 1000 THEN attempt.latency_us / 10 * 10 + 5
  WHEN attempt.latency_us < 10000 THEN attempt.latency_us / 100 * 100 + 50
  WHEN attempt.latency_us < 100000 THEN attempt.latency_us / 1000 * 1000 + 500
  WHEN attempt.latency_us < 1000000 THEN attempt.latency_us / 10000 * 10000 + 5000
  WHEN attempt.latency_us < 10000000 THEN attempt.latency_us / 100000 * 100000 + 50000
  WHEN attempt.latency_us < 100000000 THEN attempt.latency_us / 1000000 * 1000000 + 500000
  ELSE attempt.latency_us / 10000000 * 10000000 + 5000000 END
"""
_CELLS = f"""
SELECT one.slice, candidate.provider, one.kind, one.latency_us, sum(one.count), sum(one.cost_nano)
FROM (
  SELECT {_END} / :width AS slice, attempt.candidate_id, attempt.kind, {_ROUGHLY} AS latency_us,
    count(*) AS count, coalesce(sum(attempt.cost_nano), 0) AS cost_nano
  FROM attempt WHERE {_SENT} GROUP BY 1, 2, 3, 4) AS one
JOIN candidate ON candidate.id = one.candidate_id
GROUP BY 1, 2, 3, 4
"""


async def slowest(database: Database, batch: int | None, *, limit: int) -> list[Ranked]:
    """Return the jobs whose answers took longest, in microseconds."""
    rows = await database.rows(_SLOWEST, {"batch": batch, "limit": limit})
    return [Ranked(*row) for row in rows]


# Of a job that was answered twice, SQLite takes the slower: max() chooses the row.
_SLOWEST = f"""
SELECT job_id, max(latency_us) FROM (
  SELECT attempt.job_id, attempt.latency_us FROM attempt
  WHERE attempt.kind = 'ok' AND attempt.latency_us IS NOT NULL AND {_SENT}
  ORDER BY attempt.latency_us DESC LIMIT 4 * :limit)
GROUP BY job_id ORDER BY 2 DESC LIMIT :limit
"""


async def dearest(database: Database, batch: int | None, *, limit: int) -> list[Ranked]:
    """Return the jobs whose attempts cost most together, in nano-dollars."""
    rows = await database.rows(_DEAREST, {"batch": batch, "limit": limit})
    return [Ranked(*row) for row in rows]


_DEAREST = f"""
SELECT attempt.job_id, sum(attempt.cost_nano) FROM attempt
WHERE attempt.cost_nano > 0 AND {_SENT}
GROUP BY attempt.job_id ORDER BY 2 DESC LIMIT :limit
"""
