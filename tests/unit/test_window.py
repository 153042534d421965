"""What the breaker remembers: which calls count, for how long, and how long calls take."""

from __future__ import annotations

import pytest

from aiq.policy.defaults import BreakerSettings
from aiq.policy.window import Latencies, Window


class Memory:
    """A window and its latencies, fed as the breaker feeds them."""

    def __init__(self) -> None:
        self.latencies = Latencies()
        self.window = Window(BreakerSettings(), self.latencies)

    def end(
        self,
        now: float,
        *,
        calls: int,
        latency_s: float = 0.0,
        is_bad: bool = True,
        is_congestion: bool = False,
    ) -> None:
        for _ in range(calls):
            self.latencies.add(latency_s, is_good=not is_bad)
            self.window.add(
                started=now - latency_s, now=now, is_bad=is_bad, is_congestion=is_congestion
            )


@pytest.mark.parametrize(("now", "alarm"), [(120.0, "22 of 31 calls were bad"), (120.1, None)])
def test_a_call_counts_for_two_minutes_from_its_start(now: float, alarm: str | None) -> None:
    """A moment later only 10 bad calls after 9 good ones are left, which are too few."""
    memory = Memory()
    memory.end(0.0, calls=12)
    memory.end(60.0, calls=9, is_bad=False)
    memory.end(now, calls=10, is_congestion=True)
    assert memory.window.alarm(now) == alarm


def test_a_call_older_than_the_window_when_it_ends_does_not_count() -> None:
    """One call of 200 s among two hundred short ones does not make calls long."""
    memory = Memory()
    memory.end(0.0, calls=200, is_bad=False)
    memory.end(200.0, calls=19)
    memory.end(200.0, calls=1, latency_s=200.0)
    assert memory.window.alarm(200.0) is None
    memory.end(200.0, calls=1)
    assert memory.window.alarm(200.0) == "20 bad calls in a row"


@pytest.mark.parametrize(("latency_s", "alarm"), [(300.0, "5 bad calls in a row"), (1801.0, None)])
def test_calls_that_take_minutes_count_up_to_half_an_hour(
    latency_s: float, alarm: str | None
) -> None:
    memory = Memory()
    memory.end(latency_s, calls=5, latency_s=latency_s)
    assert memory.window.alarm(latency_s) == alarm


def test_a_provider_that_dies_by_hanging_is_noticed_although_calls_were_short() -> None:
    """The first of its time-outs are taken for odd calls; the percentile then follows."""
    memory = Memory()
    memory.end(0.0, calls=200, latency_s=0.5, is_bad=False)
    memory.end(600.0, calls=2 + 19, latency_s=600.0, is_congestion=True)
    assert memory.window.alarm(600.0) is None
    memory.end(600.0, calls=1, latency_s=600.0, is_congestion=True)
    assert memory.window.alarm(600.0) == "20 bad calls in a row"


def test_time_outs_do_not_make_trials_hold_their_places() -> None:
    """The percentile for trials is that of the good calls alone."""
    memory = Memory()
    assert memory.latencies.good_p95() == 0.0
    memory.end(0.0, calls=20, latency_s=2.0, is_bad=False)
    memory.end(600.0, calls=64, latency_s=600.0)
    assert memory.latencies.good_p95() == 2.0


def test_the_95th_percentile_is_by_nearest_rank() -> None:
    latencies = Latencies()
    for tenths in range(1, 101):
        latencies.add(tenths / 10, is_good=True)
    assert latencies.good_p95() == 9.5


@pytest.mark.parametrize(("good", "enough"), [(200, 5), (19, 7), (9, 10), (4, 13), (2, 19)])
def test_the_more_noise_there_was_the_longer_the_row_that_is_none(good: int, enough: int) -> None:
    """Nothing bad before, or one call in 20, in 10, in 5, in 3: the row would be one in 1e9."""
    memory = Memory()
    for _ in range(200 // good if good < 200 else 0):
        memory.end(0.0, calls=1)
        memory.end(0.0, calls=good, is_bad=False)
    memory.end(0.0, calls=200 if good == 200 else 1, is_bad=False)
    memory.end(0.0, calls=enough - 1)
    assert memory.window.alarm(0.0) is None
    memory.end(0.0, calls=1)
    assert memory.window.alarm(0.0) == f"{enough} bad calls in a row"


def test_any_five_calls_of_a_slow_run_are_not_its_first() -> None:
    """One call in 24 s leaves five in the window; all bad by chance, they say nothing yet."""
    window = Window(BreakerSettings(), Latencies())
    for n in range(10):
        window.add(started=24.0 * n, now=24.0 * n, is_bad=False)
    for n in range(10, 16):
        window.add(started=24.0 * n, now=24.0 * n, is_bad=True)
        assert window.alarm(24.0 * n) is None
    window.clear()
    for n in range(5):
        window.add(started=1000.0 + n, now=1000.0 + n, is_bad=True)
    assert window.alarm(1004.0) == "5 bad calls in a row"
