"""What was measured, as rows of a table: asked, measured, held."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import NamedTuple


class Row(NamedTuple):
    """One thing that was asked, and what came of it."""

    asked: str
    measured: str
    held: bool | None
    """None: nothing was asked of it."""


def at_least(what: str, least: float, measured: float) -> Row:
    return Row(f"{what} >= {least:g}", f"{measured:.4g}", measured >= least)


def at_most(what: str, most: float, measured: float) -> Row:
    return Row(f"{what} <= {most:g}", f"{measured:.4g}", measured <= most)


def exactly(what: str, expected: object, measured: object) -> Row:
    return Row(f"{what} = {expected}", f"{measured}", measured == expected)


def told(what: str, measured: object) -> Row:
    """A figure that explains another one and is not asked for."""
    return Row(f"({what})", f"{measured}", held=None)


def printed(title: str, rows: Iterable[Row]) -> bool:
    """Print rows; return whether all of them held."""
    all_held = True
    for row in rows:
        verdict = {True: "held", False: "NOT HELD", None: ""}[row.held]
        sys.stdout.write(f"{title:22} {row.asked:60} {row.measured:36} {verdict}".rstrip() + "\n")
        sys.stdout.flush()
        all_held = all_held and row.held is not False
    return all_held
