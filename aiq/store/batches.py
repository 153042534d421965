"""Batches, and the files they come from."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from aiq.store.db import Database


class Batch(msgspec.Struct, frozen=True):
    """A named set of jobs and the flags it was started with."""

    id: int
    name: str
    flags: bytes


async def batches(database: Database) -> list[Batch]:
    """Return all batches in order of creation."""
    return [Batch(*row) for row in await database.rows(_BATCHES + " ORDER BY id")]


_BATCHES = "SELECT id, name, flags FROM batch"


async def batch_named(database: Database, name: str) -> Batch | None:
    """Return the batch of this name."""
    row = await database.row(_BATCHES + " WHERE name = ?", (name,))
    return Batch(*row) if row else None


async def add_batch(database: Database, name: str, *, flags: bytes, now_us: int) -> Batch:
    """Create a batch."""
    await database.rows(
        "INSERT INTO batch (name, created_at, flags) VALUES (?, ?, ?)", (name, now_us, flags)
    )
    found = await batch_named(database, name)
    if found is None:
        raise RuntimeError("the batch just added is not there")
    return found


async def keep_flags(database: Database, batch_id: int, flags: bytes) -> None:
    """Store the flags a later run is to reuse."""
    await database.rows("UPDATE batch SET flags = ? WHERE id = ?", (flags, batch_id))


async def source_paths(database: Database, batch_id: int) -> list[str]:
    """Return the paths a batch came from."""
    rows = await database.rows(
        "SELECT path FROM source WHERE batch_id = ? ORDER BY id", (batch_id,)
    )
    return [row[0] for row in rows]


async def unsealed(database: Database, batch_id: int | None = None) -> list[tuple[str, str]]:
    """Return the files whose ingest never came to its end and their batches, of one or of all."""
    rows = await database.rows(
        "SELECT source.path, batch.name FROM source JOIN batch ON batch.id = source.batch_id"
        " WHERE (source.sealed_at IS NULL OR source.opened_at IS NOT NULL)"
        " AND coalesce(batch.id = ?, true) ORDER BY source.id",
        (batch_id,),
    )
    return [(path, name) for path, name in rows]


async def open_source(database: Database, batch_id: int, path: str, *, now_us: int) -> int:
    """Return the source row of a path, adding it where it is new; its ingest begins."""
    await database.rows(
        "INSERT INTO source (batch_id, path, opened_at) VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET opened_at = excluded.opened_at",
        (batch_id, path, now_us),
    )
    row = await database.row(
        "SELECT id FROM source WHERE batch_id = ? AND path = ?", (batch_id, path)
    )
    return int(row[0]) if row else 0


async def close_sources(database: Database, sources: Sequence[int]) -> None:
    """End an ingest of known sources that had nothing to change."""
    await database.rows(_CLOSE, (msgspec.json.encode(sources).decode(),))


_CLOSE = """
UPDATE source SET opened_at = NULL WHERE id IN (SELECT value FROM json_each(?))
"""


async def abandon(database: Database, sources: Sequence[int]) -> None:
    """End a refused ingest: known sources are as before, new ones and their batches forgotten."""
    await close_sources(database, sources)
    await database.rows(
        "DELETE FROM source WHERE sealed_at IS NULL AND id IN (SELECT value FROM json_each(?))",
        (msgspec.json.encode(sources).decode(),),
    )
    await database.rows(
        "DELETE FROM batch WHERE NOT EXISTS (SELECT 1 FROM source WHERE batch_id = batch.id)"
    )
