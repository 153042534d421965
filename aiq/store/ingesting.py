"""
The transaction that takes a file's lines in.

An ingest is one transaction, so a killed or refused one leaves nothing behind but a source that is
not sealed. Inside it, `seen` holds which older jobs were met again: what is asked for twice is a
duplicate, what was not met has vanished from its file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import LiteralString

import msgspec

from aiq.model import JobState
from aiq.store.db import Database, Row
from aiq.store.rows import write_rows


class KnownJob(msgspec.Struct, frozen=True):
    """What the store knows under a key when a line with that key is read."""

    id: int
    state: JobState
    is_seen: bool
    source_id: int | None
    number: int
    priority: int
    line: bytes
    fingerprint: bytes | None
    """Of the question that its answer answers; None without an answer."""


class NewJob(msgspec.Struct, frozen=True):
    """A line that becomes a job."""

    key: str | bytes
    source_id: int
    number: int
    priority: int
    endpoint: str | None
    model: str | None
    line: bytes


async def begin_ingest(database: Database) -> int:
    """Prepare `seen`, inside the ingest's transaction; return the newest job there is."""
    await database.rows("DELETE FROM temp.seen")
    row = await database.row("SELECT coalesce(max(id), 0) FROM job")
    return int(row[0]) if row else 0


async def known_jobs(
    database: Database, batch_id: int, keys: Sequence[str | bytes], *, newest: int
) -> dict[str | bytes, KnownJob]:
    """
    Look up which keys already have a job.

    A job younger than `newest` was made by this ingest, so it has been seen.
    """
    found: dict[str | bytes, KnownJob] = {}
    for start in range(0, len(keys), _LOOKUP):
        part = keys[start : start + _LOOKUP]
        marks = ", ".join("?" * len(part))
        rows = await database.rows(_KNOWN.replace("{keys}", marks), (newest, batch_id, *part))
        for key, job_id, state, is_seen, *rest in rows:
            found[key] = KnownJob(job_id, JobState(state), bool(is_seen), *rest)
    return found


_LOOKUP = 1000
_KNOWN = """
SELECT job.key, job.id, job.state, job.id > ? OR seen.job_id IS NOT NULL,
  job.source_id, job.line, job.priority, request.line, answer.fingerprint
FROM job JOIN request ON request.job_id = job.id
  LEFT JOIN temp.seen ON seen.job_id = job.id
  LEFT JOIN answer ON answer.job_id = job.id
WHERE job.batch_id = ? AND job.key IN ({keys})
"""


async def has_jobs(database: Database, batch_id: int) -> bool:
    """Whether a batch has any job."""
    return (
        await database.row("SELECT 1 FROM job WHERE batch_id = ? LIMIT 1", (batch_id,)) is not None
    )


async def add_jobs(
    database: Database, batch_id: int, jobs: Sequence[NewJob], *, first_id: int
) -> bool:
    """Insert jobs in order, numbered from `first_id`; all, or none if a key is there already."""
    return await database.at_once(partial(_add_jobs, batch_id, jobs, first_id))


def _add_jobs(
    batch_id: int, jobs: Sequence[NewJob], first_id: int, connection: sqlite3.Connection
) -> bool:
    connection.execute("SAVEPOINT adding")
    rows = [
        (first_id + n, batch_id, j.key, j.source_id, j.number, j.priority, j.endpoint, j.model)
        for n, j in enumerate(jobs)
    ]
    is_new = write_rows(connection, _ADD_JOBS, rows) == len(rows)
    if is_new:
        lines = [(first_id + n, j.line) for n, j in enumerate(jobs)]
        write_rows(connection, _ADD_REQUESTS, lines)
    else:
        connection.execute("ROLLBACK TO adding")
    connection.execute("RELEASE adding")
    return is_new


_ADD_JOBS: LiteralString = """
INSERT INTO job (id, batch_id, key, source_id, line, priority, endpoint, model, state)
SELECT column1, column2, column3, column4, column5, column6, column7, column8, 'pending'
FROM (VALUES {rows}) WHERE column1 IS NOT NULL ON CONFLICT (batch_id, key) DO NOTHING
"""
_ADD_REQUESTS: LiteralString = """
INSERT INTO request (job_id, line) SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL
"""


