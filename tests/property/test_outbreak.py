"""
Deaths and noise at a breaker that many callers share, whatever failures and answers take.

The model plays callers: each calls, waits for the end, and a moment later calls again. Seeds make
it repeatable.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable

import pytest

from aiq.policy.breaker import Breaker, Permit, State, Verdict
from aiq.policy.defaults import BreakerSettings

TURN_S = 0.005
"""About what it takes to commit an outcome and to lease the next job."""

LATENCIES = {
    "quick failures": (0.2, 0.01),
    "very slow answers": (5.0, 0.05),
    "the same": (0.2, 0.2),
    "slow failures": (0.05, 0.5),
}
"""Seconds until an answer, and until a failure."""


def called(
    callers: int,
    latencies: tuple[float, float],
    is_bad: Callable[[int, float], bool],
    *,
    calls: int,
    draw: Callable[[], float],
) -> tuple[Breaker, int]:
    """Let them call until the breaker opens; return it and how many calls were bad."""
    breaker, order, bad = Breaker(BreakerSettings()), itertools.count(), 0
    breaker.limit_in_flight(callers)
    events: list[tuple[float, int, Permit | None, bool]] = [
        (draw() * latencies[0], next(order), None, False) for _ in range(callers)
    ]
    heapq.heapify(events)
    ended = 0
    while ended < calls and breaker.reason(0.0) is None:
        now, _, permit, was_bad = heapq.heappop(events)
        if permit is not None:
            verdict = Verdict.BAD if was_bad else Verdict.GOOD
            breaker.settle(permit, verdict, now=now, draw=0.5)
            ended += 1
            heapq.heappush(events, (now + TURN_S * (0.5 + draw()), next(order), None, False))
            continue
        will_be_bad = is_bad(ended, draw())
        bad += will_be_bad
        took = latencies[will_be_bad] * (0.5 + draw())
        heapq.heappush(events, (now + took, next(order), breaker.admit(now), will_be_bad))
    return breaker, bad


@pytest.mark.parametrize("latencies", LATENCIES.values(), ids=LATENCIES)
@pytest.mark.parametrize("callers", [8, 32, 128])
def test_a_fifth_of_random_errors_opens_nothing(
    callers: int, latencies: tuple[float, float]
) -> None:
    """Above all not where errors come long before the first answers."""
    dice = random.Random(callers)
    for _ in range(3):
        breaker, bad = called(
            callers, latencies, lambda _ended, draw: draw < 0.2, calls=4000, draw=dice.random
        )
        assert breaker.reason(0.0) is None
        assert bad > 600


@pytest.mark.parametrize("latencies", LATENCIES.values(), ids=LATENCIES)
@pytest.mark.parametrize("callers", [8, 32, 128])
def test_a_death_costs_what_was_in_flight_and_a_few(
    callers: int, latencies: tuple[float, float]
) -> None:
    """Answers to calls from before the death keep coming, and hide nothing."""
    dice = random.Random(callers)
    for _ in range(10):
        breaker, bad = called(
            callers, latencies, lambda ended, _draw: ended >= 300, calls=4000, draw=dice.random
        )
        assert breaker.state is State.OPEN
        assert bad <= callers + 8 + callers // 16
