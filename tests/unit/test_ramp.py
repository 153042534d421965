"""The gradual return: a dozen starts in the first second, fourfold per second, then no bound."""

from __future__ import annotations

import pytest

from aiq.policy.ramp import Ramp


def starts(ramp: Ramp, since: float, until: float, *, wake_s: float = 0.0) -> list[float]:
    """Start whatever may start; `wake_s` is how late the one who asks wakes up."""
    now, seen = since, []
    while (now := ramp.ready_at(now) + wake_s) < until:
        while ramp.ready_at(now) <= now:
            ramp.start(now)
            seen.append(now)
    return seen


def per_second(instants: list[float], since: float, seconds: int) -> list[int]:
    return [sum(1 for instant in instants if n <= instant - since < n + 1) for n in range(seconds)]


@pytest.mark.parametrize("wake_s", [0.0, 0.001, 0.02])
def test_about_twelve_in_the_first_second_then_four_times_as_many(wake_s: float) -> None:
    """With the four trials before, no more than 16 reach a provider in its first second."""
    ramp = Ramp()
    ramp.begin(100.0)
    first, second, third, fourth = per_second(starts(ramp, 100.0, 104.0, wake_s=wake_s), 100.0, 4)
    assert 8 <= first <= 12
    assert 3 * first <= second <= 5 * first
    assert 3 * second <= third <= 5 * second
    assert fourth >= 400


def test_before_the_first_return_there_is_no_bound() -> None:
    ramp = Ramp()
    for _ in range(1000):
        assert ramp.ready_at(0.0) == 0.0
        ramp.start(0.0)


def test_after_eight_seconds_there_is_no_bound() -> None:
    ramp = Ramp()
    ramp.begin(0.0)
    for _ in range(1000):
        assert ramp.ready_at(8.0) == 8.0
        ramp.start(8.0)


def test_what_is_not_used_is_not_saved_up() -> None:
    """Nobody asks for two seconds; the third begins at its own pace, not with a burst."""
    ramp = Ramp()
    ramp.begin(0.0)
    burst = 0
    while ramp.ready_at(2.0) <= 2.0:
        ramp.start(2.0)
        burst += 1
    assert burst <= 6


def test_the_first_call_may_start_at_once_and_the_second_may_not() -> None:
    ramp = Ramp()
    ramp.begin(50.0)
    assert ramp.ready_at(50.0) == 50.0
    ramp.start(50.0)
    assert ramp.ready_at(50.0) == pytest.approx(50.2)


def test_a_second_return_starts_over() -> None:
    ramp = Ramp()
    ramp.begin(0.0)
    starts(ramp, 0.0, 6.0)
    ramp.begin(6.0)
    assert len(starts(ramp, 6.0, 7.0)) <= 12
