"""Jobs put back to pending on the user's word: failed ones, and those whose answer is damaged."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from aiq.store.db import Database
from aiq.store.digests import teach_digest
from aiq.store.jobs import as_json

SEARCH_PAGE = 64


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
    damaged: Sequence[int] = (),
) -> int:
    """
    Make failed jobs pending again and choose them as the scope of this run; return how many.

    `kinds` None means all that failed. `damaged` are jobs whose answer is, and the only ones that
    have succeeded. Their counts and rejections are cleared, never the ledger.
    """
    async with database.transaction():
        await database.rows("DELETE FROM temp.chosen")
        chosen = await database.changed(
            _CHOOSE,
            {
                "batches": as_json(batches),
                "kinds": None if kinds is None else as_json(kinds),
                "except": as_json(except_kinds),
            },
        )
        if damaged:
            chosen += await database.changed(_CHOOSE_DAMAGED, (as_json(damaged),))
            await database.rows(_DISOWN)
        await database.rows(_REQUEUE)
    return chosen


_CHOOSE = """
INSERT INTO temp.chosen
SELECT job.id FROM job
WHERE job.batch_id IN (SELECT value FROM json_each(:batches)) AND job.state = 'failed'
  AND job.source_id IS NOT NULL
  AND (:kinds IS NULL OR job.error_kind IN (SELECT value FROM json_each(:kinds)))
  AND job.error_kind NOT IN (SELECT value FROM json_each(:except))
"""
_CHOOSE_DAMAGED = "INSERT INTO temp.chosen SELECT value FROM json_each(?)"
# The answer stays until a new one is stored, but answers no question: no ingest restores it.
_DISOWN = """
UPDATE answer SET fingerprint = zeroblob(16) FROM temp.chosen JOIN job ON job.id = chosen.job_id
WHERE answer.job_id = job.id AND job.state = 'succeeded'
"""
_REQUEUE = """
UPDATE job SET state = 'pending', fresh_from = attempts, error_kind = NULL, error_message = NULL
FROM temp.chosen WHERE job.id = chosen.job_id AND job.state IN ('failed', 'succeeded')
"""
