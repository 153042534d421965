"""
What the charts show, as tables: for who cannot see them, and for who wants the numbers.

A row is a slice of time, or a class of latency; one in which nothing ended is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from aiq.cli import figures
from aiq.cli.page import charts
from aiq.run.history import History
from aiq.run.timeline import Lane, Timeline


class Grid(msgspec.Struct, frozen=True, kw_only=True):
    """Heads of columns, and rows of as many cells; an empty cell says that there is nothing."""

    heads: list[str]
    rows: list[list[str]]


def grids(history: History) -> dict[str, Grid]:
    """Return a table for each chart that has no other one, by the id of the chart."""
    line = history.line
    names = charts.by_requests(line)[: charts.MOST_PROVIDERS]
    kinds = sorted(line.errors, key=lambda kind: -sum(line.errors[kind]))
    return {
        "availability": _by_slice(line, names, lambda name, n: _good(line.lanes[name], n)),
        "errors": _by_slice(line, kinds, lambda kind, n: _count(line.errors[kind][n])),
        "medians": _by_slice(line, names, lambda name, n: _ms(history.medians[name][n])),
        "latency": _distribution(history, names),
    }


def _by_slice(line: Timeline, heads: Sequence[str], cell: Callable[[str, int], str]) -> Grid:
    times = charts.instants(line)
    rows = ([time, *(cell(head, n) for head in heads)] for n, time in enumerate(times))
    return Grid(heads=["from", *heads], rows=_said(rows))


def _said(rows: Iterable[list[str]]) -> list[list[str]]:
    return [row for row in rows if any(row[1:])]


def _good(lane: Lane, n: int) -> str:
    counted = lane.ok[n] + lane.bad[n]
    return f"{lane.ok[n]:,} of {counted:,}" if counted else ""


def _count(count: int) -> str:
    return f"{count:,}" if count else ""


def _ms(ms: float | None) -> str:
    return "" if ms is None else figures.milliseconds(ms)


def _distribution(history: History, names: Sequence[str]) -> Grid:
    """Return answers by classes of latency, which are the same for all providers."""
    tallies = history.status.ledger.providers
    counts = {
        name: dict(tallies[name].latency.bins(charts.MERGED)) for name in names if name in tallies
    }
    edges = sorted({edge for found in counts.values() for edge in found})
    rows = (
        [figures.milliseconds(edge), *(_count(found.get(edge, 0)) for found in counts.values())]
        for edge in edges
    )
    return Grid(heads=["from", *counts], rows=_said(rows))
