"""Jobs put back to pending on the user's word: failed ones, and those whose answer is damaged."""

from __future__ import annotations

from collections.abc import Sequence

from aiq.model import DAMAGED
from aiq.store.db import Database
from aiq.store.digests import teach_digest
from aiq.store.jobs import as_json


async def requeue(
    database: Database,
    batches: Sequence[int],
    *,
    kinds: Sequence[str] | None,
    except_kinds: Sequence[str],
) -> int:
    """
    Make failed jobs pending again and choose them as the scope of this run; return how many.

    `kinds` None means all that failed. Jobs whose stored answer is damaged, which is not known
    before every answer is read, are only among them if they are named. Their counts and rejections
    are cleared, never the ledger.
    """
    is_damage_named = kinds is not None and DAMAGED in kinds
    if is_damage_named:
        await teach_digest(database)
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
        if is_damage_named:
            batch_ids = {"batches": as_json(batches)}
            chosen += await database.changed(_CHOOSE_DAMAGED, batch_ids)
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
_CHOOSE_DAMAGED = """
INSERT INTO temp.chosen
SELECT job.id FROM job JOIN answer ON answer.job_id = job.id
WHERE job.batch_id IN (SELECT value FROM json_each(:batches)) AND job.state = 'succeeded'
  AND job.source_id IS NOT NULL AND sha256(answer.body) IS NOT answer.digest
"""
# The answer stays until a new one is stored, but answers no question: no ingest restores it.
_DISOWN = """
UPDATE answer SET fingerprint = zeroblob(16) FROM temp.chosen JOIN job ON job.id = chosen.job_id
WHERE answer.job_id = job.id AND job.state = 'succeeded'
"""
_REQUEUE = """
UPDATE job SET state = 'pending', fresh_from = attempts, error_kind = NULL, error_message = NULL
FROM temp.chosen WHERE job.id = chosen.job_id AND job.state IN ('failed', 'succeeded')
"""
