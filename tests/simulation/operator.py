"""
An operator who meddles with a simulated run: what he tells it, and when.

He draws from a stream of his own, so that all else in a seed stays as it would be without him. What
he takes away he gives back: a paused run is resumed, a provider that he disabled enabled, unless
the process is struck down in between. He never lets a provider start over, because the rules about
trials and cooldowns are about what a run does by itself.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

from aiq.model import NANO_PER_USD
from aiq.policy.control import Disable, Enable, Pause, Resume, SetBudget, SetConcurrency
from aiq.run.protocol import CancelJobs, Order, RequeueJobs
from tests.simulation.scenario import Scenario

SHARE = 0.3
"""Of the processes that he looks at."""


class Act(NamedTuple):
    """An order, so many seconds after the process began."""

    after: float
    order: Order


def acts(scenario: Scenario, process: int) -> tuple[Act, ...]:
    """Return what he tells one process, counted from 0."""
    chance = random.Random(f"{scenario.seed} operator {process}")
    if chance.random() >= SHARE:
        return ()
    told = [Act(0.01, Enable(one.name)) for one in scenario.providers]
    for _ in range(chance.choice((1, 1, 2, 4))):
        told += _pair(chance, scenario)
    return tuple(told)


def _pair(chance: random.Random, scenario: Scenario) -> Iterator[Act]:
    """Yield an order and what undoes it."""
    begins = 10 ** chance.uniform(-2.0, 1.0)
    ends = begins + 10 ** chance.uniform(-2.0, 1.3)
    run = scenario.run
    kind = chance.choice(
        ("pause", "pause", "disable", "disable", "concurrency", "cancel", "budget")
    )
    if kind == "pause":
        yield Act(begins, Pause())
        yield Act(ends, Resume())
    elif kind == "disable":
        name = chance.choice(scenario.providers).name
        yield Act(begins, Disable(name))
        yield Act(ends, Enable(name))
    elif kind == "concurrency":
        yield Act(begins, SetConcurrency(chance.randint(1, run.concurrency)))
        yield Act(ends, SetConcurrency(run.concurrency))
    elif kind == "cancel":
        jobs = chance.sample(range(scenario.jobs), min(10, scenario.jobs))
        whole = chance.random() < 0.2
        yield Act(begins, CancelJobs(("prompts",) if whole else tuple(f"j{n}" for n in jobs)))
        yield Act(ends, RequeueJobs(kinds=("cancelled",)))
    elif run.budget_usd is not None:
        limit = round(run.budget_usd * NANO_PER_USD)
        yield Act(begins, SetBudget(round(limit * chance.random())))
        yield Act(ends, SetBudget(limit))
