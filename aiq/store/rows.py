"""
Statements over many rows at once, as multi-row VALUES.

One statement for a chunk costs one hand-over of the interpreter lock instead of one per row, and
while it runs the rest of the program goes on.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, LiteralString, NamedTuple

CHUNKS = (1, 4, 16, 64, 256)
"""Rows per statement: few sizes, so that prepared statements are reused."""

BULK = (16, 256, 2048)
"""
The same where lines come by the thousand: after each statement the thread that parses the next ones
has to give the interpreter back, which takes it a millisecond. Eight columns of 2,048 rows are half
of the values that SQLite lets a statement have.
"""


class StaleWrite(RuntimeError):
    """A transition met another state or lease than it names: a mistake of ours, nothing written."""


class Statement(NamedTuple):
    """A statement over some rows of values."""

    sql: LiteralString
    values: list[Any]
    rows: int

    def check(self, changed: int) -> None:
        """Raise `StaleWrite` unless each of its rows changed exactly one."""
        if changed != self.rows:
            raise StaleWrite(f"{changed} of {self.rows} rows changed by: {self.sql.strip()[:60]}")


def statements(
    template: LiteralString, rows: Sequence[Sequence[Any]], sizes: Sequence[int] = CHUNKS
) -> Iterator[Statement]:
    """
    Yield statements with `{rows}` in them that cover all rows, as few as will do.

    The last is filled up with rows of NULLs, which a template has to pass over.
    """
    for start in range(0, len(rows), sizes[-1]):
        chunk = rows[start : start + sizes[-1]]
        size, width = next(size for size in sizes if size >= len(chunk)), len(chunk[0])
        values = [value for row in chunk for value in row]
        values += [None] * (width * (size - len(chunk)))
        yield Statement(_statement(template, size, width), values, len(chunk))


def write_rows(
    connection: sqlite3.Connection, template: LiteralString, rows: Sequence[Sequence[Any]]
) -> int:
    """Run a statement with `{rows}` in it over all rows; return how many rows it changed."""
    return sum(
        connection.execute(sql, values).rowcount
        for sql, values, _ in statements(template, rows, BULK)
    )


def change_each(connection: sqlite3.Connection, work: Sequence[Statement]) -> None:
    """Run statements; raises `StaleWrite` unless each row of each changed exactly one."""
    for statement in work:
        statement.check(connection.execute(statement.sql, statement.values).rowcount)


@functools.cache
def _statement(template: LiteralString, rows: int, width: int) -> LiteralString:
    row = "(" + ", ".join(["?"] * width) + ")"
    return template.replace("{rows}", ", ".join([row] * rows))
