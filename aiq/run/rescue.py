"""
What a run does with answers that its database cannot take: keep them, and later bring them home.

`keep_unsaved` is the last act of a run whose commits fail, `bring_home` the first of the next one,
before anything that a dead run left is settled. A rescue file goes only when its outcomes are in
the database for good.

A file is found by the database's name, or, because that may have changed, by its run: number,
instant to the microsecond, process and host together are no other database's. They are a copy's,
though, and how many copies there are nobody knows. So a file that has not the database's name is
taken in, which changes nothing the second time, and stays for the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from aiq.errors import StoreError
from aiq.model import Billed, Kind
from aiq.store import rescue, runs
from aiq.store.db import Database
from aiq.store.rescue import Header, Origin, Rescued, UnreadableRescue
from aiq.store.runs import BegunRun
from aiq.store.writer import Write
from aiq.store.writes import Settle


def keep_unsaved(database: Path, run: BegunRun, writes: Sequence[Write]) -> str:
    """
    Write what is not stored into a rescue file; return the sentence that says so.

    The ends of requests that were never sent are kept too: a commit whose last step fails may have
    happened all the same, and then their leases must not count as possibly paid.
    """
    settles = [write for write in writes if type(write) is Settle]
    if not settles:
        return "no answer is missing in it"
    sent = _outcomes(sum(_was_sent(settle) for settle in settles))
    header = Header(
        run_id=run.id,
        run_started_at=run.started_at,
        outcomes=len(settles),
        origin=Origin(pid=run.pid, host=run.host),
    )
    try:
        path = rescue.write_rescue(database, header, settles)
    except StoreError as error:
        return f"{sent} could be stored nowhere, and may have to be asked and paid again ({error})"
    return f"{sent} that it could not take are kept in {path}"


def _was_sent(settle: Settle) -> bool:
    return settle.kind != Kind.CANCELLED or settle.billed != Billed.NO


async def kept_for(database: Database) -> list[Path]:
    """Return what may be rescue files of a database: by its name, and those of its runs."""
    others = await asyncio.to_thread(rescue.find_others, database.path)
    return await _named(database) + [p for p in others if await _is_of_a_run(database, p)]


async def _named(database: Database) -> list[Path]:
    return await asyncio.to_thread(rescue.find_rescues, database.path)


async def _is_of_a_run(database: Database, path: Path) -> bool:
    try:
        header = await asyncio.to_thread(rescue.read_header, path)
    except UnreadableRescue:
        return False
    return header.origin is not None and await runs.is_known(
        database,
        run_id=header.run_id,
        started_at=header.run_started_at,
        pid=header.origin.pid,
        host=header.origin.host,
    )


async def bring_home(database: Database, note: Callable[[str], None]) -> None:
    """
    Store what earlier runs had to keep outside the database.

    Raises `StoreError` if it cannot be stored now either; every rescue file then stays.
    """
    for path in await kept_for(database):
        try:
            rescued = await asyncio.to_thread(rescue.read_rescue, path)
        except UnreadableRescue as reason:
            note(f"{path} was left alone: {reason}")
            continue
        try:
            await _take_in(database, rescued, note)
        except (OSError, StoreError) as error:
            raise StoreError(
                f"{error}; what {path} keeps for it is still there",
                hint=getattr(error, "hint", None) or "free some space, then try again",
            ) from error


async def _take_in(database: Database, rescued: Rescued, note: Callable[[str], None]) -> None:
    header = rescued.header
    count = await runs.take_in(
        database,
        run_id=header.run_id,
        started_at=header.run_started_at,
        settles=rescued.settles,
    )
    if count is None:
        if header.origin is None:  # else its own database finds it, and nobody need be told
            note(f"{rescued.path} was left alone: it belongs to another database")
        return
    # A commit after a failed one is not proof enough: the log may hold pages that never reached
    # the disk. A checkpoint writes them anew; while a reader keeps it from that, the file stays.
    is_on_disk = await database.checkpoint()
    is_named = is_on_disk and rescued.path in await _named(database)
    path = await asyncio.to_thread(rescue.remove_rescue, rescued) if is_named else rescued.path
    if rescued.missing and (is_named or count):
        note(
            f"{_outcomes(rescued.missing)} in {path} cannot be read: the file is damaged; they"
            " count as possibly paid"
        )
    if count:
        note(f"{_outcomes(count)} that an earlier run could not store were taken in")
    if not is_on_disk:
        note(f"{path} stays until no other program reads the database: give the command again then")
    elif count and not is_named:
        note(f"{path} stays; delete it when no copy of the database needs it")


def _outcomes(count: int) -> str:
    return f"{count:,} outcome{'' if count == 1 else 's'}"
