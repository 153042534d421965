"""A rate learned from 429s alone: near the truth, rarely refused, and never stuck too low."""

from __future__ import annotations

from itertools import pairwise

import pytest

from aiq.policy.concurrency import Concurrency
from aiq.policy.defaults import LimitSettings, RateLimits
from aiq.policy.learned import LearnedRate
from aiq.policy.limits import Limits
from tests.support.limited_server_model import (
    Load,
    MinuteServer,
    SlidingWindowServer,
    accepted,
    refused_share,
)

SETTINGS = LimitSettings()


def send(rate: LearnedRate, count: int, *, begin: float, every: float) -> float:
    """Send requests at even intervals and return the instant after the last of them."""
    for n in range(count):
        rate.start(begin + n * every)
    return begin + count * every


def learned(per_s: int = 20, *, wait: float = 1.0) -> tuple[LearnedRate, float]:
    """Return a rate after ten seconds at `per_s` and one 429, and when its pause ends."""
    rate = LearnedRate(SETTINGS)
    now = send(rate, 10 * per_s + 1, begin=0.0, every=1 / per_s)
    rate.refuse(now=now, started=now - 1 / per_s, until=now + wait)
    return rate, now + wait


def known(rate: LearnedRate) -> float:
    assert rate.per_s is not None
    return rate.per_s


def test_nothing_is_limited_before_the_first_429() -> None:
    rate = LearnedRate(SETTINGS)
    send(rate, 1000, begin=0.0, every=0.0)
    assert rate.per_s is None
    assert rate.ready_at(0.0) == 0.0


def test_a_429_teaches_nine_tenths_of_what_was_taken() -> None:
    rate, _ = learned(20)
    assert known(rate) == pytest.approx(0.9 * 20, rel=0.02)


def test_an_opening_burst_counts_as_one_second() -> None:
    """25 of 64 at once are 25 per second; every 429 of the volley corrects the measure."""
    rate = LearnedRate(SETTINGS)
    send(rate, 64, begin=0.0, every=0.0)
    for _ in range(39):
        rate.refuse(now=0.02, started=0.0, until=1.0)
    assert known(rate) == pytest.approx(22.5)


def test_only_the_last_ten_seconds_count() -> None:
    rate = LearnedRate(SETTINGS)
    now = send(rate, 1000, begin=0.0, every=0.01)
    now = send(rate, 110, begin=now, every=0.1)
    rate.refuse(now=now, started=now, until=now)
    assert known(rate) == pytest.approx(9.0, rel=0.05)


@pytest.mark.parametrize("pause_s", [0.0, 4.0, 600.0])
def test_a_pause_within_the_span_does_not_lower_the_measure(pause_s: float) -> None:
    """Five seconds at 20/s, a cooldown, five seconds at the same pace: 20/s were taken."""
    rate = LearnedRate(SETTINGS)
    now = send(rate, 100, begin=0.0, every=0.05)
    rate.refuse(now=now, started=-1.0, until=now + pause_s)
    before = known(rate)
    now = send(rate, 99, begin=now + pause_s, every=0.05)
    rate.refuse(now=now, started=now - 0.05, until=now + 1.0)
    assert before == pytest.approx(18.0, rel=0.05)
    assert known(rate) == pytest.approx(0.9 * before), "not half of it"


def test_time_in_which_nobody_asked_does_not_lower_the_measure() -> None:
    """Slow answers and little concurrency make volleys; their seconds count, not the gaps."""
    rate = LearnedRate(SETTINGS)
    for begin in (0.0, 4.0, 8.0):
        send(rate, 20, begin=begin, every=0.01)
    rate.refuse(now=9.0, started=8.19, until=10.0)
    assert known(rate) == pytest.approx(0.9 * 59 / 3)


def test_requests_start_evenly_at_the_learned_rate() -> None:
    rate, now = learned(20)
    starts = []
    for _ in range(20):
        now = rate.ready_at(now)
        assert rate.ready_at(now) == now
        rate.start(now)
        starts.append(now)
    gaps = [after - before for before, after in pairwise(starts[1:])]
    assert gaps == pytest.approx([1 / known(rate)] * 18)


