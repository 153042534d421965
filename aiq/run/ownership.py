"""The right to write a database: one run has it, from the lock to the last checkpoint."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from aiq.clock import rfc3339
from aiq.errors import AiqError, Refused, StoreError, StoreInUse, UnknownName
from aiq.run.watch import Watch
from aiq.store import runs
from aiq.store.db import Database
from aiq.store.lock import RunLock
from aiq.store.opening import open_for_reading, open_for_run


@contextlib.asynccontextmanager
async def owned_database(
    path: Path, watch: Watch | None, *, may_be_new: bool, wants_files: bool
) -> AsyncIterator[Database]:
    """
    Hold the lock and the writing connection while the block runs; leave one whole file behind.

    `watch` is for who holds it for longer; `wants_files` says that a prompt file would make a new
    database welcome.

    Raises:
        UnknownName: there is no such database, and it may not be a new one.
        StoreInUse: another run holds it.
        StoreError: it cannot be used, or it was lost meanwhile.
    """
    if not may_be_new and not path.exists():  # noqa: ASYNC240 - one look before anything goes on
        hint = "name one with `--db`"
        if wants_files:
            hint += ", or a prompt file: `aiq run prompts.jsonl`"
        raise UnknownName(f"there is no database at {path}", hint=hint)
    lock = RunLock(path)
    if not await asyncio.to_thread(lock.acquire):
        raise await _in_use(path)
    with lock:
        database = await open_for_run(path)
        if watch is not None:
            watch.begin()
        try:
            try:
                yield database
            finally:
                if watch is not None:
                    await watch.check(database)
            with contextlib.suppress(StoreError):  # what is committed stays so in the log too
                await database.checkpoint()
        finally:
            await database.close()


async def _in_use(path: Path) -> AiqError:
    """Say who holds the database."""
    holder, hint = "another command", "wait until it has ended"
    with contextlib.suppress(StoreError, Refused):
        database = await open_for_reading(path)
        try:
            run = await runs.open_run(database)
        finally:
            await database.close()
        if run is not None:
            holder = f"a run (pid {run.pid} on {run.host}, since {rfc3339(run.started_at)})"
            hint += ", or stop it with Ctrl-C or `aiq ctl stop`; `aiq status` shows how far it is"
    return StoreInUse(f"database {path} is in use by {holder}", hint=hint)
