"""One account's limits: what is configured, announced, learned and cooling, and how it adds up."""

from __future__ import annotations

import math

import pytest

from aiq.model import Quota, Usage
from aiq.policy.announced import Announced
from aiq.policy.concurrency import Concurrency
from aiq.policy.defaults import LimitSettings, RateLimits
from aiq.policy.limits import NOTHING, Limits
from aiq.policy.tokens import Estimate
from tests.support.limited_server_model import Load, MinuteServer, accepted, refused_share

SETTINGS = LimitSettings()
UNSAID = Usage()


def unlimited() -> Limits:
    return Limits(SETTINGS, RateLimits())


def tell(limits: Limits, quota: Quota, *, now: float = 0.0) -> None:
    """Let one request be answered with a quota at once."""
    limits.settle(limits.reserve(now, NOTHING), now=now, usage=UNSAID, quota=quota)


def test_an_account_without_limits_is_always_ready() -> None:
    limits = unlimited()
    for n in range(10_000):
        assert limits.ready_at(0.0, Estimate(10**6, 10**6)) <= 0.0
        limits.reserve(0.0, Estimate(n, n))
    assert limits.reason(0.0) is None
    assert not limits.counts_tokens


def test_nothing_starts_during_a_cooldown_whatever_the_buckets_say() -> None:
    limits = Limits(SETTINGS, RateLimits(requests=600))
    limits.rate_limited(now=1.0, started=0.5, hint_s=7.0, draw=0.5)
    assert limits.ready_at(1.0, NOTHING) == 8.0
    assert limits.other_ready_at(1.0) == 8.0
    assert limits.configured_ready_at(1.0, NOTHING) <= 1.0
    assert limits.reason(1.0) == "rate limited"
    assert limits.reason(8.0) is None


def test_a_shorter_hint_never_shortens_the_cooldown() -> None:
    limits = unlimited()
    limits.rate_limited(now=0.0, started=0.0, hint_s=20.0, draw=0.5)
    limits.rate_limited(now=1.0, started=0.0, hint_s=1.0, draw=0.5)
    assert limits.cooldown.until == 20.0


def test_a_configured_rate_is_told_from_the_other_limits() -> None:
    """The router waits for a rate, and passes a cooldown over."""
    limits = Limits(SETTINGS, RateLimits(requests=30))
    limits.reserve(0.0, NOTHING)
    assert limits.configured_ready_at(0.0, NOTHING) > 0.0
    assert limits.other_ready_at(0.0) <= 0.0
    assert limits.reason(0.0) == "at 30 requests per minute"


@pytest.mark.parametrize(
    ("rates", "estimate", "noun"),
    [
        (RateLimits(tokens=6000), Estimate(600, 400), "6000 tokens"),
        (RateLimits(input_tokens=6000), Estimate(1000, 0), "6000 input tokens"),
        (RateLimits(output_tokens=6000), Estimate(0, 1000), "6000 output tokens"),
    ],
)
def test_each_kind_of_tokens_has_its_own_limit(
    rates: RateLimits, estimate: Estimate, noun: str
) -> None:
    limits = Limits(SETTINGS, rates)
    assert limits.counts_tokens
    assert limits.ready_at(0.0, estimate) <= 0.0
    limits.reserve(0.0, estimate)
    assert limits.ready_at(0.0, estimate) == pytest.approx(61.0 / 5)
    assert limits.reason(0.0) == f"at {noun} per minute"


def test_the_tightest_of_several_limits_counts() -> None:
    limits = Limits(SETTINGS, RateLimits(requests=6000, tokens=600))
    limits.reserve(0.0, Estimate(100, 0))
    assert limits.ready_at(0.0, Estimate(1, 0)) == pytest.approx(61.0 / 500)
    assert limits.ready_at(0.0, Estimate(100, 0)) == pytest.approx(61.0 / 5)


@pytest.mark.parametrize(
    ("usage", "ready_for"),
    [
        (Usage(input_tokens=100, output_tokens=100), 800),
        (Usage(input_tokens=100), 900),
        (Usage(), 0),
        (Usage(output_tokens=100), 400),
    ],
    ids=["less", "an embedding", "not reported", "output only"],
)
def test_real_usage_replaces_the_estimate(usage: Usage, ready_for: int) -> None:
    limits = Limits(SETTINGS, RateLimits(tokens=6000))
    reservation = limits.reserve(0.0, Estimate(500, 500))
    limits.settle(reservation, now=0.0, usage=usage, quota=None)
    assert limits.ready_at(0.0, Estimate(ready_for, 0)) <= 0.0
    assert limits.ready_at(0.0, Estimate(ready_for + 1, 0)) > 0.0


