"""Jobs that the user no longer wants: pending ones become cancelled, others stay as they are."""

from __future__ import annotations

import msgspec

from aiq.model import JobState
from aiq.store.db import Database
from aiq.store.jobs import IN_SCOPE, Scope, as_json, scope_parameters

PAGE = 2000
"""Jobs that move in one transaction, so that a run that is at work hardly waits."""


class Targets(msgspec.Struct, frozen=True, kw_only=True):
    """Whole batches and single jobs, by their rows."""

    batches: tuple[int, ...] = ()
    jobs: tuple[int, ...] = ()
    batch_names: tuple[str, ...] = ()


async def cancel_page(
    database: Database, targets: Targets, scope: Scope | None = None
) -> tuple[int, int]:
    """Cancel some pending jobs; return how many, and how many of them are of a run's scope."""
    async with database.transaction():
        await database.rows("DELETE FROM temp.moved")
        await database.rows(_CHOOSE_OF_BATCHES, (as_json(targets.batches), PAGE))
        await database.rows(_CHOOSE, (as_json(targets.jobs), PAGE))
        in_scope = 0
        if scope is not None:
            (in_scope,) = await database.row(_COUNT_IN_SCOPE, scope_parameters(scope)) or (0,)
        return await database.changed(_CANCEL), int(in_scope)


async def withdraw_leased(database: Database, targets: Targets) -> None:
    """Note what is in flight, so that nobody asks it again although this run may die."""
    which = {"batches": as_json(targets.batches), "jobs": as_json(targets.jobs)}
    async with database.transaction():
        await database.rows(_WITHDRAW, which)


_CHOOSE_OF_BATCHES = """
INSERT INTO temp.moved SELECT id FROM job
WHERE batch_id IN (SELECT value FROM json_each(?)) AND state = 'pending' LIMIT ?
"""
_CHOOSE = """
INSERT OR IGNORE INTO temp.moved SELECT id FROM job
WHERE id IN (SELECT value FROM json_each(?)) AND state = 'pending' LIMIT ?
"""
_COUNT_IN_SCOPE = f"""
SELECT count(*) FROM temp.moved CROSS JOIN job ON job.id = moved.job_id WHERE {IN_SCOPE}
"""
_CANCEL = """
UPDATE job SET state = 'cancelled', not_before = NULL
FROM temp.moved WHERE job.id = moved.job_id AND job.state = 'pending'
"""


async def release_dead(database: Database, targets: Targets) -> None:
    """
    Give back what a dead run left leased, so that it can be cancelled; the caller holds the lock.

    As in a recovery, its attempts may have been answered and paid, and are closed as such.
    """
    which = {"batches": as_json(targets.batches), "jobs": as_json(targets.jobs)}
    async with database.transaction():
        await database.rows(_CLOSE_DEAD_ATTEMPTS, which)
        await database.rows(_RELEASE_DEAD_JOBS, which)


_LEASED = """
state = 'running' AND (batch_id IN (SELECT value FROM json_each(:batches))
  OR id IN (SELECT value FROM json_each(:jobs)))
"""
_WITHDRAW = f"INSERT OR IGNORE INTO withdrawn SELECT id FROM job WHERE {_LEASED}"
_CLOSE_DEAD_ATTEMPTS = f"""
UPDATE attempt SET kind = 'interrupted', cause = 'crash', billed = 'maybe',
  message = 'the run ended before the answer was stored'
WHERE kind IS NULL AND id IN (SELECT lease FROM job WHERE {_LEASED})
"""
_RELEASE_DEAD_JOBS = (
    f"UPDATE job SET state = 'pending', lease = NULL, not_before = 0 WHERE {_LEASED}"
)


async def states(database: Database, targets: Targets) -> dict[JobState, int]:
    """Count what was meant by state."""
    which = {"batches": as_json(targets.batches), "jobs": as_json(targets.jobs)}
    counts: dict[JobState, int] = {}
    for sql in (_STATES_OF_BATCHES, _STATES):
        for state, count in await database.rows(sql, which):
            counts[JobState(state)] = counts.get(JobState(state), 0) + count
    return counts


_STATES_OF_BATCHES = """
SELECT state, count(*) FROM job WHERE batch_id IN (SELECT value FROM json_each(:batches))
GROUP BY state
"""
_STATES = """
SELECT state, count(*) FROM job WHERE id IN (SELECT value FROM json_each(:jobs))
  AND batch_id NOT IN (SELECT value FROM json_each(:batches)) GROUP BY state
"""
