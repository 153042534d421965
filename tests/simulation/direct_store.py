"""
The store's connection without its thread: the same SQL on a real file, done when the call returns.

A process can die here: before or after any statement, and from then on nothing reaches the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

from aiq.store import opening
from aiq.store.db import Database, translated

T = TypeVar("T")


class Power:
    """
    Whether a simulated process lives, and at which of its statements something goes wrong.

    `trip` is called with each statement before and after it; what it raises, the statement raises.
    """

    def __init__(
        self, trip: Callable[[str, bool], None] | None = None, *, commit_s: float = 0.0
    ) -> None:
        """`commit_s` is how long the disk takes over a commit; the run goes on meanwhile."""
        self.is_on = True
        self.commit_s = commit_s
        self.statements = 0
        self._trip = trip

    def before(self, sql: str) -> None:
        self.refuse_dead()
        self.statements += 1
        if self._trip is not None:
            self._trip(sql, False)
            self.refuse_dead()

    def after(self, sql: str) -> None:
        if self._trip is not None:
            self._trip(sql, True)
            self.refuse_dead()

    def refuse_dead(self) -> None:
        """Raise what a dead process would not live to see."""
        if not self.is_on:
            raise sqlite3.OperationalError("the process is dead")


class _Connection:
    """What `Database` calls of an aiosqlite connection."""

    def __init__(self, uri: str, power: Power) -> None:
        self._power = power
        self._sqlite = sqlite3.connect(uri, uri=True, isolation_level=None, cached_statements=512)

    async def execute_fetchall(self, sql: str, parameters: Any = ()) -> list[Any]:
        self._power.before(sql)
        if sql == "COMMIT":
            await self._wait_for_disk()
        found = self._sqlite.execute(_unsynced(sql), parameters).fetchall()
        self._power.after(sql)
        return found

    async def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        self._power.before(sql)
        cursor = self._sqlite.execute(sql, parameters)
        self._power.after(sql)
        return cursor

    async def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> sqlite3.Cursor:
        self._power.before(sql)
        cursor = self._sqlite.executemany(sql, rows)
        self._power.after(sql)
        return cursor

    async def in_one_hop(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The disk takes its time before the work here, which nobody can tell from after it."""
        await self._wait_for_disk()
        return work(_Watched(self._sqlite, self._power))  # type: ignore[arg-type] # what is called of it

    async def _wait_for_disk(self) -> None:
        if self._power.commit_s:
            # Who is cancelled meanwhile does not stop the disk.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(self._power.commit_s)
            self._power.refuse_dead()

    async def close(self) -> None:
        # Some cursor that a traceback still holds would keep a dead process's lock alive.
        self._sqlite.rollback()
        self._sqlite.close()


class _Watched:
    """What work in one go calls of a connection."""

    def __init__(self, connection: sqlite3.Connection, power: Power) -> None:
        self._sqlite = connection
        self._power = power

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        self._power.before(sql)
        cursor = self._sqlite.execute(sql, parameters)
        self._power.after(sql)
        return cursor


def _unsynced(sql: str) -> str:
    """Nothing here survives the machine anyway, and the disk's time is not the point."""
    return sql.replace("synchronous = FULL", "synchronous = OFF")


@contextlib.contextmanager
def connected_directly(power: Power) -> Iterator[None]:
    """Let every database that is opened in the block speak to its file directly."""

    async def connect(path: Path, uri: str) -> Database:
        with translated(path):
            return Database(_Connection(uri, power), path)  # type: ignore[arg-type] # as good as one

    with mock.patch.object(opening, "_connect", connect):
        yield
