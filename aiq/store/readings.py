"""
What the files of a batch held when they were last taken in, by which they are known again.

A reading is forgotten as soon as reading the files anew could find something else: another ingest
of the batch, a run that asks its questions with other defaults or flags, an answer brought home
from a rescue file, a job that is deleted (the database sees to that one itself).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from aiq.store.db import Database

DIGEST_BYTES = 16


class Reading(msgspec.Struct, frozen=True):
    """Digests of what was laid under the prompts, and of the files."""

    overlay: bytes
    contents: bytes


async def last(database: Database, batch_id: int) -> Reading | None:
    """Return the last reading of a batch, None if its files have to be read."""
    row = await database.row(
        "SELECT overlay, contents FROM reading WHERE batch_id = ?", (batch_id,)
    )
    return Reading(*row) if row else None


async def keep(database: Database, batch_id: int, overlay: bytes, contents: bytes) -> None:
    """Remember a reading instead of the one before it."""
    await database.rows(
        "INSERT INTO reading (batch_id, overlay, contents) VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET overlay = excluded.overlay, contents = excluded.contents",
        (batch_id, overlay, contents),
    )


async def forget(database: Database, batch_id: int) -> None:
    """Have the files of a batch read the next time."""
    await database.rows("DELETE FROM reading WHERE batch_id = ?", (batch_id,))


async def forget_all(database: Database) -> None:
    """Have the files of all batches read the next time."""
    await database.rows("DELETE FROM reading")


async def forget_unless(database: Database, batch_id: int, overlay: bytes) -> None:
    """Forget a reading that was made with something else laid under the prompts."""
    await database.rows(
        "DELETE FROM reading WHERE batch_id = ? AND overlay <> ?", (batch_id, overlay)
    )


async def count_jobs(database: Database, sources: Sequence[int]) -> int:
    """Return how many jobs have their line in these sources."""
    (count,) = await database.row(_JOBS, (msgspec.json.encode(sources).decode(),)) or (0,)
    return int(count)


# NOT INDEXED: one pass over the table is quicker than a look-up for every job of the batch.
_JOBS = """
SELECT count(*) FROM job NOT INDEXED WHERE source_id IN (SELECT value FROM json_each(?))
"""


async def bad_lines(
    database: Database, source_id: int, *, show: int
) -> tuple[int, list[tuple[int, str]]]:
    """Return how many lines of a source are bad; number and reason of the first `show`."""
    row = await database.row(
        "SELECT count(*) FROM invalid_line WHERE source_id = ?", (source_id,)
    ) or (0,)
    first = await database.rows(
        "SELECT line, reason FROM invalid_line WHERE source_id = ? ORDER BY line LIMIT ?",
        (source_id, show),
    )
    return int(row[0]), [(line, reason) for line, reason in first]
