"""One connection to a database, and the only door to aiosqlite."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, LiteralString, TypeAlias, TypeVar

import aiosqlite  # noqa: TID251 - this is the door

from aiq.errors import StoreError

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

    async def checkpoint(self) -> bool:
        """
        Fold the write-ahead log into the file, so that the database is one file again.

        False: somebody is reading what only the log holds, and not all of it could be folded.
        """
        row = await self.row("PRAGMA wal_checkpoint(TRUNCATE)")
        return row is not None and row[0] == 0


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


def is_busy(error: BaseException) -> bool:
    """Whether a write failed only because somebody else holds the file."""
    cause = error.__cause__
    code = getattr(cause, "sqlite_errorcode", 0)
    return isinstance(error, StoreError) and (code & 0xFF) == sqlite3.SQLITE_BUSY
