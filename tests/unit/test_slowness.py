"""The slow rule: who is degraded, on what evidence, and how he comes back."""

from __future__ import annotations

import math
import random

import pytest

from aiq.policy.defaults import BreakerSettings
from aiq.policy.slowness import Slowness


def used_to(usual_s: float, *, calls: int = 100, slow_min_s: float = 0.5) -> Slowness:
    """A provider that has answered in `usual_s` until the instant 0."""
    slowness = Slowness(BreakerSettings(slow_min_s=slow_min_s))
    for _ in range(calls):
        slowness.note(usual_s, now=0.0, started=-usual_s)
    return slowness


def note(slowness: Slowness, now: float, *latencies_s: float) -> None:
    for latency_s in latencies_s:
        slowness.note(latency_s, now=now, started=now - latency_s)


def wants_trial(slowness: Slowness, now: float) -> bool:
    """Whether a call should go to it although it is degraded."""
    return slowness.is_degraded and slowness.next_trial_at(now) <= now


def degraded() -> Slowness:
    """A provider of 50 ms that was found slow at the instant 10."""
    slowness = used_to(0.05)
    note(slowness, 10.0, *[1.0] * 20)
    assert slowness.is_degraded
    return slowness


@pytest.mark.parametrize(
    ("usual_s", "slow_min_s", "latency_s", "is_slow"),
    [
        (0.05, 0.5, 0.5, False),
        (0.05, 0.5, 0.51, True),
        (0.05, 10.0, 9.0, False),
        (5.0, 10.0, 20.0, False),
        (5.0, 10.0, 20.1, True),
    ],
)
def test_slow_is_both_relative_and_absolute(
    usual_s: float, slow_min_s: float, latency_s: float, *, is_slow: bool
) -> None:
    assert used_to(usual_s, slow_min_s=slow_min_s).judge(latency_s) is is_slow


def test_without_ten_answers_nothing_is_slow() -> None:
    slowness = used_to(0.05, calls=9)
    assert slowness.threshold_s == math.inf
    note(slowness, 1.0, 0.05)
    assert slowness.threshold_s == 0.5


def test_the_usual_latency_is_the_median_of_the_last_hundred() -> None:
    """It follows a drift in small steps; a few long answers among many do not move it."""
    slowness = used_to(1.0)
    note(slowness, 1.0, *[3.9] * 40)
    assert slowness.threshold_s == 4.0
    note(slowness, 1.0, *[3.9] * 20)
    assert slowness.threshold_s == pytest.approx(15.6)


def test_slow_calls_do_not_enter_what_they_are_judged_by() -> None:
    """However long it stays slow, it does not pass for well."""
    slowness = degraded()
    note(slowness, 11.0, *[1.0] * 5000)
    assert slowness.is_degraded
    assert slowness.threshold_s == 0.5


def test_twenty_times_slower_is_noticed_within_thirty_calls() -> None:
    slowness, calls = used_to(0.05), 0
    while not slowness.is_degraded:
        calls += 1
        note(slowness, 10.0, 1.0)
    assert calls <= 30


@pytest.mark.parametrize(("slow", "is_degraded"), [(11, False), (12, True)])
def test_degraded_at_three_fifths_of_the_last_twenty(slow: int, *, is_degraded: bool) -> None:
    slowness = used_to(0.05)
    note(slowness, 10.0, *[1.0] * slow)
    assert slowness.is_degraded is is_degraded


def test_not_degraded_on_fewer_than_ten_calls() -> None:
    """After it became well again, six slow calls of nine are no proof yet; of ten they are."""
    slowness = degraded()
    note(slowness, 20.0, 0.05, 0.05, 0.05)
    note(slowness, 30.0, 0.05, 0.05, 0.05, *[1.0] * 6)
    assert not slowness.is_degraded
    note(slowness, 30.0, 1.0)
    assert slowness.is_degraded


def test_one_slow_call_in_ten_is_not_degraded() -> None:
    """Some prompts take long; that is no sign of sickness."""
    slowness, dice = used_to(0.05), random.Random(7)
    for call in range(5000):
        note(slowness, 10.0 + call, 1.0 if dice.random() < 0.1 else 0.05)
        assert not slowness.is_degraded


def test_a_healthy_provider_wants_no_trial_and_refuses_none() -> None:
    slowness = used_to(0.05)
    assert not wants_trial(slowness, 5.0)
    assert slowness.next_trial_at(5.0) == 5.0


def test_one_call_every_five_seconds_while_it_stays_slow() -> None:
    """The pause counts from the start of the trial before, and none starts while one is out."""
    slowness = degraded()
    assert (slowness.next_trial_at(10.0), wants_trial(slowness, 14.9)) == (15.0, False)
    assert wants_trial(slowness, 15.0)
    slowness.trial_started(15.0)
    assert slowness.next_trial_at(15.0) == 45.0
    slowness.note(1.0, now=16.0, started=15.0)
    assert slowness.next_trial_at(16.0) == 20.0
    slowness.trial_started(20.0)
    slowness.note(8.0, now=28.0, started=20.0)
    assert wants_trial(slowness, 28.0)


def test_an_abandoned_trial_does_not_end_the_trials() -> None:
    slowness = degraded()
    slowness.trial_started(15.0)
    assert not wants_trial(slowness, 44.9)
    assert wants_trial(slowness, 45.0)


@pytest.mark.parametrize(
    ("trials", "is_degraded"),
    [("ff", True), ("fff", False), ("ffsf", False), ("ffss", True), ("ssffsff", False)],
)
def test_well_again_at_three_fast_of_the_last_four(trials: str, *, is_degraded: bool) -> None:
    """A fast trial is followed by the next at once."""
    slowness, now = degraded(), 15.0
    for trial in trials:
        now = slowness.next_trial_at(now)
        slowness.trial_started(now)
        latency_s = 0.05 if trial == "f" else 1.0
        now += latency_s
        slowness.note(latency_s, now=now, started=now - latency_s)
        if slowness.is_degraded and trial == "f":
            assert wants_trial(slowness, now)
    assert slowness.is_degraded is is_degraded


def test_calls_from_before_a_change_do_not_change_it_back() -> None:
    """Fast ones that were on their way do not heal, slow ones of the bad time do not demote."""
    slowness = degraded()
    for _ in range(20):
        slowness.note(0.05, now=10.01, started=9.96)
    assert slowness.is_degraded
    note(slowness, 20.0, 0.05, 0.05, 0.05)
    for _ in range(20):
        slowness.note(8.0, now=21.0, started=13.0)
    assert not slowness.is_degraded
