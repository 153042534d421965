"""
A job database looked at without writing to it: is it whole, and what did a dead run leave.

For `doctor`. The connection is read-only, and a run that is at work is not disturbed.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import LiteralString

import msgspec

from aiq.store.batches import unsealed
from aiq.store.db import Database
from aiq.store.opening import open_for_reading

FAULTS_SHOWN = 3
"""How many faults of a damaged file are named."""

_REPAIRED = ((3, 44, 6), (3, 50, 7), (3, 51, 3))
"""The releases, of their lines and of all later ones, in which two writers cannot corrupt a WAL."""


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """What a database is like."""

    schema_version: int
    faults: tuple[str, ...]
    """The first findings of SQLite's own check; none if the file is whole."""
    leased_jobs: int
    """In flight, or left so by a run that died."""
    open_attempts: int
    """Without an outcome; as many as there are leased jobs, or the ledger is wrong."""
    possibly_paid: int
    """Ended without anybody knowing whether they were paid."""
    unsealed: tuple[str, ...]
    """Prompt files that were not read to their end."""


def sqlite_version() -> tuple[int, int, int]:
    """Return the version of the SQLite that is linked."""
    major, minor, patch = sqlite3.sqlite_version_info
    return major, minor, patch


def has_wal_defect(version: tuple[int, int, int]) -> bool:
    """Whether two writing connections could corrupt a write-ahead log; aiq only ever has one."""
    same_line = [fixed for fixed in _REPAIRED if fixed[:2] == version[:2]]
    return version < (same_line[0] if same_line else _REPAIRED[-1])


def wal_bytes(path: Path) -> int:
    """Return the size of the write-ahead log beside a database, 0 where there is none."""
    try:
        return path.with_name(path.name + "-wal").stat().st_size
    except OSError:
        return 0


async def inspect(path: Path) -> Inspection:
    """
    Read a database from end to end and return what it is like.

    Raises:
        UnknownName: there is no such database, or an empty one.
        StoreError: it is foreign, newer, or too damaged to be read.
    """
    database = await open_for_reading(path)
    try:
        faults = await database.rows(f"PRAGMA quick_check({FAULTS_SHOWN})")
        await database.rows("BEGIN")  # a run may be at work: one instant for all counts
        return Inspection(
            schema_version=await _count(database, "PRAGMA user_version"),
            faults=tuple(str(fault) for (fault,) in faults if fault != "ok"),
            leased_jobs=await _count(database, _LEASED),
            open_attempts=await _count(database, _OPEN),
            possibly_paid=await _count(database, _POSSIBLY_PAID),
            unsealed=tuple(path for path, _ in await unsealed(database)),
        )
    finally:
        await database.close()


# CROSS JOIN fixes the order, batches first, so that the index by state is used.
_LEASED = """
SELECT count(*) FROM batch CROSS JOIN job ON job.batch_id = batch.id AND job.state = 'running'
"""
_OPEN = "SELECT count(*) FROM attempt WHERE kind IS NULL"
_POSSIBLY_PAID = "SELECT count(*) FROM attempt WHERE billed = 'maybe'"


async def _count(database: Database, sql: LiteralString) -> int:
    (count,) = await database.row(sql) or (0,)
    return int(count)
