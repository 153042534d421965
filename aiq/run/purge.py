"""
`aiq purge`: finished jobs that are old, or the texts of their answers, removed for good.

It holds the right to write the database, as a run does, but is none: it leaves the newest run, and
what that was told, as they are. Each chunk is a transaction of its own, so it may be killed at any
point and called again: what is gone is gone whole, and the rest untouched.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from aiq.clock import Clock
from aiq.errors import Refused, StoreError, UnknownName
from aiq.run import rescue
from aiq.run.ownership import owned_database
from aiq.run.watch import Watch
from aiq.store import batches, purging, runs, space
from aiq.store.db import Database
from aiq.store.opening import open_for_reading
from aiq.store.purging import Extent, Selection

WORTH_IT = 0.1
"""The share of a file that has to be of no use before all of it is written anew."""

_SPARE = 16 * 1024 * 1024


class Purge(msgspec.Struct, frozen=True, kw_only=True):
    """What to remove: of one batch or of all, what ended before an instant."""

    database: Path
    batch: str | None
    before_us: int
    answers_only: bool


class Purged(msgspec.Struct, frozen=True, kw_only=True):
    """What was removed, and what became of the file."""

    removed: Extent
    bytes_before: int
    bytes_after: int
    kept_bytes: int
    """Free, but still part of the file: later runs use them."""
    obstacle: str | None = None
    """Why they could not be given back."""


async def foreseen(purge: Purge) -> Extent:
    """
    Return what a purge would remove; reads only, also beside a run.

    Raises:
        UnknownName: there is no such database or batch.
        StoreError: the database cannot be read.
    """
    database = await open_for_reading(purge.database)
    try:
        return await purging.extent(database, await _selection(database, purge))
    finally:
        await database.close()


async def carry_out(
    purge: Purge, clock: Clock, *, advanced: Callable[[int], None] = lambda _: None
) -> Purged:
    """
    Remove it, and give the space back where that is worth it and there is room to do so.

    `advanced` is told after every commit how many jobs that was.

    Raises:
        UnknownName: there is no such database or batch.
        Refused: a run left something behind that only the next one can settle.
        StoreError: a run is at work on the database, or it cannot be used.
    """
    watch = Watch(purge.database, clock)
    owned = owned_database(purge.database, watch, may_be_new=False, wants_files=False)
    async with owned as database:
        selection = await _selection(database, purge)
        await _refuse_unsettled(database)
        await runs.recover(database, now_us=clock.utc_us(), fail_unknown=False)
        try:
            return await _purged(database, selection, advanced)
        except asyncio.CancelledError:
            await database.interrupt()  # or leaving would wait for the whole file to be written
            raise


async def _selection(database: Database, purge: Purge) -> Selection:
    found = await batches.batches(database)
    wanted = [one.id for one in found if purge.batch in (None, one.name)]
    if purge.batch is not None and not wanted:
        raise UnknownName(f"there is no batch `{purge.batch}`", hint="`aiq status` lists them")
    return Selection(
        batches=tuple(wanted),
        before_us=purge.before_us,
        last_ended_us=await runs.last_ended(database),
        answers_only=purge.answers_only,
    )


async def _refuse_unsettled(database: Database) -> None:
    """Refuse where an answer may still come home: its job must not be gone by then."""
    first = "`aiq run` settles that first"
    if kept := await rescue.kept_for(database):
        raise Refused(
            f"{kept[0]} keeps answers that the database could not take",
            hint=f"{first}; a file that stays, and of which `aiq run` is silent, is of another one",
        )
    if left := await purging.leased(database):
        raise Refused(f"the last run died with {left:,} job(s) in flight", hint=first)


async def _purged(
    database: Database, selection: Selection, advanced: Callable[[int], None]
) -> Purged:
    await purging.prepare(database)
    before = await space.space(database)
    removed, after = Extent(), 0
    while chunk := await purging.purge_some(database, selection, after=after):
        removed.add(chunk.removed)
        advanced(chunk.removed.jobs)
        after = chunk.last
    if not selection.answers_only and removed.jobs:
        await purging.find_newest(database)
    obstacle = await _give_back(database, removed) if removed.jobs else None
    now = await space.space(database)
    return Purged(
        removed=removed,
        bytes_before=before.total,
        bytes_after=now.total,
        kept_bytes=now.free,
        obstacle=obstacle,
    )


async def _give_back(database: Database, removed: Extent) -> str | None:
    """Write the file anew if much of it is free; return why not, where it should have been."""
    used = await space.space(database)
    # A page that has lost some of its texts is no free page, and still has room to give back.
    if used.free + removed.bytes < WORTH_IT * used.total:
        return None
    if obstacle := _no_room(database.path, used.total - used.free):
        return obstacle
    try:
        await space.give_back(database)
    except StoreError as error:
        return str(error)
    return None


def _no_room(path: Path, live: int) -> str | None:
    """
    Return why a file with so many bytes in use cannot be written anew.

    SQLite writes it twice: as a scratch file, and from there into the log beside the database.
    """
    scratch, home = space.scratch_directory(), path.resolve().parent
    needed = {scratch: live + _SPARE, home: live + _SPARE}
    if scratch.stat().st_dev == home.stat().st_dev:
        needed = {home: 2 * live + _SPARE}
    for directory, size in needed.items():
        free = shutil.disk_usage(directory).free
        if free < size:
            mib = 1024 * 1024
            return (
                f"that needs {size // mib:,} MiB in {directory}, where {free // mib:,} MiB are free"
            )
    return None
