"""
Finished jobs that go for good, or only the texts of their answers; sums over them stay.

A purge works in transactions of a bounded number of jobs and bytes, each of which leaves a database
in which every rule holds. What a removed attempt has cost stays in `tally`, so that totals and
budgets go on covering every attempt ever, and is added up in `purged` besides, so that the totals
can still be checked against the ledger. What is removed is overwritten in the file.

An answer whose text is purged stays as an empty body with the digest of that: no reply that was
ever taken as an answer is empty, its job stays known as answered, and damage stays damage.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from typing import Any, Literal, LiteralString

import msgspec

from aiq.store.db import Database
from aiq.store.jobs import as_json
from aiq.store.tallies import ADD_UP, COUNTED, COUNTED_FIELDS

CHUNK_JOBS = 1000
CHUNK_BYTES = 16 * 1024 * 1024
"""Of what is overwritten: it all goes through the write-ahead log."""

NO_TEXT = hashlib.sha256(b"").digest()


class Extent(msgspec.Struct, kw_only=True):
    """How much a purge removes."""

    jobs: int = 0
    """With answers only: jobs of which something is removed."""
    attempts: int = 0
    failed: int = 0
    cancelled: int = 0
    """Of the jobs, like those that failed; the rest were answered."""
    answers: int = 0
    replies: int = 0
    """Unusable ones, kept for inspection."""
    bytes: int = 0
    """Of prompts, answers and replies."""
    cost_nano: int = 0
    """What the removed attempts have cost, as far as that is known."""

    def add(self, other: Extent) -> None:
        """Count what another chunk removed."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs: finished ones of these batches whose last attempt ended before an instant."""

    batches: tuple[int, ...]
    before_us: int
    last_ended_us: int
    """When the newest run ended: not later than that a job ended that had no attempt."""
    answers_only: bool

    @property
    def parameters(self) -> dict[str, Any]:
        """Return the named parameters of `_CHOSEN`."""
        return {
            "batches": as_json(self.batches),
            "before": self.before_us,
            "last_ended": self.last_ended_us,
            "answers_only": self.answers_only,
        }


# The index by state would have to be sorted, and is not wanted.
_CHOSEN: LiteralString = """
job.state IN ('succeeded', 'failed', 'cancelled')
AND job.batch_id IN (SELECT value FROM json_each(:batches))
AND coalesce(
  (SELECT max(started_at + coalesce(latency_us, 0)) FROM attempt WHERE job_id = job.id),
  :last_ended) < :before
AND (NOT :answers_only
  OR EXISTS (SELECT 1 FROM answer WHERE job_id = job.id AND length(body) > 0)
  OR EXISTS (SELECT 1 FROM attempt JOIN bad_reply ON attempt_id = attempt.id
             WHERE attempt.job_id = job.id))
"""
_BYTES: LiteralString = """
coalesce((SELECT length(body) FROM answer WHERE job_id = job.id), 0)
+ coalesce((SELECT sum(length(body)) FROM attempt JOIN bad_reply ON attempt_id = attempt.id
            WHERE attempt.job_id = job.id), 0)
+ iif(:answers_only, 0, coalesce((SELECT length(line) FROM request WHERE job_id = job.id), 0))
"""
_EXTENT: LiteralString = """
SELECT count(*), coalesce(sum({bytes}), 0),
  coalesce(sum((SELECT count(*) FROM answer WHERE job_id = job.id AND length(body) > 0)), 0),
  coalesce(sum((SELECT count(*) FROM attempt JOIN bad_reply ON attempt_id = attempt.id
                WHERE attempt.job_id = job.id)), 0),
  iif(:answers_only, 0,
    coalesce(sum((SELECT count(*) FROM attempt WHERE job_id = job.id)), 0)),
  iif(:answers_only, 0,
    coalesce(sum((SELECT sum(cost_nano) FROM attempt WHERE job_id = job.id)), 0)),
  coalesce(sum(job.state = 'failed'), 0), coalesce(sum(job.state = 'cancelled'), 0)
FROM job NOT INDEXED WHERE {which}
""".replace("{bytes}", _BYTES)


async def extent(database: Database, selection: Selection) -> Extent:
    """Return how much a purge would remove; reads only."""
    row = await database.row(_EXTENT.replace("{which}", _CHOSEN), selection.parameters)
    return _extent(row or (0,) * 8)


def _extent(row: Sequence[int]) -> Extent:
    jobs, size, answers, replies, attempts, cost_nano, failed, cancelled = row
    return Extent(
        jobs=jobs,
        bytes=size,
        failed=failed,
        cancelled=cancelled,
        answers=answers,
        replies=replies,
        attempts=attempts,
        cost_nano=cost_nano,
    )


async def prepare(database: Database) -> None:
    """
    Make a writing connection ready for purges.

    Foreign keys are left to the order of the statements: an answer knows its attempt, and nobody
    has an index the other way, so each removed attempt would be looked for in all answers.
    """
    await database.rows("PRAGMA foreign_keys = OFF")
    await database.rows("PRAGMA secure_delete = ON")


class Chunk(msgspec.Struct, frozen=True):
    """What one transaction removed, and the job at which it ended."""

    removed: Extent
    last: int


