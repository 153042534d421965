"""Requests in flight: doubling, then adding one, and backing off once per sign of congestion."""

from __future__ import annotations

import math

import pytest

from aiq.policy.concurrency import Concurrency
from aiq.policy.defaults import LimitSettings, RateLimits
from aiq.policy.limits import Limits
from tests.support.limited_server_model import Load, SharedCapacityServer, accepted

SETTINGS = LimitSettings()


def adaptive(ceiling: int = 1000, *, start: int = 16) -> Concurrency:
    return Concurrency(LimitSettings(start=start), ceiling=ceiling, adaptive=True)


def fill(concurrency: Concurrency, now: float) -> int:
    """Begin as many as there is room for."""
    begun = 0
    while concurrency.has_room:
        concurrency.begin(now)
        begun += 1
    return begun


def clean_round(concurrency: Concurrency, now: float) -> None:
    """Begin what there is room for, and end it well a moment later."""
    for _ in range(fill(concurrency, now)):
        concurrency.end_good(now + 0.1, started=now)


@pytest.mark.parametrize(("ceiling", "limit"), [(1, 1), (4, 4), (16, 16), (128, 16)])
def test_it_starts_low(ceiling: int, limit: int) -> None:
    assert adaptive(ceiling).limit == limit


def test_it_doubles_with_every_clean_round_up_to_the_ceiling() -> None:
    concurrency, limits = adaptive(200), []
    for n in range(6):
        limits.append(concurrency.limit)
        clean_round(concurrency, float(n))
    assert limits == [16, 32, 64, 128, 200, 200]
    assert not concurrency.is_reduced


def test_a_clean_server_is_used_fully_within_seven_rounds() -> None:
    concurrency = adaptive(1000)
    for n in range(7):
        clean_round(concurrency, float(n))
    assert concurrency.limit == 1000


def test_a_round_ends_after_five_seconds_without_any_answer() -> None:
    """Answers may take minutes; silence without congestion is good news."""
    concurrency = adaptive()
    fill(concurrency, 0.0)
    assert concurrency.grows_at == 5.0
    concurrency.advance(4.9)
    assert not concurrency.has_room
    concurrency.advance(5.0)
    assert concurrency.limit == 32
    assert concurrency.grows_at == math.inf, "half of it is free"


def test_replies_to_requests_of_an_earlier_round_do_not_end_the_next() -> None:
    concurrency = adaptive()
    fill(concurrency, 0.0)
    concurrency.advance(5.0)
    for _ in range(16):
        concurrency.end_good(6.0, started=0.0)
        concurrency.begin(6.0)
    assert concurrency.limit == 32
    fill(concurrency, 6.0)
    for n in range(32):
        assert concurrency.limit == 32 + n, "one more with every reply, so that there is no volley"
        concurrency.end_good(7.0, started=6.0)
    assert concurrency.limit == 64
    concurrency.end_good(7.0, started=6.0)
    assert concurrency.limit == 64, "that was a reply to a request of the round before"


def test_it_does_not_grow_where_it_is_not_what_limits() -> None:
    concurrency = adaptive()
    for n in range(1000):
        concurrency.begin(n / 2)
        concurrency.end_good(n / 2 + 0.4, started=n / 2)
    assert concurrency.limit == 16


def test_congestion_takes_three_tenths() -> None:
    concurrency = adaptive()
    fill(concurrency, 0.0)
    concurrency.end_congested(1.0, started=0.0)
    assert concurrency.limit == 11
    assert concurrency.is_reduced


def test_a_volley_of_refusals_is_one_sign() -> None:
    """Requests sent before the reduction speak of the old limit, those after it of the new."""
    concurrency = adaptive()
    fill(concurrency, 0.0)
    for _ in range(16):
        concurrency.end_congested(1.0, started=0.0)
    assert concurrency.limit == 11
    fill(concurrency, 2.0)
    concurrency.end_congested(3.0, started=2.0)
    assert concurrency.limit == 7


