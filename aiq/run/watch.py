"""
Watches that the database stays where it is while a run writes it.

A deleted or replaced file takes every commit and loses them all at the end of the process. It is
looked for every five seconds and once more at the end; what it holds is then copied.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from aiq.clock import Clock
from aiq.errors import StoreError, StoreMoved
from aiq.run.room import LOG_BYTES
from aiq.store.db import Database
from aiq.store.place import log_path, size_of
from aiq.store.presence import Presence, keep_copy

BEAT_S = 5.0


class Watch:
    """Watches one database; `begin` comes when it has been opened."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._presence: Presence | None = None

    def begin(self) -> None:
        """Remember which file it is."""
        self._presence = Presence(self._path)

    @property
    def is_lost(self) -> bool:
        """Whether it was deleted or replaced since."""
        return self._presence is not None and self._presence.is_lost

    async def beat(self, lost: Callable[[], None], note: Callable[[str], None]) -> None:
        """
        Call `lost` once if it gets lost; ends then, or by being cancelled.

        `note` is told once if the log grows beyond what it is cut back to, because some program
        goes on reading what was there long ago.
        """
        is_told = False
        while not self.is_lost:
            size = size_of(log_path(self._path))
            if size > LOG_BYTES and not is_told:
                is_told = True
                note(
                    f"the write-ahead log has grown to {size // 2**20:,} MiB: another program keeps"
                    f" reading {self._path}; closing it there lets the log shrink"
                )
            await self._clock.sleep(BEAT_S)
        lost()

    async def check(self, database: Database) -> None:
        """Raise `StoreMoved` if it was lost, with a copy of all that was ever committed."""
        if not self.is_lost:
            return
        what = f"database {self._path} was deleted or replaced while a run was using it"
        try:
            copy = await keep_copy(database)
        except StoreError as error:
            raise StoreError(
                f"{what}, and what it held could not be copied ({error})",
                hint="free some space; requests of this run may have to be asked and paid again",
            ) from error
        with contextlib.suppress(StoreError):  # its log must not be taken for another file's
            await database.checkpoint()
        raise StoreMoved(
            f"{what}; all that it held, with every answer, is kept in {copy}",
            hint="carry on with that copy, or put it back in its place first",
            copy=copy,
        )