async def purge_some(database: Database, selection: Selection, *, after: int) -> Chunk | None:
    """Remove the next jobs behind one, or their texts, in one transaction; None: there are none."""
    found = await database.rows(_HEADS, {**selection.parameters, "after": after})
    if not found:
        return None
    ids = as_json(_within_bytes(found))
    done: list[Extent] = []

    def work(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM temp.chosen")
        connection.execute("INSERT INTO temp.chosen SELECT value FROM json_each(?)", (ids,))
        only = {"answers_only": selection.answers_only}
        done.append(_extent(connection.execute(_EXTENT_OF_CHOSEN, only).fetchone()))
        for statement in _EMPTY if selection.answers_only else _REMOVE:
            connection.execute(statement)

    await database.transact(work)
    return Chunk(done[0], _within_bytes(found)[-1])


def _within_bytes(heads: Sequence[Sequence[int]]) -> list[int]:
    """Return the jobs of a chunk: as many as stay within its bytes, at least the first."""
    taken, total = [heads[0][0]], heads[0][1]
    for job_id, size in heads[1:]:
        total += size
        if total > CHUNK_BYTES:
            break
        taken.append(job_id)
    return taken


_HEADS: LiteralString = f"""
SELECT job.id, {_BYTES} FROM job NOT INDEXED
WHERE job.id > :after AND {_CHOSEN} ORDER BY job.id LIMIT {CHUNK_JOBS}
"""
# CROSS JOIN fixes the order, the chosen first: SQLite would look at all jobs for every chunk.
_OF_CHOSEN = "job_id IN (SELECT job_id FROM temp.chosen)"
_EXTENT_OF_CHOSEN = _EXTENT.replace(
    "job NOT INDEXED WHERE {which}", "temp.chosen CROSS JOIN job ON job.id = chosen.job_id"
)
_REPLIES: LiteralString = f"""
DELETE FROM bad_reply WHERE attempt_id IN (SELECT id FROM attempt WHERE {_OF_CHOSEN})
"""
_COUNT_TEXTS = """
INSERT INTO purged_text (batch_id, count)
SELECT job.batch_id, count(*)
FROM temp.chosen CROSS JOIN job ON job.id = chosen.job_id
  JOIN answer ON answer.job_id = job.id AND length(answer.body) > 0
GROUP BY 1
ON CONFLICT DO UPDATE SET count = count + excluded.count
"""
_EMPTY: tuple[LiteralString, ...] = (
    _COUNT_TEXTS,
    _REPLIES,
    f"UPDATE answer SET body = x'', digest = x'{NO_TEXT.hex()}' WHERE {_OF_CHOSEN}",
)
_COMMITTED = """
CASE one.billed WHEN 'yes' THEN coalesce(one.cost_nano, one.bound_nano, 0)
  WHEN 'maybe' THEN coalesce(one.bound_nano, 0) ELSE 0 END AS committed_nano,
(CASE one.billed WHEN 'yes' THEN coalesce(one.cost_nano, one.bound_nano) WHEN 'maybe'
  THEN one.bound_nano ELSE 0 END) IS NULL AS uncommitted
"""
_KEEP_SUMS: LiteralString = f"""
INSERT INTO purged ({COUNTED_FIELDS}, committed_nano, uncommitted)
{COUNTED.replace("FROM attempt AS one", f", {_COMMITTED} FROM attempt AS one")}
  AND one.{_OF_CHOSEN}
{ADD_UP}, committed_nano = committed_nano + excluded.committed_nano,
  uncommitted = uncommitted + excluded.uncommitted
"""
_KEEP_COUNTS = """
INSERT INTO purged_job (batch_id, state, count)
SELECT job.batch_id, job.state, count(*)
FROM temp.chosen CROSS JOIN job ON job.id = chosen.job_id
GROUP BY 1, 2
ON CONFLICT DO UPDATE SET count = count + excluded.count
"""
# A later attempt may get the number of a removed one, and be another provider's.
_FORGET_NEWEST: LiteralString = f"""
UPDATE candidate SET newest = NULL WHERE newest IN (SELECT id FROM attempt WHERE {_OF_CHOSEN})
"""
_REMOVE: tuple[LiteralString, ...] = (
    _KEEP_SUMS,
    _KEEP_COUNTS,
    _FORGET_NEWEST,
    _REPLIES,
    f"DELETE FROM answer WHERE {_OF_CHOSEN}",
    f"DELETE FROM attempt WHERE {_OF_CHOSEN}",
    f"DELETE FROM request WHERE {_OF_CHOSEN}",
    "DELETE FROM job WHERE id IN (SELECT job_id FROM temp.chosen)",
)


async def find_newest(database: Database) -> None:
    """Note the newest attempt of each provider again, of those whose newest was removed."""
    async with database.transaction():
        await database.rows(_FIND_NEWEST)


_FIND_NEWEST = """
UPDATE candidate SET newest = found.id
FROM (SELECT candidate_id, max(id) AS id FROM attempt
      WHERE kind <> 'cancelled' AND cause IS NULL GROUP BY candidate_id) AS found
WHERE found.candidate_id = candidate.id AND candidate.newest IS NULL
"""


async def leased(database: Database) -> int:
    """Return how many jobs a dead run left running; for whoever holds the lock."""
    row = await database.row("SELECT count(*) FROM job WHERE state = 'running'")
    return int(row[0]) if row else 0


async def purged_jobs(database: Database) -> dict[int, int]:
    """Return how many jobs of each batch were ever purged; of an older database, none."""
    return await _by_batch(database, "purged_job")


async def purged_texts(database: Database) -> dict[int, int]:
    """Return how many answers of each batch ever lost their text alone."""
    return await _by_batch(database, "purged_text")


async def _by_batch(
    database: Database, table: Literal["purged_job", "purged_text"]
) -> dict[int, int]:
    """Return the sums of a table; none if there is none, as in an older database."""
    if not await database.row("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)):
        return {}
    rows = await database.rows(f"SELECT batch_id, sum(count) FROM {table} GROUP BY batch_id")
    return {int(batch): int(count) for batch, count in rows}
