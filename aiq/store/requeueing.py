"""Jobs put back to pending on the user's word: failed, cancelled, or with a damaged answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import msgspec

from aiq.model import JobState
from aiq.store.cancelling import PAGE
from aiq.store.db import Database
from aiq.store.digests import teach_digest
from aiq.store.jobs import IN_SCOPE, Scope, as_json, scope_parameters

SEARCH_PAGE = 64

CANCELLED = JobState.CANCELLED.value
"""Stands among the kinds for jobs that did not fail, but were cancelled."""


async def damaged_jobs(database: Database, batches: Sequence[int]) -> AsyncIterator[list[int]]:
    """
    Yield the jobs whose stored answer is damaged, an empty list where a page has none.

    Every answer is read for that. Jobs whose line is no longer in its file cannot be asked again
    and are not among them.
    """
    await teach_digest(database)
    after = 0
    while page := await database.rows(_ANSWERS, (as_json(batches), after, SEARCH_PAGE)):
        yield [job_id for job_id, is_damaged in page if is_damaged]
        after = page[-1][0]


# NOT INDEXED: an index by state would have to be sorted for every page.
_ANSWERS = """
SELECT job.id, sha256(answer.body) IS NOT answer.digest
FROM job NOT INDEXED CROSS JOIN answer ON answer.job_id = job.id
WHERE job.batch_id IN (SELECT value FROM json_each(?)) AND job.state = 'succeeded'
  AND job.source_id IS NOT NULL AND job.id > ?
ORDER BY job.id LIMIT ?
"""


async def requeue(
    database: Database,
    batches: Sequence[int],
    *,
    kinds: Sequence[str] | None,
    except_kinds: Sequence[str],
    jobs: Sequence[int] | None = None,
    damaged: Sequence[int] = (),
    carries_on: bool = False,
) -> int:
    """
    Make failed jobs pending again and choose them as the scope of this run; return how many.

    Where it `carries_on`, of that scope are also those that were put back before and have not ended
    since: the same command once more goes on with what it was stopped in.

    `kinds` None means all that failed; cancelled ones are among the kinds only where they are
    named. `jobs` None means all of the batches. `damaged` are jobs whose answer is, and the only
    ones that have succeeded. Their counts and rejections are cleared, never the ledger.
    """
    selection = _selection(batches, kinds, except_kinds, jobs)
    async with database.transaction():
        await database.rows("DELETE FROM temp.chosen")
        chosen = await database.changed(_CHOOSE, selection)
        if damaged:
            chosen += await database.changed(_CHOOSE_DAMAGED, (as_json(damaged),))
            await database.rows(_DISOWN)
        await database.rows(_REQUEUE)
        await database.rows(_WANTED_AGAIN)
        if CANCELLED in (kinds or ()):
            await database.rows(_ALL_WANTED_AGAIN, selection)
        if carries_on:
            await database.rows(_CHOOSE_LEFT, selection)
    return chosen


def _selection(
    batches: Sequence[int],
    kinds: Sequence[str] | None,
    except_kinds: Sequence[str],
    jobs: Sequence[int] | None,
) -> dict[str, object]:
    """Return the parameters of `_SELECTED`."""
    with_cancelled = CANCELLED in (kinds or ()) and CANCELLED not in except_kinds
    return {
        "batches": as_json(batches),
        "states": as_json(["failed", *([CANCELLED] if with_cancelled else [])]),
        "kinds": None if kinds is None else as_json(kinds),
        "except": as_json(except_kinds),
        "jobs": None if jobs is None else as_json(jobs),
    }


_SELECTED = """
job.batch_id IN (SELECT value FROM json_each(:batches))
  AND (:jobs IS NULL OR job.id IN (SELECT value FROM json_each(:jobs)))
  AND job.state IN (SELECT value FROM json_each(:states)) AND job.source_id IS NOT NULL
  AND (job.state = 'cancelled' OR (
    (:kinds IS NULL OR job.error_kind IN (SELECT value FROM json_each(:kinds)))
    AND job.error_kind NOT IN (SELECT value FROM json_each(:except))))
