"""
Which job a line is: the key of each line, and how equal lines without an id are told apart.

A line without an id is known by its digest and its ordinal among equals, counted through the whole
batch. Few lines repeat, so only those are counted, and only the last 100,000 of them in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from aiq.prompts.shapes import digest
from aiq.run.chunks import Line
from aiq.store.ingesting import KnownJob

ORDINALS_KEPT = 100_000
"""Repeated id-less lines whose count is kept in memory; beyond that, counting asks the store."""

Key: TypeAlias = str | bytes
Keyed: TypeAlias = tuple[Key, Line]
"""A line that is a prompt, under the key of its job."""

LookUp: TypeAlias = Callable[[Sequence[Key]], Awaitable[dict[Key, KnownJob]]]


class LineKeys:
    """Gives the lines of one batch their keys, chunk by chunk."""

    def __init__(self) -> None:
        self._ordinals: dict[bytes, int] = {}

    def of(self, lines: Sequence[Line]) -> tuple[list[Keyed], list[Line]]:
        """Give each line its key; return them and the lines whose id stood earlier in the chunk."""
        keyed: dict[Key, Line] = {}
        twice = []
        for line in lines:
            given = line.prompt.id
            if given is None:
                keyed[self._next(digest(line.data), keyed)] = line
            elif given in keyed:
                twice.append(line)
            else:
                keyed[given] = line
        return list(keyed.items()), twice

    async def renumbered(
        self, keyed: Sequence[Keyed], known: dict[Key, KnownJob], look_up: LookUp
    ) -> list[Keyed]:
        """
        Return the lines with their final keys: those without an id whose key stood in an earlier
        chunk are the next of their equals. `known` gains what had to be looked up for that.
        """
        result = []
        taken = {key for key, _ in keyed}
        for key, line in keyed:
            fresh = key
            while isinstance(fresh, bytes) and (
                (fresh in taken and fresh != key) or (fresh in known and known[fresh].is_seen)
            ):
                first = digest(line.data)
                ordinal = self._ordinals.get(first, 1)
                self._count(first, ordinal + 1)
                fresh = _ordinal_key(first, ordinal)
                known |= await look_up([fresh])
            taken.add(fresh)
            result.append((fresh, line))
        return result

    def _next(self, first: bytes, keyed: dict[Key, Line]) -> bytes:
        """Return the key of the next line with this digest: its ordinal among equals counts."""
        ordinal = self._ordinals.get(first, 1 if first in keyed else 0)
        if ordinal:
            self._count(first, ordinal + 1)
        return _ordinal_key(first, ordinal)

    def _count(self, first: bytes, ordinal: int) -> None:
        self._ordinals.pop(first, None)  # what was met last is forgotten last
        if len(self._ordinals) >= ORDINALS_KEPT:
            self._ordinals.pop(next(iter(self._ordinals)))
        self._ordinals[first] = ordinal


def _ordinal_key(first: bytes, ordinal: int) -> bytes:
    if not ordinal:
        return first
    return hashlib.blake2b(first + ordinal.to_bytes(8, "big"), digest_size=16).digest()