def test_time_without_requests_saves_up_no_burst() -> None:
    rate, now = learned(20)
    now += 3600.0
    rate.start(now)
    assert rate.ready_at(now) > now


def test_a_late_start_does_not_delay_those_after_it() -> None:
    """A timer that is 10 ms late each time costs nothing."""
    rate, begin = learned(20)
    now = begin
    for _ in range(80):
        now = rate.ready_at(now) + 0.01
        rate.start(now)
    assert 80 / (now - begin) == pytest.approx(known(rate), rel=0.02)


def test_a_429_to_a_request_from_before_does_not_lower_the_rate_again() -> None:
    rate, now = learned(20)
    before = known(rate)
    rate.start(now)
    for _ in range(30):
        rate.refuse(now=now + 0.1, started=now - 1.5, until=now + 0.1)
    assert rate.per_s == before


def test_another_429_measures_anew_and_proves_the_rate_too_high() -> None:
    rate, now = learned(20)
    before = known(rate)
    now = send(rate, 60, begin=now, every=1 / before)
    rate.refuse(now=now, started=now - 0.05, until=now + 1.0)
    assert known(rate) == pytest.approx(0.9 * before)


def test_one_429_never_takes_more_than_half() -> None:
    """Two requests in three seconds are no measure of what the server takes."""
    rate, now = learned(20)
    before = known(rate)
    rate.start(now)
    rate.start(now + 15.0)
    rate.start(now + 17.0)
    rate.refuse(now=now + 17.1, started=now + 17.0, until=now + 18.0)
    assert rate.per_s == before / 2


def test_a_429_right_after_a_pause_speaks_of_the_pause() -> None:
    """Refused once, the pause was too short; refused again, the rate is too high."""
    rate, now = learned(20)
    before = known(rate)
    for _ in range(5):
        rate.start(now)
    for _ in range(5):
        rate.refuse(now=now + 0.02, started=now, until=now + 1.0)
    assert rate.per_s == before
    rate.start(now + 1.0)
    rate.refuse(now=now + 1.02, started=now + 1.0, until=now + 2.0)
    assert known(rate) < before


def test_where_nothing_was_taken_there_is_nothing_to_learn() -> None:
    rate = LearnedRate(SETTINGS)
    send(rate, 16, begin=0.0, every=0.0)
    for _ in range(16):
        rate.refuse(now=0.1, started=0.0, until=2.0)
    assert rate.per_s is None
    assert rate.ready_at(2.0) == 2.0


def test_it_grows_by_a_twentieth_per_five_clean_seconds() -> None:
    rate, now = learned(20)
    before = known(rate)
    send(rate, round(before * 4.9), begin=now, every=1 / before)
    assert rate.per_s == before
    rate.start(now + 5.0)
    assert rate.per_s == pytest.approx(before * 1.05)


def test_a_429_restarts_the_five_clean_seconds() -> None:
    rate, now = learned(20)
    before = known(rate)
    now = send(rate, round(before * 4.9), begin=now, every=1 / before)
    rate.refuse(now=now, started=0.0, until=now)
    send(rate, round(before * 4.9), begin=now, every=1 / before)
    assert rate.per_s == before


def test_a_rate_that_is_not_what_limits_does_not_grow() -> None:
    """Once the busy seconds have left the span."""
    rate, now = learned(20)
    now = send(rate, 20, begin=now, every=0.5)
    before = known(rate)
    send(rate, 300, begin=now, every=0.5)
    assert rate.per_s == before


def test_what_was_never_sent_was_not_taken() -> None:
    rate = LearnedRate(SETTINGS)
    sent = [rate.start(0.0) for _ in range(64)]
    for second in sent[30:]:
        rate.withdraw(second)
    rate.refuse(now=0.1, started=0.0, until=1.0)
    assert known(rate) == pytest.approx(0.9 * 29)


