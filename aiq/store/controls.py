"""
What operators told runs on this database, and which providers one of them has switched off.

A row is never changed, so the rows are a log as well: the newest that names a provider says whether
it is switched off.
"""

from __future__ import annotations

import msgspec

from aiq.store.db import Database

DISABLE, ENABLE = "disable", "enable"
"""The commands that outlast their run."""

SHOWN = 20


class ControlRow(msgspec.Struct, frozen=True):
    """One thing that was told, in microseconds since the epoch."""

    at: int
    command: str
    argument: str | None


async def record(
    database: Database, *, run_id: int | None, at: int, command: str, argument: str | None
) -> None:
    """Write down what was told; `run_id` None: no run was going."""
    async with database.transaction():
        await database.rows(
            "INSERT INTO control (run_id, at, command, argument) VALUES (?, ?, ?, ?)",
            (run_id, at, command, argument),
        )


async def switched_off(database: Database) -> dict[str, int]:
    """Return since when, by provider, it is switched off."""
    if not await _is_known(database):
        return {}
    rows = await database.rows(_NEWEST, (DISABLE, ENABLE))
    return {provider: at for provider, command, at, _ in rows if command == DISABLE}


# Of a row that max() chooses, SQLite takes the other columns from the same row.
_NEWEST = """
SELECT argument, command, at, max(id) FROM control WHERE command IN (?, ?) GROUP BY argument
"""


async def of_last_run(database: Database) -> list[ControlRow]:
    """Return what the newest run was told, the latest twenty, in order."""
    if not await _is_known(database):
        return []
    rows = await database.rows(_OF_LAST_RUN, (SHOWN,))
    return [ControlRow(*row) for row in reversed(rows)]


_OF_LAST_RUN = """
SELECT at, command, argument FROM control WHERE run_id = (SELECT max(id) FROM run)
ORDER BY id DESC LIMIT ?
"""


async def latest(database: Database, limit: int) -> list[ControlRow]:
    """Return what was ever told, runs or the database itself, the latest, in order."""
    if not await _is_known(database):
        return []
    rows = await database.rows(
        "SELECT at, command, argument FROM control ORDER BY id DESC LIMIT ?", (limit,)
    )
    return [ControlRow(*row) for row in reversed(rows)]


async def paused_since(database: Database) -> int | None:
    """Return since when the newest run is paused; None: it is not."""
    if not await _is_known(database):
        return None
    row = await database.row(_LAST_PAUSE)
    return row[1] if row and row[0] == "pause" else None


_LAST_PAUSE = """
SELECT command, at FROM control
WHERE run_id = (SELECT max(id) FROM run) AND command IN ('pause', 'resume')
ORDER BY id DESC LIMIT 1
"""


async def is_provider(database: Database, name: str) -> bool:
    """Whether a provider of this name was ever asked on this database."""
    row = await database.row("SELECT 1 FROM candidate WHERE provider = ? LIMIT 1", (name,))
    return row is not None


async def _is_known(database: Database) -> bool:
    """Whether there is the table: reading an older database does not migrate it."""
    found = await database.row("SELECT 1 FROM sqlite_schema WHERE name = 'control'")
    return found is not None