async def meet_again(database: Database, job_ids: Sequence[int]) -> None:
    """Note that known jobs are still in their file."""
    await database.rows(
        "INSERT INTO temp.seen (job_id) SELECT value FROM json_each(?)",
        (msgspec.json.encode(job_ids).decode(),),
    )


async def move_lines(database: Database, jobs: Sequence[tuple[int, NewJob]]) -> None:
    """Known jobs stand elsewhere now, or their line says something else about them."""
    await database.many(
        "UPDATE job SET source_id = ?, line = ?, priority = ?, endpoint = ?, model = ?"
        " WHERE id = ?",
        [(j.source_id, j.number, j.priority, j.endpoint, j.model, job_id) for job_id, j in jobs],
    )
    await database.many(
        "UPDATE request SET line = ? WHERE job_id = ?", [(j.line, job_id) for job_id, j in jobs]
    )


async def keep_lines(database: Database, jobs: Sequence[tuple[int, NewJob]]) -> None:
    """Known jobs stand elsewhere now but keep the line that their answer answers."""
    await database.many(
        "UPDATE job SET source_id = ?, line = ? WHERE id = ?",
        [(j.source_id, j.number, job_id) for job_id, j in jobs],
    )


async def replace_requests(database: Database, job_ids: Sequence[int]) -> None:
    """Jobs without an answer whose request changed start over with the new one."""
    await database.many(
        "UPDATE job SET state = 'pending', fresh_from = attempts, not_before = NULL,"
        " error_kind = NULL, error_message = NULL"
        " WHERE id = ? AND state IN ('pending', 'failed', 'cancelled')",
        [(job_id,) for job_id in job_ids],
    )


async def rerun(database: Database, job_ids: Sequence[int]) -> None:
    """Jobs with an answer are to get a new one; the old one stays until it is there."""
    await database.many(
        "UPDATE job SET state = 'pending', fresh_from = attempts"
        " WHERE id = ? AND state = 'succeeded'",
        [(job_id,) for job_id in job_ids],
    )


async def restore(database: Database, job_ids: Sequence[int]) -> None:
    """Jobs that were to be asked again are not: what they ask has an answer already."""
    await database.many(
        "UPDATE job SET state = 'succeeded', not_before = NULL, error_kind = NULL,"
        " error_message = NULL WHERE id = ? AND state IN ('pending', 'failed', 'cancelled')"
        " AND EXISTS (SELECT 1 FROM answer WHERE answer.job_id = job.id)",
        [(job_id,) for job_id in job_ids],
    )


async def replace_invalid(
    database: Database, source_id: int, lines: Sequence[tuple[int, str]], *, first: bool
) -> None:
    """Store the bad lines of a source; with `first`, those of its last ingest go."""
    if first:
        await database.rows("DELETE FROM invalid_line WHERE source_id = ?", (source_id,))
    await database.many(
        "INSERT INTO invalid_line (source_id, line, reason) VALUES (?, ?, ?)",
        [(source_id, number, reason) for number, reason in lines],
    )


async def seal(
    database: Database, sources: Sequence[int], *, newest: int, now_us: int, show: int
) -> tuple[int, list[Row]]:
    """
    End an ingest: mark its sources read, and withdraw jobs whose line is gone.

    Return how many of those are unfinished, and (key, line) of the first `show`.
    """
    ids = msgspec.json.encode(sources).decode()
    vanished = await database.rows(_VANISHED, (ids, newest, show))
    (count,) = await database.row(_COUNT_VANISHED, (ids, newest)) or (0,)
    await database.rows(_WITHDRAW, (ids, newest))
    await database.rows(
        "UPDATE source SET sealed_at = ?, opened_at = NULL"
        " WHERE id IN (SELECT value FROM json_each(?))",
        (now_us, ids),
    )
    await database.rows("DELETE FROM temp.seen")
    return int(count), vanished


_GONE = """
FROM job WHERE source_id IN (SELECT value FROM json_each(?)) AND id <= ?
  AND NOT EXISTS (SELECT 1 FROM temp.seen WHERE seen.job_id = job.id)
"""
_UNFINISHED = " AND state IN ('pending', 'running')"
_VANISHED = f"SELECT key, line {_GONE} {_UNFINISHED} ORDER BY id LIMIT ?"
_COUNT_VANISHED = f"SELECT count(*) {_GONE} {_UNFINISHED}"
_WITHDRAW = f"UPDATE job SET source_id = NULL WHERE id IN (SELECT id {_GONE})"
