"""
Watches that the database stays where it is while a run writes it.

A file that was deleted or replaced, be it the write-ahead log, takes every commit and loses them
all at the end of the process. That is looked for every five seconds and once more at the end; what
the database holds is then copied.
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
        self._lost: str | None = None

    def begin(self) -> None:
        """Remember which files it is."""
        self._presence = Presence(self._path)

    @property
    def lost(self) -> str | None:
        """What of it was ever found to be deleted or replaced, be it back by now."""
        if self._lost is None and self._presence is not None:
            self._lost = self._presence.lost
        return self._lost

    async def beat(self, tell_lost: Callable[[str], None], note: Callable[[str], None]) -> None:
        """
        Call `tell_lost` once with what was lost; ends then, or by being cancelled.

        `note` is told once if the log grows beyond what it is cut back to, because some program
        goes on reading what was there long ago.
        """
        is_told = False
        while (lost := self.lost) is None:
            size = size_of(log_path(self._path))
            if size > LOG_BYTES and not is_told:
                is_told = True
                note(
                    f"the write-ahead log has grown to {size // 2**20:,} MiB: another program keeps"
                    f" reading {self._path}; closing it there lets the log shrink"
                )
            await self._clock.sleep(BEAT_S)
        tell_lost(lost)

    async def check(self, database: Database) -> None:
        """Raise `StoreMoved` if it was lost, with a copy of all that was ever committed."""
        lost = self.lost
        if lost is None:
            return
        what = f"{lost} was deleted or replaced while a run was using it"
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
