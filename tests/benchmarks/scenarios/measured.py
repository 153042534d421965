"""What a scenario measured, as rows of a table: asked, measured, held."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from aiq.model import JobState
from aiq.run.result import RunResult
from tests.support.scripted_fleet import ScriptedFleet


class Row(NamedTuple):
    """One thing that was asked, and what came of it."""

    asked: str
    measured: str
    held: bool


def at_least(what: str, least: float, measured: float) -> Row:
    return Row(f"{what} >= {least:g}", f"{measured:.4g}", measured >= least)


def at_most(what: str, most: float, measured: float) -> Row:
    return Row(f"{what} <= {most:g}", f"{measured:.4g}", measured <= most)


def exactly(what: str, expected: object, measured: object) -> Row:
    return Row(f"{what} = {expected}", f"{measured}", measured == expected)


def told(what: str, measured: object) -> Row:
    """A figure that explains another one and is not asked for."""
    return Row(f"({what})", f"{measured}", held=True)


def all_succeeded(result: RunResult) -> Row:
    left = sum(result.counts.values()) - result.count(JobState.SUCCEEDED)
    return exactly("jobs failed or left", 0, left)


def rises(counts: Sequence[float]) -> bool:
    return all(before < after for before, after in itertools.pairwise(counts))


def instant_of(fleet: ScriptedFleet, share: float) -> float:
    """Return when that share of all requests had been received: the end leaves workers idle."""
    calls = fleet.calls()
    return calls[int(share * (len(calls) - 1))][0]


def attempts(fleet: ScriptedFleet, where: str) -> int:
    """Count the attempts of which the condition is true."""
    [(count,)] = fleet.bench.rows(f"SELECT count(*) FROM attempt WHERE {where}")
    return int(count)
