"""
Whether the files of a database are still the ones that were opened.

A file that is deleted or replaced lives on for whoever has it open: every commit succeeds, and all
of it is gone with the process. `keep_copy` writes what such a database holds to a new file.

The write-ahead log is such a file too. SQLite keeps the one it has opened, empty or not, until the
last connection closes, so that another one, or none, is never its own doing while a run goes.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from aiq.errors import StoreError
from aiq.store.db import Database
from aiq.store.place import log_path
from aiq.store.rescue import private_name, sync_directory, temporary_directories


class Presence:
    """Remembers which files the paths of an open database led to."""

    def __init__(self, path: Path) -> None:
        self._first = {
            f"database {path}": (path, _identity(path)),
            f"database {path}: its write-ahead log": (log_path(path), _identity(log_path(path))),
        }

    @property
    def lost(self) -> str | None:
        """The first of them whose path leads to another file now, or to none."""
        for name, (path, first) in self._first.items():
            if first is not None and _identity(path) != first:
                return name
        return None


async def keep_copy(database: Database) -> Path:
    """Copy a database to a new private file that is durable; raises `StoreError`."""
    real = database.path.resolve()
    places = [(real.parent, real.name)]
    places += [(directory, private_name(real)) for directory in temporary_directories()]
    refusals = []
    for directory, stem in places:
        path = directory / f"{stem}.copy-{secrets.token_hex(4)}"
        try:
            return await _copied(database, path)
        except (OSError, StoreError) as error:
            refusals.append(f"{directory}: {error}")
    raise StoreError("; ".join(refusals))


async def _copied(database: Database, path: Path) -> Path:
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        await database.copy(path)
        os.fsync(descriptor)
        sync_directory(path.parent)
    except BaseException:
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - nothing else goes on any more
        raise
    finally:
        os.close(descriptor)
    return path


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
