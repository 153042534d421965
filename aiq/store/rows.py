"""
Statements over many rows at once, as multi-row VALUES.

One statement for a chunk costs one hand-over of the interpreter lock instead of one per row, and
while it runs the rest of the program goes on.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, LiteralString

from aiq.store.db import Database

CHUNKS = (256, 64, 16, 4, 1)
"""Rows per statement: few sizes, so that prepared statements are reused."""


async def write_rows(
    database: Database, template: LiteralString, rows: Sequence[Sequence[Any]]
) -> int:
    """Run a statement with `{rows}` in it over all rows; return how many rows it changed."""
    changed = start = 0
    while start < len(rows):
        size = next(c for c in CHUNKS if c <= len(rows) - start)
        chunk = rows[start : start + size]
        changed += await database.changed(
            _statement(template, size, len(chunk[0])), [value for row in chunk for value in row]
        )
        start += size
    return changed


@functools.cache
def _statement(template: LiteralString, rows: int, width: int) -> LiteralString:
    row = "(" + ", ".join(["?"] * width) + ")"
    return template.replace("{rows}", ", ".join([row] * rows))