def test_usage_above_the_estimate_leaves_a_debt() -> None:
    limits = Limits(SETTINGS, RateLimits(tokens=6000))
    reservation = limits.reserve(0.0, Estimate(500, 0))
    usage = Usage(input_tokens=500, output_tokens=1500)
    limits.settle(reservation, now=0.0, usage=usage, quota=None)
    assert limits.ready_at(0.0, Estimate(1, 0)) == pytest.approx(61.0 * 1001 / 5000)


def test_what_was_never_sent_gives_everything_back() -> None:
    limits = Limits(SETTINGS, RateLimits(requests=30, tokens=6000))
    reservation = limits.reserve(0.0, Estimate(1000, 0))
    assert limits.ready_at(0.0, Estimate(1000, 0)) > 0.0
    limits.refund(reservation, now=0.0)
    assert limits.ready_at(0.0, Estimate(1000, 0)) <= 0.0


def test_a_reservation_ends_once() -> None:
    """A second settlement or refund would make room that is not there."""
    limits = Limits(SETTINGS, RateLimits(requests=30))
    first, _ = limits.reserve(0.0, NOTHING), limits.reserve(0.0, NOTHING)
    limits.settle(first, now=0.0, usage=UNSAID, quota=None)
    before = limits.ready_at(0.0, NOTHING)
    limits.refund(first, now=0.0)
    limits.settle(first, now=0.0, usage=UNSAID, quota=Quota(requests_limit=1, requests_left=0))
    assert limits.ready_at(0.0, NOTHING) == before > 0.0


def test_what_is_left_minus_what_is_in_flight_may_start() -> None:
    limits = unlimited()
    tell(limits, Quota(requests_limit=600, requests_left=3))
    for _ in range(3):
        assert limits.ready_at(0.0, NOTHING) <= 0.0
        limits.reserve(0.0, NOTHING)
    assert limits.ready_at(0.0, NOTHING) == pytest.approx(0.1), "ten per second come back"
    assert limits.reason(0.0) == "at the announced 600 requests per minute"
    assert limits.configured_ready_at(0.0, NOTHING) <= 0.0


def test_a_reply_that_says_nothing_still_took_its_share() -> None:
    limits = unlimited()
    tell(limits, Quota(requests_limit=60, requests_left=1))
    limits.settle(limits.reserve(0.0, NOTHING), now=0.0, usage=UNSAID, quota=None)
    assert limits.ready_at(0.0, NOTHING) == pytest.approx(1.0)


def test_what_was_never_sent_took_nothing() -> None:
    limits = unlimited()
    tell(limits, Quota(requests_limit=60, requests_left=1))
    limits.refund(limits.reserve(0.0, NOTHING), now=0.0)
    assert limits.ready_at(0.0, NOTHING) <= 0.0


def test_announced_tokens_are_believed_like_requests() -> None:
    limits = unlimited()
    tell(limits, Quota(tokens_limit=6000, tokens_left=500))
    assert limits.counts_tokens
    assert limits.ready_at(0.0, Estimate(400, 100)) <= 0.0
    assert limits.ready_at(0.0, Estimate(400, 200)) == pytest.approx(1.0)


def test_a_late_reply_does_not_move_the_present() -> None:
    """Its request started before that of the reply that is believed."""
    limits = unlimited()
    old = limits.reserve(0.0, NOTHING)
    tell(limits, Quota(requests_limit=60, requests_left=0), now=1.0)
    quota = Quota(requests_limit=60, requests_left=50)
    limits.settle(old, now=1.0, usage=UNSAID, quota=quota)
    assert limits.ready_at(1.0, NOTHING) == pytest.approx(2.0)


def test_without_a_known_period_one_request_per_second_goes_all_the_same() -> None:
    """Else a belief that nothing is left would never be corrected."""
    limits = unlimited()
    tell(limits, Quota(requests_left=0), now=10.0)
    assert limits.ready_at(10.0, NOTHING) == 11.0
    assert limits.reason(10.0) == "no requests left"
    tell(limits, Quota(requests_left=5), now=11.0)
    assert limits.ready_at(11.0, NOTHING) <= 11.0


