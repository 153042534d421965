"""Figures of a run against a scripted fleet."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from aiq.model import JobState
from aiq.run.result import RunResult
from tests.benchmarks.measured import Row, exactly
from tests.support.scripted_fleet import ScriptedFleet


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
