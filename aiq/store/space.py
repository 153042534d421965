"""How much of a database's file is in use, and how the rest is given back."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from aiq.store.db import Database


class Space(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of a database's file: all of them, and those that hold nothing."""

    total: int
    free: int


async def space(database: Database) -> Space:
    """Return how much of the file is in use."""
    (size,) = await database.row("PRAGMA page_size") or (0,)
    (pages,) = await database.row("PRAGMA page_count") or (0,)
    (free,) = await database.row("PRAGMA freelist_count") or (0,)
    return Space(total=size * pages, free=size * free)


async def give_back(database: Database) -> None:
    """Write the database anew without its free pages; whatever happens, it stays whole."""
    await database.rows("VACUUM")


def scratch_directory() -> Path:
    """Return where SQLite writes the new file before it becomes the old one's content."""
    named = [os.environ.get(name) for name in ("SQLITE_TMPDIR", "TMPDIR")]
    places = [*filter(None, named), "/var/tmp", "/usr/tmp", "/tmp"]  # noqa: S108 - SQLite's own list
    fit = (Path(one) for one in places if os.access(one, os.W_OK | os.X_OK) and Path(one).is_dir())
    return next(fit, Path())
