"""
Latency series with what is wrong in them, the same in every process: each has a seed.

Latencies are milliseconds, None is a failure. An incident is a stretch in which something is wrong
that somebody should be told of; everything else is what providers are like.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

SAMPLES = 30_000
EVERY = 1000
"""Samples from one incident to the next."""

Dice: TypeAlias = random.Random


@dataclass(frozen=True)
class Series:
    """`incidents` are (first, after the last); `title` is what they are to be called."""

    name: str
    says: str
    values: list[float | None]
    incidents: list[tuple[int, int]]
    title: str = ""


def usual(dice: Dice, spread: float = 0.25, median_ms: float = 800.0) -> float:
    """Return a lognormal latency."""
    return median_ms * math.exp(dice.gauss(0.0, spread))


def all_series(samples: int = SAMPLES) -> Iterator[Series]:
    """Build every series, so long; those without incidents first."""

    def quiet(name: str, says: str, value: Callable[[Dice], float | None]) -> Series:
        dice = random.Random(name)
        return Series(name, says, [value(dice) for _ in range(samples)], [])

    def troubled(
        name: str,
        says: str,
        length: int,
        value: Callable[[Dice, float], float | None],
        title: str = "latency anomaly",
    ) -> Series:
        """Put an incident into every thousand; `value` gets how much of it is over."""
        dice = random.Random(name)
        incidents = [(start, start + length) for start in range(EVERY // 2, samples, EVERY)]
        values: list[float | None] = [usual(dice) for _ in range(samples)]
        for first, end in incidents:
            values[first:end] = [value(dice, n / length) for n in range(length)]
        return Series(name, says, values[:samples], incidents, title)

    yield quiet("normal", "lognormal, spread 0.25", usual)
    yield quiet("noisy", "lognormal, spread 0.6", lambda dice: usual(dice, 0.6))
    yield quiet("heavy tail", "Pareto, exponent 1.5", lambda dice: 300 * dice.paretovariate(1.5))
    yield quiet("cold starts", "1 of 20 takes ten times as long", _cold_start)
    yield quiet("steady", "within 1 %", lambda dice: usual(dice, 0.01))
    yield Series("correlated", "busy minutes, rho 0.7", _correlated(random.Random(6), samples), [])
    yield Series("day and night", "twice as slow at noon", _days(random.Random(7), samples), [])
    yield quiet("random errors", "1 of 100 fails", _one_in_100_fails)
    yield quiet("lone spikes", "1 of 500 takes ten times as long", _spike)
    yield troubled("surge", "x6 for 12", 12, lambda dice, _: 6 * usual(dice))
    yield troubled("step", "x3 from then on", 500, lambda dice, _: 3 * usual(dice))
    yield troubled("drift", "up to x3 over 300", 300, lambda dice, at: 3**at * usual(dice))
    yield troubled("errors", "1 of 5 fails for 100", 100, _one_in_5_fails, "errors")
    yield troubled("outage", "10 failures", 10, lambda _dice, _at: None, "down")


def _cold_start(dice: Dice) -> float:
    return usual(dice) * (10 if dice.random() < 0.05 else 1)


def _spike(dice: Dice) -> float:
    return usual(dice) * (10 if dice.random() < 0.002 else 1)


def _one_in_100_fails(dice: Dice) -> float | None:
    return None if dice.random() < 0.01 else usual(dice)


def _one_in_5_fails(dice: Dice, _at: float) -> float | None:
    return None if dice.random() < 0.2 else usual(dice)


def _correlated(dice: Dice, samples: int) -> list[float | None]:
    """Each is 0.7 of the one before and 0.3 of chance, by its logarithm, with a spread of 0.3."""
    state, values = 0.0, list[float | None]()
    for _ in range(samples):
        state = 0.7 * state + dice.gauss(0.0, 0.3 * math.sqrt(1 - 0.7**2))
        values.append(800.0 * math.exp(state))
    return values


def _days(dice: Dice, samples: int) -> list[float | None]:
    """A probe a minute, twice as slow at noon as at midnight."""
    swing = math.log(2) / 2
    hours: Iterable[float] = (math.sin(2 * math.pi * n / 1440) for n in range(samples))
    return [usual(dice) * math.exp(swing * height) for height in hours]
