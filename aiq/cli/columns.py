"""
Tables that fit: columns laid out in the room there is, the least important left out first.

Pure: cells in, lines out. Every table of the command line is made here, so that one rule decides
what a narrow terminal shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.text import Text

GAP = "  "
BARE = 2
"""Of so few columns none is left out as long as there is any other way."""


class Column(NamedTuple):
    """A column; the higher its `rank`, the sooner it is left out."""

    title: str
    rank: int = 0
    right: bool = True
    least: int | None = None
    """Cells may be cut to this width, rather than leaving out a column; None: not at all."""
    bare: int | None = None
    """And to this rather than leaving out the last column beside it; None: no further."""


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[Text]], width: int, *, indent: str = ""
) -> list[Text]:
    """
    Return a heading and the rows, none wider than `width` cells unless one column alone is.

    The less important a column, the sooner its cells are cut.
    """
    heading = [Text(column.title, "dim") for column in columns]
    widths = [max(row[n].cell_len for row in [heading, *rows]) for n in range(len(columns))]
    room = width - len(indent)
    kept = _kept(columns, widths, room)
    overflow = _total([widths[n] for n in kept]) - room
    for n in sorted(kept, key=lambda n: (columns[n].rank, n), reverse=True):
        least = _least(columns[n], widths[n], is_bare=len(kept) <= BARE)
        cut = min(max(overflow, 0), widths[n] - least)
        widths[n] -= cut
        overflow -= cut
    return [_line(columns, row, widths, kept, indent) for row in [heading, *rows]]


def _kept(columns: Sequence[Column], widths: Sequence[int], room: int) -> list[int]:
    kept = list(range(len(columns)))
    while len(kept) > 1:
        is_bare = len(kept) <= BARE
        if _total([_least(columns[n], widths[n], is_bare=is_bare) for n in kept]) <= room:
            break
        kept.remove(max(kept, key=lambda n: (columns[n].rank, n)))
    return kept


def _least(column: Column, width: int, *, is_bare: bool) -> int:
    least = column.bare if is_bare and column.bare is not None else column.least
    return width if least is None else min(width, least)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _line(
    columns: Sequence[Column],
    row: Sequence[Text],
    widths: Sequence[int],
    kept: Sequence[int],
    indent: str,
) -> Text:
    line = Text(indent)
    for n in kept:
        cell = row[n].copy()
        cell.truncate(widths[n], overflow="ellipsis")
        padding = " " * (widths[n] - cell.cell_len)
        line.append_text(Text.assemble(padding, cell) if columns[n].right else cell)
        if n != kept[-1]:
            line.append("" if columns[n].right else padding)
            line.append(GAP)
    return line


def spread(left: Text, right: Text, width: int) -> list[Text]:
    """Return both on one line, at its ends; on two lines where one has no room."""
    room = width - left.cell_len - right.cell_len
    if room < len(GAP):
        return [left, right] if right else [left]
    return [Text.assemble(left, " " * room, right)]