def test_a_belief_never_exceeds_the_limit_however_long_nothing_was_said() -> None:
    announced = Announced()
    announced.believe(0.0, started=0.0, limit=60, left=0)
    assert announced.ready_at(3600.0, 1, in_flight=59, last_start=0.0) == 3600.0
    assert announced.ready_at(3600.0, 1, in_flight=60, last_start=0.0) == math.inf


def test_more_than_the_whole_limit_starts_when_all_of_it_is_there() -> None:
    announced = Announced()
    announced.believe(0.0, started=0.0, limit=60, left=0)
    assert announced.ready_at(0.0, 1000, in_flight=0, last_start=0.0) == 60.0
    assert announced.ready_at(60.0, 1000, in_flight=0, last_start=0.0) == 60.0


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_that_is_not_positive_is_no_limit(limit: int) -> None:
    limits = unlimited()
    tell(limits, Quota(requests_limit=limit, requests_left=-1))
    assert limits.ready_at(0.0, NOTHING) <= 0.0


def test_a_429_teaches_a_rate_only_where_none_is_known() -> None:
    """Configured or announced per minute; a limit per day is none."""
    configured = Limits(SETTINGS, RateLimits(requests=600))
    announced, daily, unknown = unlimited(), unlimited(), unlimited()
    tell(announced, Quota(requests_limit=600, requests_left=500))
    tell(daily, Quota(requests_left=500))
    for limits in (configured, announced, daily, unknown):
        for _ in range(9):
            limits.reserve(0.0, NOTHING)
        refused = limits.reserve(0.0, NOTHING)
        limits.settle(refused, now=0.1, usage=UNSAID, quota=None)
        limits.rate_limited(now=0.1, started=0.0, hint_s=1.0, draw=0.5)
        limits.reserve(1.1, NOTHING)
    assert configured.ready_at(1.1, NOTHING) <= 1.1
    assert announced.ready_at(1.1, NOTHING) <= 1.1
    assert daily.reason(1.1) == "learned limit 9/s"
    assert unknown.reason(1.1) == "learned limit 8.1/s"


def test_what_was_never_sent_teaches_no_rate() -> None:
    limits = unlimited()
    reserved = [limits.reserve(0.0, NOTHING) for _ in range(20)]
    for reservation in reserved[10:]:
        limits.refund(reservation, now=0.0)
    limits.rate_limited(now=0.1, started=0.0, hint_s=1.0, draw=0.5)
    limits.reserve(1.1, NOTHING)
    assert limits.reason(1.1) == "learned limit 8.1/s"


def test_an_announced_rate_takes_the_place_of_a_learned_one() -> None:
    limits = unlimited()
    limits.reserve(0.0, NOTHING)
    limits.rate_limited(now=0.0, started=0.0, hint_s=1.0, draw=0.5)
    limits.reserve(1.0, NOTHING)
    limits.reserve(1.0, NOTHING)
    limits.rate_limited(now=1.0, started=1.0, hint_s=1.0, draw=0.5)
    limits.reserve(2.0, NOTHING)
    assert limits.ready_at(2.0, NOTHING) > 2.0
    tell(limits, Quota(requests_limit=600, requests_left=500), now=2.0)
    assert limits.ready_at(2.0, NOTHING) <= 2.0


def test_a_server_that_announces_its_limit_hardly_ever_has_to_refuse() -> None:
    limits = unlimited()
    concurrency = Concurrency(SETTINGS, ceiling=64, adaptive=True)
    load = Load(MinuteServer(600, announces=True), limits=limits, concurrency=concurrency)
    load.run(until=240.0)
    steady = load.between(60.0, 220.0)
    assert refused_share(load.finished) <= 0.01
    assert accepted(steady) >= 0.95 * 10 * 160


def test_a_belief_of_unknown_period_that_is_not_repeated_is_given_up() -> None:
    """A server that says what is left only when it refuses would hold us at one per second."""
    limits = unlimited()
    tell(limits, Quota(requests_left=0))
    limits.settle(limits.reserve(1.0, NOTHING), now=1.1, usage=UNSAID, quota=None)
    limits.reserve(59.0, NOTHING)
    assert limits.ready_at(59.5, NOTHING) == 60.0
    assert limits.ready_at(60.0, NOTHING) <= 60.0
    tell(limits, Quota(requests_left=0), now=60.0)
    assert limits.ready_at(60.5, NOTHING) == 61.0
