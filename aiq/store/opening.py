"""
Opening a database, which may have to be created or brought to the present schema.

`open_for_run` gives the one writing connection (its owner holds the run lock), `open_for_reading`
a read-only one with short transactions. Both refuse, without writing a byte, what is not an aiq
database of a version they know. SQLite before 3.51.3 can corrupt a WAL when two connections write,
so nobody else ever writes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import LiteralString

from aiq.errors import StoreError, UnknownName
from aiq.store.db import Connection, Database, translated
from aiq.store.file_system import refuse_network_file_system
from aiq.store.place import (
    create_private,
    is_frozen,
    is_locked_in,
    refuse_odd_file,
    refuse_orphaned_log,
)
from aiq.store.schema import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION

OLDEST_SQLITE = (3, 38, 0)
"""STRICT tables came with 3.37, `unixepoch()` with 3.38."""

_COMMON_PRAGMAS = (
    "PRAGMA busy_timeout = 10000",
    "PRAGMA foreign_keys = ON",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA mmap_size = 0",
    "PRAGMA temp_store = FILE",  # scratch tables and sorting grow with the jobs
)
_WRITER_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA cell_size_check = ON",
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA cache_size = -65536",
)
_SCRATCH_TABLES = (
    "CREATE TEMP TABLE seen (job_id INTEGER PRIMARY KEY)",  # met again by an ingest
    "CREATE TEMP TABLE chosen (job_id INTEGER PRIMARY KEY)",  # put back by a requeue
    "CREATE TEMP TABLE moved (job_id INTEGER PRIMARY KEY)",  # cancelled or put back right now
    "CREATE TEMP TABLE requeued (job_id INTEGER PRIMARY KEY)",  # to be read again by a run
    "CREATE TEMP TABLE reread (job_id INTEGER PRIMARY KEY)",  # and that was done
)


async def open_for_run(path: Path) -> Database:
    """
    Open the writing connection, creating or migrating the file; the caller holds the run lock.

    Raises `StoreError` for a foreign, newer or damaged database, or one on a network file system.
    """
    _refuse_old_sqlite()
    refuse_network_file_system(path)
    refuse_odd_file(path)
    refuse_orphaned_log(path)
    create_private(path)
    database = await _connect(path, f"{_uri(path)}?mode=rw")
    try:
        await _refuse_foreign(database)
        await _refuse_version(database, allow_new=True)  # before a pragma writes to the file
        for pragma in (*_WRITER_PRAGMAS, *_COMMON_PRAGMAS):
            await database.rows(pragma)
        await _migrate(database)
        for table in _SCRATCH_TABLES:
            await database.rows(table)
    except BaseException:
        await database.close()
        raise
    return database


async def open_for_reading(path: Path) -> Database:
    """Open a read-only connection; raises `UnknownName` if there is no such database."""
    _refuse_old_sqlite()
    refuse_orphaned_log(path)
    if not path.exists():  # noqa: ASYNC240 - one look before anything else goes on
        raise UnknownName(
            f"there is no database at {path}",
            hint="name one with `--db`, or start with `aiq run prompts.jsonl`",
        )
    refuse_odd_file(path)
    how = "?immutable=1" if is_frozen(path) else "?mode=ro"
    database = await _connect(path, _uri(path) + how)
    try:
        for pragma in _COMMON_PRAGMAS:
            await database.rows(pragma)
        await database.rows("PRAGMA query_only = ON")
        await _refuse_foreign(database)
        await _refuse_version(database, allow_new=False)
    except BaseException as error:
        await database.close()
        if type(error) is StoreError and is_locked_in(path):
            copy = "copy it, with its -wal file, to where you may write, and name that with `--db`"
            raise StoreError(str(error), hint=copy) from error
        raise
    return database


def _refuse_old_sqlite() -> None:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        needed = ".".join(map(str, OLDEST_SQLITE))
        raise StoreError(
            f"this Python comes with SQLite {sqlite3.sqlite_version}, and aiq needs {needed}",
            hint="use a Python that was built with a newer SQLite",
        )


def _uri(path: Path) -> str:
    return path.absolute().as_uri()


async def _connect(path: Path, uri: str) -> Database:
    with translated(path):
        connection = Connection(uri)
        await connection
    return Database(connection, path)


async def _refuse_foreign(database: Database) -> None:
    """Refuse a database that some other program made; an empty file is a new one."""
    (application_id,) = (await database.row("PRAGMA application_id")) or (0,)
    if application_id == APPLICATION_ID:
        return
    (tables,) = (await database.row("SELECT count(*) FROM sqlite_schema")) or (0,)
    if application_id or tables:
        raise StoreError(
            f"{database.path} is a SQLite database of another program",
            hint="name another file with `--db`; this one was not touched",
        )


async def _refuse_version(database: Database, *, allow_new: bool) -> int:
    (version,) = (await database.row("PRAGMA user_version")) or (0,)
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{database.path} was written by a newer aiq"
            f" (schema {version}, this one knows {SCHEMA_VERSION})",
            hint="update aiq, or name another file with `--db`; this one was not touched",
        )
    if version == 0 and not allow_new:
        raise UnknownName(
            f"{database.path} holds no batch yet", hint="start with `aiq run prompts.jsonl`"
        )
    return int(version)


async def _migrate(database: Database) -> None:
    version = await _refuse_version(database, allow_new=True)
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        async with database.transaction():
            for statement in _statements(script):
                await database.rows(statement)
            await database.rows(f"PRAGMA application_id = {APPLICATION_ID}")
            await database.rows(f"PRAGMA user_version = {number}")


def _statements(script: LiteralString) -> Iterable[LiteralString]:
    """Split a migration at the semicolons that end its statements."""
    statement: LiteralString = ""
    for line in script.split("\n"):
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
