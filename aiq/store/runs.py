"""
Runs: who is at work on the database, and what a dead one left behind.

Whoever holds the run lock knows that every running job belongs to a dead run, so recovery asks no
clock and waits for nobody.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from aiq.store import readings
from aiq.store.db import Database, Row
from aiq.store.writes import Settle, endings


class RunRow(msgspec.Struct, frozen=True):
    """Who runs."""

    pid: int
    host: str
    started_at: int


class BegunRun(msgspec.Struct, frozen=True):
    """A run that has begun; `last_attempt` is the newest in the ledger before it."""

    id: int
    started_at: int
    last_attempt: int
    pid: int
    host: str


async def is_known(
    database: Database, *, run_id: int, started_at: int, pid: int, host: str
) -> bool:
    """Whether this was a run of this database, or of the one it is a copy of."""
    row = await database.row(
        "SELECT 1 FROM run WHERE id = ? AND started_at = ? AND pid = ? AND host = ?",
        (run_id, started_at, pid, host),
    )
    return row is not None


async def take_in(
    database: Database, *, run_id: int, started_at: int, settles: Sequence[Settle]
) -> int | None:
    """
    Store outcomes that a dead run could not, and return how many were still missing.

    An outcome is stored if its attempt is that run's, still open, and holds its job; else it was
    stored before, or its attempt was never leased. So doing it twice changes nothing. An attempt
    that a recovery has closed meanwhile, because it did not know better, is opened again while its
    job has gone no further. None: the database knows no such run.
    """
    async with database.transaction():
        missing = await still_missing(
            database, run_id=run_id, started_at=started_at, settles=settles
        )
        if missing is None:
            return None
        await _reopen(database, run_id, missing)
        if missing:  # they may answer questions that were asked in another way
            await readings.forget_all(database)
        for statement in endings(missing):
            statement.check(await database.changed(statement.sql, statement.values))
    return len(missing)


async def still_missing(
    database: Database, *, run_id: int, started_at: int, settles: Sequence[Settle]
) -> list[Settle] | None:
    """Return the outcomes that `take_in` would store; None if the database knows no such run."""
    ours = "SELECT 1 FROM run WHERE id = ? AND started_at = ?"
    if await database.row(ours, (run_id, started_at)) is None:
        return None
    is_open = set(await database.rows(_OPEN_ATTEMPTS, (run_id,)))
    is_open |= {(attempt, job) for attempt, job, *_ in await _closed(database, run_id, settles)}
    missing = {s.attempt_id: s for s in settles if (s.attempt_id, s.job_id) in is_open}
    return list(missing.values())


async def _closed(database: Database, run_id: int, settles: Sequence[Settle]) -> list[Row]:
    """Return the attempts of outcomes that a recovery has closed; they can be opened again."""
    ids = msgspec.json.encode([settle.attempt_id for settle in settles]).decode()
    return await database.rows(_CLOSED_BY_RECOVERY, (ids, run_id))


async def _reopen(database: Database, run_id: int, settles: Sequence[Settle]) -> None:
    """Take back what a recovery did to attempts whose outcome is known after all."""
    closed = await _closed(database, run_id, settles)
    if not closed:
        return
    await database.many(
        "UPDATE tally SET count = count - 1, bound_nano = bound_nano - coalesce(?, 0),"
        " unbounded = unbounded - (? IS NULL)"
        " WHERE batch_id = ? AND candidate_id = ? AND kind = 'interrupted' AND billed = 'maybe'",
        [(bound, bound, batch, candidate) for _, _, batch, candidate, bound in closed],
    )
    await database.rows("DELETE FROM tally WHERE count = 0")
    await database.many(
        "UPDATE attempt SET kind = NULL, billed = NULL, cause = NULL, message = NULL WHERE id = ?",
        [(attempt,) for attempt, *_ in closed],
    )
    await database.many(
        "UPDATE job SET state = 'running', lease = ?, not_before = NULL, error_kind = NULL,"
        " error_message = NULL WHERE id = ? AND state IN ('pending', 'failed')",
        [(attempt, job) for attempt, job, *_ in closed],
    )


_CLOSED_BY_RECOVERY = """
SELECT attempt.id, job.id, job.batch_id, attempt.candidate_id, attempt.bound_nano
FROM attempt JOIN job ON job.id = attempt.job_id AND job.attempts = attempt.number
WHERE attempt.id IN (SELECT value FROM json_each(?)) AND attempt.run_id = ?
  AND attempt.kind = 'interrupted' AND attempt.cause = 'crash'
  AND (job.state = 'pending' OR job.state = 'failed' AND job.error_kind = 'interrupted')
