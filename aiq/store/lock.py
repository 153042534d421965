"""
One run per database: an operating-system lock on a side file, held for life.

The kernel drops the lock when its holder dies, however it dies, so whoever gets it knows that
every leased job belongs to a dead run. The side file stays, because removing a lock file races
with the next one who opens it. Who holds the lock is written in the database's `run` table, for
messages only.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from aiq.errors import StoreError

WAIT_S = 1.0
"""How long a run tries: long enough for a `status` that looks at the lock, or a run that ends."""


def lock_path(database: Path) -> Path:
    """Return the side file that is locked for this database."""
    real = database.resolve()
    return real.with_name(real.name + ".lock")


class RunLock:
    """The right to write a database."""

    def __init__(self, database: Path) -> None:
        self.path = lock_path(database)
        self._lock = FileLock(self.path, mode=0o600, thread_local=False)

    def acquire(self, *, wait_s: float = WAIT_S) -> bool:
        """Try for `wait_s`; False means that another run holds it. Raises `StoreError`."""
        if not self.path.parent.exists():  # filelock would make it, and hide a mistyped path
            raise StoreError(
                f"{self.path.parent} does not exist",
                hint="make the directory, or use another `--db`",
            )
        try:
            self._lock.acquire(timeout=wait_s, poll_interval=0.05)
        except Timeout:
            return False
        except OSError as error:
            raise StoreError(
                f"{self.path} cannot be locked: {error.strerror or error}",
                hint="check that the directory exists and is writable, or use another `--db`",
            ) from error
        return True

    def release(self) -> None:
        """Give it back; a dead process gives it back by dying."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def is_held(database: Path) -> bool:
    """Whether a run is at work on the database, found out without creating anything."""
    path = lock_path(database)
    if not path.exists() or not os.access(path, os.W_OK):
        return False
    lock = RunLock(database)
    if lock.acquire(wait_s=0):
        lock.release()
        return False
    return True
