"""
What `doctor` says about a database: whether it is whole, who holds it, what a dead run left.

Nothing is written, and a run that is at work is not disturbed.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from aiq.clock import rfc3339
from aiq.errors import StoreError, UnknownName
from aiq.run.diagnosis import Check, finding, note, ok
from aiq.run.rescue import kept_for
from aiq.store import inspection, runs
from aiq.store.db import Database
from aiq.store.file_system import refuse_network_file_system
from aiq.store.inspection import Inspection
from aiq.store.lock import is_held
from aiq.store.opening import open_for_reading
from aiq.store.rescue import UnreadableRescue, read_rescue

_MIB = 1024 * 1024
_GIB = 1024 * _MIB
DISK_LOW_BYTES = 1024 * _MIB
DISK_FULL_BYTES = 64 * _MIB
"""The write-ahead log of a run alone may grow to this."""


def disk_check(database: Path) -> Check:
    """Look at the room beside a database."""
    directory = database.absolute().parent
    try:
        free = shutil.disk_usage(directory).free
    except OSError as error:
        return finding(
            "disk", f"{directory}: {error.strerror}", "make the directory, or use `--db`"
        )
    if not os.access(directory, os.W_OK | os.X_OK):
        return finding("disk", f"you cannot write in {directory}", "use another `--db`")
    shown = f"{free // _MIB:,} MiB" if free < 10 * _GIB else f"{free // _GIB:,} GiB"
    text = f"{shown} free in {directory}"
    if free < DISK_FULL_BYTES:
        return finding("disk", text, "free some space, or use another `--db`")
    return note("disk", text) if free < DISK_LOW_BYTES else ok("disk", text)


async def database_checks(path: Path) -> list[Check]:
    """Look at a database as closely as can be done without writing to it."""
    try:
        refuse_network_file_system(path)
        found = await inspection.inspect(path)
    except UnknownName:
        return [ok("database", f"none yet at {path}")]
    except StoreError as error:
        return [finding("database", str(error), error.hint)]
    is_running = is_held(path)
    return [
        _permissions(path, found),
        _integrity(path, found),
        await _holder(path) if is_running else ok("run", "no run is going"),
        *_ledger(found, is_running=is_running),
        *await _kept_outside(path),
        _log(path, is_running=is_running),
    ]


def _permissions(path: Path, found: Inspection) -> Check:
    text = f"{path}, schema {found.schema_version}"
    if not os.access(path, os.W_OK):
        return finding(
            "database", f"{text}; you cannot write it", f"chmod u+w {path}, as its owner"
        )
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        others = f"{text}; prompts and answers are open to other users of this machine"
        return note("database", others, f"chmod 600 {path}")
    return ok("database", text)


def _integrity(path: Path, found: Inspection) -> Check:
    if found.faults:
        text = "damaged: " + "; ".join(found.faults)
        return finding("integrity", text, "restore a copy, or salvage it with `sqlite3 .recover`")
    verify = f"`aiq doctor --verify {shlex.quote(str(path))}` reads the answers too"
    return ok("integrity", f"SQLite's quick_check finds nothing; {verify}")


async def _holder(path: Path) -> Check:
    database = await open_for_reading(path)
    try:
        run = await runs.open_run(database)
    finally:
        await database.close()
    if run is None:
        return ok("run", "another command is at work on it")
    who = f"pid {run.pid} on {run.host}, since {rfc3339(run.started_at)}"
    return ok("run", f"a run is going ({who})")


def _ledger(found: Inspection, *, is_running: bool) -> Iterator[Check]:
    if found.open_attempts != found.leased_jobs:
        text = f"{found.leased_jobs:,} leased jobs and {found.open_attempts:,} open attempts"
        yield finding("leases", text, "this is a bug in aiq, please report it")
    elif found.leased_jobs and not is_running:
        were = "1 job was" if found.leased_jobs == 1 else f"{found.leased_jobs:,} jobs were"
        text = f"{were} in flight when the last run died"
        yield note("leases", text, "`aiq run` settles them and carries on")
    else:
        yield ok("leases", f"{found.leased_jobs:,} in flight")
    if found.possibly_paid:
        text = f"possibly paid without an answer: {found.possibly_paid:,} of the requests"
        yield note("unsettled", text, "`aiq status` shows what they may have cost")
    for source in found.unsealed:
        name = "stdin" if source == "-" else source
        yield note("prompts", f"{name} was not read to its end", "run that file again")


async def _kept_outside(path: Path) -> list[Check]:
    database = await open_for_reading(path)
    try:
        kept = [await _rescue(database, file) for file in await kept_for(database)]
    except StoreError as error:
        return [note("rescue", f"not looked for: {error}", error.hint)]
    finally:
        await database.close()
    return [check for check in kept if check is not None]


async def _rescue(database: Database, file: Path) -> Check | None:
    """Say what a rescue file is good for, None if nothing is missing that it keeps."""
    try:
        rescued = await asyncio.to_thread(read_rescue, file)
    except UnreadableRescue as reason:
        return note("rescue", f"{file} cannot be taken in: {reason}")
    header = rescued.header
    missing = await runs.still_missing(
        database,
        run_id=header.run_id,
        started_at=header.run_started_at,
        settles=rescued.settles,
    )
    if missing is None:
        hint = "delete it when no copy of that one needs it"
        return note("rescue", f"{file} keeps outcomes of another database", hint)
    hint = "`aiq run` takes them in, once there is room"
    kept = f"{file} keeps outcomes that the database could not take"
    return note("rescue", kept, hint) if missing else None


def _log(path: Path, *, is_running: bool) -> Check:
    size = inspection.wal_bytes(path)
    text = f"{size:,} bytes" if size else "empty"
    if size and not is_running:
        return note(
            "write-ahead log", f"{text}, left by a run that died", "the next run folds it in"
        )
    return ok("write-ahead log", text)