"""
_CHOOSE = f"INSERT INTO temp.chosen SELECT job.id FROM job WHERE {_SELECTED}"
# What they had failed with is what their last attempt before that ended with, if there was one.
_CHOOSE_LEFT = """
INSERT OR IGNORE INTO temp.chosen
SELECT job.id FROM batch CROSS JOIN job ON job.batch_id = batch.id AND job.state = 'pending'
  JOIN attempt ON attempt.job_id = job.id AND attempt.number = job.fresh_from
WHERE batch.id IN (SELECT value FROM json_each(:batches))
  AND (:jobs IS NULL OR job.id IN (SELECT value FROM json_each(:jobs)))
  AND job.source_id IS NOT NULL AND attempt.kind <> 'ok'
  AND (:kinds IS NULL OR attempt.kind IN (SELECT value FROM json_each(:kinds)))
  AND attempt.kind NOT IN (SELECT value FROM json_each(:except))
"""
_CHOOSE_DAMAGED = "INSERT INTO temp.chosen SELECT value FROM json_each(?)"
# The answer stays until a new one is stored, but answers no question: no ingest restores it.
_DISOWN = """
UPDATE answer SET fingerprint = zeroblob(16) FROM temp.chosen JOIN job ON job.id = chosen.job_id
WHERE answer.job_id = job.id AND job.state = 'succeeded'
"""
_REQUEUE = """
UPDATE job SET state = 'pending', fresh_from = attempts, error_kind = NULL, error_message = NULL
FROM temp.chosen WHERE job.id = chosen.job_id
  AND job.state IN ('failed', 'succeeded', 'cancelled')
"""
_WANTED_AGAIN = "DELETE FROM withdrawn WHERE job_id IN (SELECT job_id FROM temp.chosen)"
# Those too that a dead run has left leased: they are not cancelled yet.
_ALL_WANTED_AGAIN = """
DELETE FROM withdrawn WHERE job_id IN (
  SELECT id FROM job WHERE batch_id IN (SELECT value FROM json_each(:batches))
    AND (:jobs IS NULL OR id IN (SELECT value FROM json_each(:jobs))))
"""


class MovedJob(msgspec.Struct, frozen=True):
    """A job that was put back beside a run, and whether it is of that run's scope."""

    id: int
    state: JobState
    in_scope: bool


async def requeue_page(
    database: Database,
    batches: Sequence[int],
    *,
    kinds: Sequence[str] | None,
    except_kinds: Sequence[str],
    jobs: Sequence[int] | None = None,
    scope: Scope,
    is_read: bool,
) -> list[MovedJob]:
    """
    Make some failed jobs pending again beside a run of this scope; none: there are no more.

    `is_read` says that the run will read again those of its scope (`jobs.requeued_page`).
    """
    selection = _selection(batches, kinds, except_kinds, jobs)
    async with database.transaction():
        await database.rows("DELETE FROM temp.moved")
        await database.rows(_MOVE, {**selection, "most": PAGE})
        rows = await database.rows(_MOVED, scope_parameters(scope))
        moved = [MovedJob(number, JobState(state), bool(is_in)) for number, state, is_in in rows]
        if is_read:
            ours = [(one.id,) for one in moved if one.in_scope]
            await database.many("INSERT OR IGNORE INTO temp.requeued VALUES (?)", ours)
        await database.rows(_REQUEUE_MOVED)
        await database.rows(_MOVED_WANTED_AGAIN)
    return moved


_MOVE = f"INSERT INTO temp.moved SELECT job.id FROM job WHERE {_SELECTED} LIMIT :most"
_MOVED = f"""
SELECT job.id, job.state, {IN_SCOPE} FROM temp.moved CROSS JOIN job ON job.id = moved.job_id
"""
_REQUEUE_MOVED = """
UPDATE job SET state = 'pending', fresh_from = attempts, error_kind = NULL, error_message = NULL
FROM temp.moved WHERE job.id = moved.job_id AND job.state IN ('failed', 'cancelled')
"""
_MOVED_WANTED_AGAIN = "DELETE FROM withdrawn WHERE job_id IN (SELECT job_id FROM temp.moved)"
