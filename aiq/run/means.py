"""What the parts of an engine share: the fleet, the books, the rules of this run, and time."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from aiq.clock import Clock
from aiq.policy.budget import Budget
from aiq.policy.strategy import Strategy
from aiq.run.fleet import Fleet
from aiq.store.runs import BegunRun
from aiq.store.writer import Writer

CandidateIds: TypeAlias = dict[tuple[str, str, str], int]
"""Rows of the candidate table by provider, kind and model."""


class Means(NamedTuple):
    """Handed to whoever leases, sends or settles in one run."""

    fleet: Fleet
    writer: Writer
    budget: Budget
    strategy: Strategy
    clock: Clock
    draw: Callable[[], float]
    """Uniform in 0..1: what policies have of chance."""
    run: BegunRun
    candidate_ids: CandidateIds