"""


# CROSS JOIN fixes the order, batches first, so that the index by state is used.
_OPEN_ATTEMPTS = """
SELECT attempt.id, job.id
FROM batch CROSS JOIN job ON job.batch_id = batch.id AND job.state = 'running'
  JOIN attempt ON attempt.id = job.lease
WHERE attempt.run_id = ? AND attempt.kind IS NULL
"""


async def recover(database: Database, *, now_us: int, fail_unknown: bool) -> int:
    """
    Settle what a dead run left leased, and return how many jobs that were.

    Their attempts may have been answered and paid, and are closed as such. The jobs become pending,
    or failed if the user never wants a request of unknown outcome repeated, or cancelled if he had
    cancelled them in flight.
    """
    async with database.transaction():
        left = await database.changed(_CLOSE_DEAD_ATTEMPTS)
        if left:
            await database.rows(_FAIL_DEAD_JOBS if fail_unknown else _RELEASE_DEAD_JOBS)
        await database.rows(_CANCEL_WITHDRAWN)
        await database.rows("DELETE FROM withdrawn")
        await database.rows(_FORGET_BACKOFF, (now_us, now_us))
        await database.rows(_END_DEAD_RUNS, (now_us,))
    return left


_CLOSE_DEAD_ATTEMPTS = """
UPDATE attempt SET kind = 'interrupted', cause = 'crash', billed = 'maybe',
  message = 'the run ended before the answer was stored'
WHERE kind IS NULL AND id IN (
  SELECT job.lease FROM batch CROSS JOIN job ON job.batch_id = batch.id AND job.state = 'running')
"""
_DEAD_JOBS = """
WHERE id IN (
  SELECT job.id FROM batch CROSS JOIN job ON job.batch_id = batch.id AND job.state = 'running')
"""
_RELEASE_DEAD_JOBS = f"UPDATE job SET state = 'pending', lease = NULL, not_before = 0 {_DEAD_JOBS}"
_FAIL_DEAD_JOBS = f"""
UPDATE job SET state = 'failed', lease = NULL, error_kind = 'interrupted',
  error_message = 'the run ended before the answer was stored'
{_DEAD_JOBS}
"""
_CANCEL_WITHDRAWN = """
UPDATE job SET state = 'cancelled', not_before = NULL
WHERE state = 'pending' AND id IN (SELECT job_id FROM withdrawn)
"""
_FORGET_BACKOFF = """
UPDATE job SET not_before = ?
FROM batch WHERE job.batch_id = batch.id AND job.state = 'pending' AND job.not_before > ?
"""
_END_DEAD_RUNS = "UPDATE run SET ended_at = ? WHERE ended_at IS NULL"


async def begin_run(database: Database, *, pid: int, host: str, now_us: int) -> BegunRun:
    """Record who runs from now on."""
    async with database.transaction():
        await database.rows(
            "INSERT INTO run (pid, host, started_at) VALUES (?, ?, ?)", (pid, host, now_us)
        )
        (run_id,) = await database.row("SELECT max(id) FROM run") or (0,)
        (last,) = await database.row("SELECT coalesce(max(id), 0) FROM attempt") or (0,)
    return BegunRun(run_id, now_us, last, pid, host)


async def end_run(database: Database, *, run_id: int, now_us: int) -> None:
    """Record that a run is over."""
    async with database.transaction():
        await database.rows("UPDATE run SET ended_at = ? WHERE id = ?", (now_us, run_id))
        await database.rows(_FORGET_WITHDRAWN)


# What could not be stored is still leased, and comes home without the word that it is unwanted.
_FORGET_WITHDRAWN = """
DELETE FROM withdrawn WHERE (SELECT state FROM job WHERE id = job_id) IS NOT 'running'
"""


async def open_run(database: Database) -> RunRow | None:
    """Return the run that has not ended; None: who holds the lock, if anybody, is no run."""
    row = await database.row(_OPEN_RUN)
    return RunRow(*row) if row else None


_OPEN_RUN = """
SELECT pid, host, started_at FROM run WHERE ended_at IS NULL ORDER BY id DESC LIMIT 1
"""


async def last_ended(database: Database) -> int:
    """Return when the newest run ended, or began if it died; 0: there was none."""
    row = await database.row("SELECT max(coalesce(ended_at, started_at)) FROM run")
    return int(row[0] or 0) if row else 0
