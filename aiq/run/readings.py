"""
Which prompt files are what they were when they were last taken in, so that no line need be read.

A finished file is often run again. Its lines mean what they meant if the files of its batch hold
the same bytes, the same defaults and flags go under them, and nobody has since asked their
questions in another way: `store.readings` forgets a reading when that happens. Then every line is
known, and every bad line is listed already. Standard input cannot be read twice.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence

from aiq.prompts.lines import read_chunks
from aiq.run.halt import Stopped
from aiq.run.request import Overlay
from aiq.run.sources import Source
from aiq.store import readings
from aiq.store.db import Database
from aiq.store.readings import DIGEST_BYTES


class Readings:
    """What is read of the files of one ingest, by batch."""

    def __init__(self, database: Database, overlays: Mapping[int, Overlay]) -> None:
        self._database = database
        self._overlays = overlays
        self._read: dict[int, list[_Contents]] = {}

    async def unchanged(
        self, sources: Sequence[Source], is_stopped: Callable[[], bool]
    ) -> list[Source]:
        """
        Return the sources of batches that are what they were.

        Raises `InputError` for a file that cannot be read, `Stopped` when the user stopped it.
        """
        found: list[Source] = []
        for batch_id in dict.fromkeys(source.batch.id for source in sources):
            own = [source for source in sources if source.batch.id == batch_id]
            if await self._is_unchanged(batch_id, own, is_stopped):
                found += own
        return found

    async def _is_unchanged(
        self, batch_id: int, sources: Sequence[Source], is_stopped: Callable[[], bool]
    ) -> bool:
        last = await readings.last(self._database, batch_id)
        if last is None or last.overlay != self._overlays[batch_id].digest():
            return False
        contents = []
        for source in sources:
            read = await asyncio.to_thread(_read, source, is_stopped)
            if read is None:
                return False
            contents.append(read)
        return last.contents == _digest(contents)

    def begin(self, source: Source) -> Callable[[bytes], None]:
        """Begin with a file; return what is to be told all its bytes."""
        contents = _Contents(source)
        self._read.setdefault(source.batch.id, []).append(contents)
        return contents.add

    async def keep(self, *, is_repeatable: bool) -> None:
        """Remember what was read, for the next time; with `is_repeatable` false, forget it."""
        for batch_id, files in self._read.items():
            if is_repeatable and all(file.source.path is not None for file in files):
                overlay = self._overlays[batch_id].digest()
                await readings.keep(self._database, batch_id, overlay, _digest(files))
            else:
                await readings.forget(self._database, batch_id)


class _Contents:
    """The bytes of one file as a digest."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._hash = hashlib.blake2b(digest_size=DIGEST_BYTES)

    def add(self, chunk: bytes) -> None:
        self._hash.update(chunk)

    def digest(self) -> bytes:
        return self.source.id.to_bytes(8, "big") + self._hash.digest()


def _digest(files: Sequence[_Contents]) -> bytes:
    """Return one digest of files in this order."""
    whole = b"".join(file.digest() for file in files)
    return hashlib.blake2b(whole, digest_size=DIGEST_BYTES).digest()


def _read(source: Source, is_stopped: Callable[[], bool]) -> _Contents | None:
    """Read a file; None: it can be read only once."""
    if source.path is None or not source.path.is_file():
        return None
    contents = _Contents(source)
    for chunk in read_chunks(source.path):
        if is_stopped():
            raise Stopped
        contents.add(chunk)
    return contents
