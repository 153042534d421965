"""Lines that are read and parsed together, in a thread of their own."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import msgspec

from aiq.model import Prompt
from aiq.prompts.lines import TOO_LONG, RawLine
from aiq.prompts.shapes import BadLine, parse

CHUNK_LINES = 2000
CHUNK_BYTES = 16 * 1024 * 1024


class Line(msgspec.Struct, frozen=True):
    """A line that is a prompt."""

    number: int
    data: bytes
    prompt: Prompt


class Chunk(msgspec.Struct, frozen=True):
    """Lines that were read together; of the bad ones, number and reason."""

    good: list[Line]
    bad: list[tuple[int, str]]

    def __len__(self) -> int:
        return len(self.good) + len(self.bad)


def next_chunk(lines: Iterator[RawLine], mistyped_keys: dict[str, str]) -> Chunk:
    """Read and parse the next lines: 2,000, or 16 MiB if that comes first."""
    chunk = Chunk([], [])
    size = 0
    for number, data in islice(lines, CHUNK_LINES):
        if data is None:
            chunk.bad.append((number, TOO_LONG))
            continue
        try:
            chunk.good.append(Line(number, data, parse(data, mistyped_keys)))
        except BadLine as bad:
            chunk.bad.append((number, str(bad)))
        size += len(data)
        if size >= CHUNK_BYTES:
            break
    return chunk
