"""Configured numbers per minute: spread out, never exceeded in any minute, always usable again."""

from __future__ import annotations

import math

import pytest

from aiq.policy.buckets import Bucket

REQUESTS = 1 / 30
TOKENS = 1 / 6


def greedy(bucket: Bucket, *, units: int = 1, until: float) -> list[float]:
    """Take as soon as possible and return when."""
    taken, now = [], 0.0
    while now <= until:
        ready_at = bucket.ready_at(now, units)
        if ready_at <= now:
            bucket.take(now, units)
            taken.append(now)
        now = max(now, ready_at)
    return taken


def most_in_a_minute(taken: list[float]) -> int:
    return max(sum(start <= one < start + 60.0 for one in taken) for start in taken)


@pytest.mark.parametrize("per_minute", range(1, 101))
def test_no_minute_holds_more_than_configured(per_minute: int) -> None:
    """From one request per minute on, the opening burst included."""
    taken = greedy(Bucket(per_minute, burst=REQUESTS), until=240.0)
    assert most_in_a_minute(taken) <= per_minute


@pytest.mark.parametrize("per_minute", [1, 2, 7, 29, 30, 31, 60, 500])
def test_nearly_all_of_the_number_is_used(per_minute: int) -> None:
    taken = greedy(Bucket(per_minute, burst=REQUESTS), until=1200.0)
    assert len(taken) >= 0.94 * 20 * per_minute


def test_the_opening_burst_is_two_seconds_worth_of_requests() -> None:
    taken = greedy(Bucket(600, burst=REQUESTS), until=1.0)
    assert sum(one == 0.0 for one in taken) == 20


def test_the_instant_named_is_the_instant_it_works() -> None:
    """No second wait of a millionth of a second after the first, whatever the rounding."""
    bucket = Bucket(7, burst=REQUESTS)
    now = 1e6 + 0.1
    for _ in range(1000):
        now = bucket.ready_at(now, 1)
        assert bucket.ready_at(now, 1) == now
        bucket.take(now, 1)


def test_a_request_larger_than_the_bucket_goes_when_it_is_full_and_leaves_a_debt() -> None:
    bucket = Bucket(6000, burst=TOKENS)  # 1,000 at once
    assert bucket.ready_at(0.0, 3000) == 0.0
    bucket.take(0.0, 3000)
    assert bucket.ready_at(0.0, 1) == pytest.approx(61.0 * 2001 / 5000)


def test_requests_larger_than_the_bucket_keep_the_promise_too() -> None:
    """Full buckets alone would let 2,400 tokens start three times within 59 s."""
    taken = greedy(Bucket(6000, burst=TOKENS), units=2400, until=600.0)
    assert most_in_a_minute(taken) == 2
    assert len(taken) >= 18


def test_a_request_larger_than_the_minute_waits_for_an_empty_one() -> None:
    bucket = Bucket(100, burst=TOKENS)
    bucket.take(0.0, 5)
    assert bucket.ready_at(0.0, 1000) == 61.0
    bucket.take(61.0, 1000)
    assert bucket.ready_at(61.0, 1) < math.inf


def test_usage_above_the_estimate_is_paid_back_before_the_next() -> None:
    bucket = Bucket(6000, burst=TOKENS)
    booked = bucket.take(0.0, 1000)
    bucket.correct(1.0, booked, 2000)
    assert bucket.ready_at(1.0, 1) == pytest.approx(1.0 + 61.0 * 2001 / 5000 - 1.0)


def test_usage_below_the_estimate_is_given_back() -> None:
    bucket = Bucket(6000, burst=TOKENS)
    booked = bucket.take(0.0, 1000)
    assert bucket.ready_at(0.0, 900) > 0.0
    bucket.correct(0.0, booked, -900)
    assert bucket.ready_at(0.0, 900) == 0.0


def test_what_comes_back_never_fills_the_bucket_beyond_its_brim() -> None:
    bucket = Bucket(6000, burst=TOKENS)
    booked = bucket.take(0.0, 1000)
    bucket.correct(50.0, booked, -1000)
    bucket.take(50.0, 1000)
    assert bucket.ready_at(50.0, 1000) == pytest.approx(50.0 + 61.0 / 5)


def test_late_corrections_of_a_forgotten_minute_do_not_count_in_this_one() -> None:
    bucket = Bucket(100, burst=TOKENS)
    old = bucket.take(0.0, 10)
    bucket.take(100.0, 1)
    bucket.correct(100.0, old, 95)
    bucket.take(2000.0, 1)
    assert bucket.ready_at(2030.0, 90) == 2030.0


def test_time_running_backwards_is_time_standing_still() -> None:
    bucket = Bucket(60, burst=REQUESTS)
    bucket.take(100.0, 2)
    later = bucket.ready_at(100.0, 1)
    assert bucket.ready_at(50.0, 1) - 50.0 == pytest.approx(later - 100.0)
    bucket.take(50.0, 1)
    assert bucket.ready_at(100.0, 1) > later


@pytest.mark.parametrize(
    ("estimated", "real", "wanted", "ready_at"),
    [(5, 30, 55, 123.0), (30, 5, 40, 75.0)],
)
def test_what_was_corrected_leaves_the_minute_as_what_it_really_was(
    estimated: int, real: int, wanted: int, ready_at: float
) -> None:
    """Else every wrong estimate would stay in the count for good, in one direction or the other."""
    bucket = Bucket(60, burst=1 / 6)
    bucket.correct(1.0, bucket.take(0.0, estimated), real - estimated)
    bucket.take(62.0, 10)
    assert bucket.ready_at(75.0, wanted) == ready_at
