"""A run's answers as a series, and what is told of them."""

from __future__ import annotations

import random
from collections.abc import Callable

from aiq.model import Kind
from aiq.policy.alert import Alert
from aiq.policy.defaults import MonitorSettings
from aiq.policy.pulse import KEPT, LEAST, SPAN_S, Pulse
from aiq.run.attempt_watch import AttemptWatch
from tests.support.fake_clock import FakeClock

A_MINUTE = 60 * 100


def test_an_interval_ends_with_its_median() -> None:
    pulse = Pulse()
    assert [pulse.beat(ms, now=0.0) for ms in (1.0, 900.0, 3.0, 5.0, 4.0)] == [None] * 5
    assert pulse.beat(6.0, now=SPAN_S) == 4.5
    assert pulse.beat(7.0, now=SPAN_S) is None


def test_an_interval_with_few_answers_goes_on() -> None:
    """A provider that answers once a minute has a pulse too."""
    pulse = Pulse()
    beats = [pulse.beat(100.0, now=60.0 * n) for n in range(2 * LEAST)]
    assert [n for n, beat in enumerate(beats) if beat is not None] == [LEAST - 1, 2 * LEAST - 1]


def test_a_pulse_does_not_grow_with_the_rate() -> None:
    pulse = Pulse()
    for n in range(10 * KEPT):
        pulse.beat(float(n), now=0.0)
    assert len(pulse._latencies_ms) == KEPT


class Run:
    """A run of 100 answers a second, and what was told of it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.told: list[Alert] = []
        self.watch = AttemptWatch(MonitorSettings(), tell=self.told.append, clock=self.clock)
        self._dice = random.Random(4711)

    def answers(self, count: int, latency_ms: Callable[[random.Random], float]) -> None:
        for _ in range(count):
            self.watch("a", Kind.OK, latency_ms(self._dice))
            self.clock.jump(0.01)

    @property
    def titles(self) -> list[tuple[str, str]]:
        return [
            (one.title, "over" if one.is_recovery else one.level.name.lower()) for one in self.told
        ]


def test_who_becomes_twenty_times_as_slow_is_told_of_and_so_is_the_end() -> None:
    run = Run()
    run.answers(2 * A_MINUTE, lambda dice: dice.lognormvariate(6, 1))
    assert run.told == []
    run.answers(A_MINUTE // 2, lambda dice: 20 * dice.lognormvariate(6, 1))
    run.answers(A_MINUTE // 2, lambda dice: dice.lognormvariate(6, 1))
    assert run.titles == [
        ("latency anomaly", "warning"),
        ("latency anomaly", "critical"),
        ("latency anomaly", "over"),
    ]
    assert {one.provider for one in run.told} == {"a"}


def test_long_prompts_among_short_ones_are_nothing() -> None:
    """Half an hour in which one answer of ten takes fifty times as long as the others."""
    run = Run()
    run.answers(
        30 * A_MINUTE,
        lambda dice: dice.lognormvariate(6, 1) * (50 if dice.random() < 0.1 else 1),
    )
    assert run.told == []


def test_what_is_no_answer_says_nothing_of_latency() -> None:
    run = Run()
    run.answers(2 * A_MINUTE, lambda _: 400.0)
    for kind in Kind:
        if kind is not Kind.OK:
            for _ in range(A_MINUTE // 4):
                run.watch("a", kind.value, 60_000.0)
                run.clock.jump(0.01)
    run.answers(A_MINUTE // 4, lambda _: 400.0)
    assert run.told == []
