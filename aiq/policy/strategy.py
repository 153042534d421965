"""
In which order candidates are asked to take a job.

`rank` is the order of the configuration. `latency` prefers the lowest moving mean, and spends one
call in sixteen on whoever was asked longest ago, so that it notices who has become fast. `cost`
prefers the cheapest, unknown prices last. `balanced` prefers the largest share of free capacity.
Whatever the strategy, a degraded candidate comes last, except for the one call that now and then
tries whether it is well again. Ties keep the order of rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from aiq.policy.admission import Candidate

EXPLORED = 16
"""One call in so many goes to the candidate that was asked longest ago, under `latency`."""

StrategyName = Literal["rank", "latency", "cost", "balanced"]


class Strategy:
    """Orders candidates; counts calls, because exploration is a share of them."""

    def __init__(self, name: StrategyName = "rank", *, overflow: bool = False) -> None:
        self._may_wait = not overflow and name != "balanced"
        self._name = name
        self.calls = 0
        """How many have started."""

    @property
    def waits(self) -> bool:
        """
        Whether a better candidate that is merely at its own limit is waited for.

        One that is only to be explored is not: the whole run would go at its pace.
        """
        return self._may_wait and not self._explores

    def started(self) -> None:
        """Count a call."""
        self.calls += 1

    def arrange(self, candidates: Sequence[Candidate], now: float) -> Sequence[Candidate]:
        """Return the candidates, the preferred first."""
        order = candidates
        if self._name == "latency":
            order = sorted(candidates, key=self._latency_key())
        elif self._name == "cost":
            order = sorted(candidates, key=_cost)
        elif self._name == "balanced":
            order = sorted(candidates, key=_load)
        if any(candidate.channel.slowness.is_degraded for candidate in order):
            order = sorted(order, key=lambda one: _is_demoted(one, now))
        return order

    @property
    def _explores(self) -> bool:
        return self._name == "latency" and self.calls % EXPLORED == EXPLORED - 1

    def _latency_key(self) -> Callable[[Candidate], float]:
        return _staleness if self._explores else _latency


def _staleness(candidate: Candidate) -> float:
    return candidate.channel.started


def _latency(candidate: Candidate) -> float:
    """An untried candidate comes first once; while its first answer is awaited, it is the last."""
    channel = candidate.channel
    if channel.latency_s is not None:
        return channel.latency_s
    return math.inf if channel.in_flight else -1.0


def _cost(candidate: Candidate) -> float:
    return math.inf if candidate.unit_cost is None else candidate.unit_cost


def _load(candidate: Candidate) -> float:
    standing = candidate.standing
    concurrency = standing.account.concurrency
    return max(
        concurrency.in_flight / concurrency.limit, standing.in_flight / standing.max_in_flight
    )


def _is_demoted(candidate: Candidate, now: float) -> bool:
    slowness = candidate.channel.slowness
    return slowness.is_degraded and slowness.next_trial_at(now) > now