def test_what_a_refusal_held_back_was_not_taken_either() -> None:
    """Between the lease and the send a 429 comes: the rate that it taught is corrected."""
    rate = LearnedRate(SETTINGS)
    sent = [rate.start(0.0) for _ in range(64)]
    for _ in range(24):
        rate.refuse(now=0.1, started=0.0, until=1.0)
    assert known(rate) == pytest.approx(0.9 * 40)
    for second in sent[50:]:
        rate.withdraw(second)
    assert known(rate) == pytest.approx(0.9 * 26)
    rate.start(1.0)
    rate.withdraw(rate.start(1.1))
    assert known(rate) == pytest.approx(0.9 * 26), "that one says nothing of the time before"


def test_an_unlucky_start_does_not_throttle_for_ever() -> None:
    """A rate a hundred times too low is mended within two and a half minutes."""
    server = SlidingWindowServer(1)
    load = Load(server, limits=Limits(SETTINGS, RateLimits()))
    load.run(until=20.0)
    server.limit = 100
    load.run(until=240.0)
    assert accepted(load.between(170.0, 240.0)) >= 0.85 * 100 * 70


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("lateness_s", [0.0, 0.004])
@pytest.mark.parametrize("limit", [5, 25, 50])
def test_with_hints_it_keeps_to_the_limit(limit: int, lateness_s: float, adaptive: bool) -> None:
    """At least 90 % of what a sliding second allows, at most 2 % refused after three seconds."""
    load = Load(
        SlidingWindowServer(limit),
        limits=Limits(SETTINGS, RateLimits()),
        concurrency=Concurrency(SETTINGS, ceiling=64, adaptive=adaptive),
        lateness_s=lateness_s,
    )
    load.run(until=61.0)
    assert accepted(load.between(0.0, 60.0)) >= 0.9 * limit * 60
    assert refused_share(load.between(3.0, 60.0)) <= 0.02


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("limit", [5, 25, 50])
def test_without_hints_it_finds_the_limit_and_goes_on_growing(limit: int, seed: int) -> None:
    """1,000 requests: at least 60 % of the limit, at most 15 % refused."""
    limits = Limits(SETTINGS, RateLimits())
    load = Load(
        SlidingWindowServer(limit, hints=False),
        limits=limits,
        concurrency=Concurrency(SETTINGS, ceiling=64, adaptive=True),
        lateness_s=0.002,
        seed=seed,
    )
    load.run(requests=1000)
    assert accepted(load.finished) >= 0.6 * limit * load.now
    assert refused_share(load.finished) <= 0.15
    rates = []
    for _ in range(40):
        load.run(until=load.now + 1.0)
        rates.append(limits._learned.per_s or 0.0)
    growths = [after > before for before, after in pairwise(rates)]
    assert sum(growths) >= 4
    assert max(rates) >= 0.98 * limit


@pytest.mark.parametrize("latency_s", [0.02, 5.0])
def test_a_burst_that_was_taken_is_soon_no_measure_any_more(latency_s: float) -> None:
    """A bucket of a whole minute's 500 takes them at once, then eight per second."""
    load = Load(
        MinuteServer(500, latency_s=latency_s, announces=False),
        limits=Limits(SETTINGS, RateLimits()),
        concurrency=Concurrency(SETTINGS, ceiling=128, adaptive=True),
        callers=128,
    )
    load.run(until=310.0)
    steady = load.between(100.0, 300.0)
    assert accepted(steady) >= 0.9 * 500 / 60 * 200
    assert refused_share(steady) <= 0.02


@pytest.mark.parametrize("hints", [True, False])
def test_slow_answers_do_not_hide_the_limit(hints: bool) -> None:
    """Answers that take ten seconds need 250 in flight, and a 429 costs none of them."""
    load = Load(
        SlidingWindowServer(25, latency_s=10.0, hints=hints),
        limits=Limits(SETTINGS, RateLimits()),
        concurrency=Concurrency(SETTINGS, ceiling=1000, adaptive=True),
        callers=1000,
    )
    load.run(until=320.0)
    assert accepted(load.between(100.0, 300.0)) >= 0.85 * 25 * 200
    assert refused_share(load.finished) <= 0.02
