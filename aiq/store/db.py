"""
Opening a database, and the only door to aiosqlite.

`open_for_run` gives the one writing connection (its owner holds the run lock), `open_for_reading`
a read-only one with short transactions. Both refuse, without writing a byte, what is not an aiq
database of a version they know. SQLite before 3.51.3 can corrupt a WAL when two connections write,
so nobody else ever writes.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, LiteralString, TypeAlias, TypeVar

import aiosqlite  # noqa: TID251 - this is the door

from aiq.errors import StoreError, UnknownName
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
)

T = TypeVar("T")
Row: TypeAlias = tuple[Any, ...]
Parameters: TypeAlias = Sequence[Any] | Mapping[str, Any]


class Connection(aiosqlite.Connection):
    """One that can also be handed work of many statements, for one hop to its thread."""

    def __init__(self, uri: str) -> None:
        super().__init__(
            partial(sqlite3.connect, uri, uri=True, isolation_level=None, cached_statements=512),
            iter_chunk_size=64,
        )

    async def in_one_hop(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do work on the thread; there until it ends, also when the caller is cancelled."""
        done: T = await self._execute(work, self._conn)  # type: ignore[no-untyped-call]
        return done


class Database:
    """One connection. Every call is one hop to its thread; errors leave as `StoreError`."""

    def __init__(self, connection: Connection, path: Path) -> None:
        self._connection = connection
        self.path = path

    async def rows(self, sql: LiteralString, parameters: Parameters = ()) -> list[Row]:
        """Run one statement and return all its rows."""
        with translated(self.path):
            return [*map(tuple, await self._connection.execute_fetchall(sql, parameters))]

    async def row(self, sql: LiteralString, parameters: Parameters = ()) -> Row | None:
        """Return the first row of a statement, or None."""
        found = await self.rows(sql, parameters)
        return found[0] if found else None

    async def many(self, sql: LiteralString, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement once per row of parameters."""
        if rows:
            with translated(self.path):
                await self._connection.executemany(sql, rows)

    async def changed(self, sql: LiteralString, parameters: Parameters = ()) -> int:
        """Run one statement and return how many rows it changed."""
        with translated(self.path):
            cursor = await self._connection.execute(sql, parameters)
            return cursor.rowcount

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """
        Hold one write transaction; it commits when the block ends and rolls back when it raises.

        Call it only from a task that is not cancelled in the middle: a cancelled call of the
        connection still runs on its thread.
        """
        await self.rows("BEGIN IMMEDIATE")
        try:
            yield
            await self.rows("COMMIT")
        except BaseException:
            with contextlib.suppress(StoreError):
                await self.rows("ROLLBACK")
            raise

    async def at_once(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do work of many statements in one hop, as part of the transaction that is open."""
        with translated(self.path):
            return await self._connection.in_one_hop(work)

    async def transact(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """
        Do work in one write transaction and one hop; what it raises leaves nothing written.

        Call it only from a task that is not cancelled in the middle: the work goes on, and is
        committed, and nobody hears of it.

        The way to the thread and back, a turn of the busy event loop each time, costs more than
        most statements: with one for every statement, a group of 64 writes took 11 ms.
        """
        await self.at_once(partial(_transact, work))

    async def teach(self, name: str, function: Callable[[Any], Any]) -> None:
        """Let statements call a function of one argument that depends on nothing else."""
        with translated(self.path):
            await self._connection.create_function(name, 1, function, deterministic=True)

    async def interrupt(self) -> None:
        """Break off the statement at work, which fails: for readers whose user will not wait."""
        await self._connection.interrupt()

    async def close(self) -> None:
        """Close the connection; the thread ends."""
        await self._connection.close()

    async def copy(self, target: Path) -> None:
        """Write all that is committed into another file, which is empty or does not exist."""
        await self.rows("VACUUM INTO ?", (str(target),))

    async def checkpoint(self) -> None:
        """Fold the write-ahead log into the file, so that the database is one file again."""
        await self.rows("PRAGMA wal_checkpoint(TRUNCATE)")


def _transact(work: Callable[[sqlite3.Connection], None], connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        work(connection)
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours, each with what to do about it."""
    try:
        yield
    except sqlite3.Error as error:
        raise _store_error(error, path) from error


def _store_error(error: sqlite3.Error, path: Path) -> StoreError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    hints = {
        sqlite3.SQLITE_FULL: "free some space, then give the same command again",
        sqlite3.SQLITE_IOERR: "check the disk (space, quota, health), then try again",
        sqlite3.SQLITE_BUSY: "another program holds the database; close it and try again",
        sqlite3.SQLITE_CORRUPT: "restore a copy, or salvage it with `sqlite3 FILE .recover`",
        sqlite3.SQLITE_NOTADB: "name another file with `--db`; this one was not touched",
        sqlite3.SQLITE_READONLY: "make the file and its directory writable, or use another `--db`",
        sqlite3.SQLITE_CANTOPEN: "check that the directory exists and is writable",
    }
    return StoreError(f"database {path}: {error}", hint=hints.get(code))


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


def is_busy(error: BaseException) -> bool:
    """Whether a write failed only because somebody else holds the file."""
    cause = error.__cause__
    code = getattr(cause, "sqlite_errorcode", 0)
    return isinstance(error, StoreError) and (code & 0xFF) == sqlite3.SQLITE_BUSY