def test_it_never_falls_below_one() -> None:
    concurrency = adaptive()
    for n in range(50):
        concurrency.begin(float(n))
        concurrency.end_congested(n + 0.5, started=float(n))
    assert concurrency.limit == 1
    assert concurrency.has_room


def test_after_congestion_it_gains_one_per_limit_of_good_replies() -> None:
    concurrency = adaptive()
    fill(concurrency, 0.0)
    concurrency.end_congested(1.0, started=0.0)
    for _ in range(15):
        concurrency.end_good(1.5, started=0.0)
    assert concurrency.limit == 11, "replies to requests from before say nothing of it"
    for now in (2.0, 3.0, 4.0):
        clean_round(concurrency, now)
    assert concurrency.limit == 14
    assert concurrency.is_reduced
    concurrency.advance(1000.0)
    assert concurrency.limit == 14, "time alone adds nothing any more"


def test_it_is_reduced_until_it_is_back_at_its_ceiling() -> None:
    concurrency = adaptive(12)
    fill(concurrency, 0.0)
    concurrency.end_congested(0.5, started=0.0)
    assert concurrency.is_reduced
    while concurrency.in_flight:
        concurrency.end_good(0.6, started=0.0)
    for n in range(1, 5):
        clean_round(concurrency, float(n))
    assert concurrency.limit == 12
    assert not concurrency.is_reduced


def test_ramping_up_is_no_reduction() -> None:
    assert not adaptive().is_reduced


def test_after_a_pause_it_starts_at_a_quarter_and_doubles_again() -> None:
    concurrency = adaptive(64, start=64)
    concurrency.begin(0.0)
    concurrency.end_congested(1.0, started=0.0)
    assert concurrency.limit == 44
    concurrency.slow_start(10.0)
    limits = []
    for n in range(4):
        limits.append(concurrency.limit)
        clean_round(concurrency, 10.0 + n)
    assert limits == [11, 22, 44, 64]


def test_what_is_in_flight_across_a_pause_is_no_rush() -> None:
    """A pause of 20 ms among answers of 10 s must not empty the line."""
    concurrency = adaptive(64, start=64)
    fill(concurrency, 0.0)
    concurrency.end_congested(1.0, started=0.0)
    concurrency.slow_start(1.02)
    assert concurrency.limit == 44
    assert not concurrency.has_room


def test_a_quarter_is_at_least_one() -> None:
    concurrency = adaptive(2)
    concurrency.slow_start(0.0)
    assert concurrency.limit == 1


def test_an_end_that_says_nothing_only_makes_room() -> None:
    concurrency = adaptive()
    fill(concurrency, 0.0)
    for _ in range(16):
        concurrency.end_neutral(1.0)
    assert concurrency.limit == 16
    assert concurrency.in_flight == 0


def test_a_fixed_limit_stays() -> None:
    concurrency = Concurrency(SETTINGS, ceiling=64, adaptive=False)
    assert fill(concurrency, 0.0) == 64
    for _ in range(64):
        concurrency.end_congested(1.0, started=0.0)
    concurrency.slow_start(2.0)
    concurrency.advance(100.0)
    assert concurrency.limit == 64
    assert not concurrency.is_reduced
    assert concurrency.in_flight == 0


@pytest.mark.parametrize("seed", range(3))
def test_it_settles_around_the_capacity_of_a_server_that_sheds(seed: int) -> None:
    """Eight at once, four more in the queue, the rest refused with 503."""
    load = Load(
        SharedCapacityServer(capacity=8, most=12),
        limits=Limits(SETTINGS, RateLimits()),
        concurrency=adaptive(64),
        lateness_s=0.002,
        seed=seed,
    )
    load.run(until=61.0)
    assert accepted(load.between(0.0, 60.0)) >= 0.85 * 80 * 60
    settled = [limit for at, limit in load.limit_history if at > 2.0]
    assert min(settled) >= 6
    assert max(settled) <= 16
