"""Whatever the schedule: no minute exceeds what was configured, and nothing sticks."""

from __future__ import annotations

import math

from hypothesis import example, given
from hypothesis import strategies as st

from aiq.model import Quota, Usage
from aiq.policy.buckets import Bucket
from aiq.policy.concurrency import Concurrency
from aiq.policy.defaults import LimitSettings, RateLimits
from aiq.policy.limits import Limits, Reservation
from aiq.policy.tokens import Estimate

pauses = st.one_of(st.just(0.0), st.floats(0.0, 5.0), st.floats(0.0, 200.0))


def fullest_minute(arrivals: list[tuple[float, int]]) -> int:
    """Return the most units that any 60 s hold."""
    return max(
        (sum(n for at, n in arrivals if begin <= at < begin + 60.0) for begin, _ in arrivals),
        default=0,
    )


@given(
    per_minute=st.integers(1, 100),
    steps=st.lists(st.tuples(pauses, st.floats(0.0, 1.0)), max_size=150),
)
def test_requests_never_exceed_their_minute_at_the_server(
    per_minute: int, steps: list[tuple[float, float]]
) -> None:
    """Sent at random or as soon as possible, and up to a second under way."""
    bucket, now, arrivals = Bucket(per_minute, burst=1 / 30), 0.0, []
    for pause, delay in steps:
        now = max(now + pause, bucket.ready_at(now + pause, 1))
        bucket.take(now, 1)
        arrivals.append((now + delay, 1))
    assert fullest_minute(arrivals) <= per_minute


@given(
    per_minute=st.integers(1, 100),
    steps=st.lists(st.tuples(pauses, st.booleans(), st.floats(0.0, 90.0)), max_size=150),
)
def test_what_is_refunded_late_buys_nothing_extra(
    per_minute: int, steps: list[tuple[float, bool, float]]
) -> None:
    """A request that was never sent gives its place back, but not the refill it has caused."""
    limits = Limits(LimitSettings(), RateLimits(requests=per_minute))
    estimate, now = Estimate(0, 0), 0.0
    arrivals: list[tuple[float, int]] = []
    unsent: list[tuple[float, Reservation]] = []
    for pause, is_sent, age in steps:
        now += pause
        for due, reservation in [one for one in unsent if one[0] <= now]:
            limits.refund(reservation, now=now)
            unsent.remove((due, reservation))
        now = max(now, limits.ready_at(now, estimate))
        reservation = limits.reserve(now, estimate)
        if is_sent:
            arrivals.append((now, 1))
        else:
            unsent.append((now + age, reservation))
    assert fullest_minute(arrivals) <= per_minute


@given(
    per_minute=st.integers(10, 5000),
    steps=st.lists(
        st.tuples(pauses, st.integers(1, 3000), st.floats(0.0, 1.0), st.booleans()), max_size=100
    ),
)
def test_tokens_never_exceed_their_minute_when_no_estimate_is_too_low(
    per_minute: int, steps: list[tuple[float, int, float, bool]]
) -> None:
    """Of any size up to the whole minute, settled at once or only much later."""
    limits = Limits(LimitSettings(), RateLimits(tokens=per_minute))
    now, arrivals = 0.0, []
    unsettled: list[tuple[Reservation, int]] = []
    for pause, size, share, is_settled in steps:
        estimate = Estimate(min(size, per_minute), 0)
        now = max(now + pause, limits.ready_at(now + pause, estimate))
        real = round(estimate.input_tokens * share)
        arrivals.append((now, real))
        unsettled.append((limits.reserve(now, estimate), real))
        if is_settled:
            for reservation, tokens in unsettled:
                usage = Usage(input_tokens=tokens, output_tokens=0)
                limits.settle(reservation, now=now, usage=usage, quota=None)
            unsettled.clear()
    assert fullest_minute(arrivals) <= per_minute


counts = st.none() | st.integers(-5, 10_000)
quotas = st.builds(
    Quota,
    requests_limit=counts,
    requests_left=counts,
    tokens_limit=counts,
    tokens_left=counts,
    output_tokens_left=counts,
)


@given(
    rates=st.builds(
        RateLimits,
        requests=st.none() | st.integers(1, 1000),
        tokens=st.none() | st.integers(1, 10_000),
    ),
    events=st.lists(
        st.tuples(
            st.floats(0.0, 30.0),
            st.sampled_from(["answer", "refuse", "refund"]),
            st.none() | quotas,
            st.none() | st.floats(0.0, 5.0),
        ),
        max_size=60,
    ),
)
@example(
    RateLimits(),
    [(0.0, "answer", None, None), (0.0, "refuse", None, None), (0.0, "answer", None, None)],
)
def test_an_idle_account_is_usable_again_within_a_bounded_time(
    rates: RateLimits, events: list[tuple[float, str, Quota | None, float | None]]
) -> None:
    """Whatever was announced, learned, taken and given back: nothing waits for ever."""
    limits, now, estimate = Limits(LimitSettings(), rates), 0.0, Estimate(50, 50)
    usage = Usage(input_tokens=60, output_tokens=70)
    for pause, what, quota, hint_s in events:
        reservation = limits.reserve(now, estimate)
        started, now = now, now + pause
        if what == "refund":
            limits.refund(reservation, now=now)
            continue
        limits.settle(reservation, now=now, usage=usage, quota=quota)
        if what == "refuse":
            limits.rate_limited(now=now, started=started, hint_s=hint_s, draw=1.0)
    # 131 units each, at the slowest configured, announced or learned: one per minute.
    longest = 60.0 * (131 * len(events) + 200) * 61 / 60 * 1.3
    ready_at = limits.ready_at(now, estimate)
    assert ready_at <= now + longest
    now = max(now, ready_at)
    again = limits.ready_at(now + 1e-3, estimate)
    assert again <= now + 1e-3, "the instant it named is the instant it works"


calls = st.lists(
    st.tuples(st.sampled_from(["begin", "good", "bad", "neutral", "pause"]), st.floats(0.0, 10.0)),
    max_size=200,
)


@given(start=st.integers(1, 64), ceiling=st.integers(1, 300), adaptive=st.booleans(), events=calls)
def test_the_limit_stays_between_one_and_its_ceiling(
    start: int, ceiling: int, adaptive: bool, events: list[tuple[str, float]]
) -> None:
    """In-flight calls are counted exactly, whatever the order of their ends."""
    concurrency = Concurrency(LimitSettings(start=start), ceiling=ceiling, adaptive=adaptive)
    started: list[float] = []
    now = 0.0
    for what, pause in events:
        now += pause
        before = concurrency.limit
        if what == "begin":
            concurrency.begin(now)
            started.append(now)
        elif what == "pause":
            concurrency.slow_start(now)
        elif not started:
            continue
        elif what == "good":
            concurrency.end_good(now, started=started.pop(0))
        elif what == "bad":
            concurrency.end_congested(now, started=started.pop())
            assert concurrency.limit <= before
        else:
            concurrency.end_neutral(now)
            started.pop()
        assert 1 <= concurrency.limit <= ceiling
        assert adaptive or concurrency.limit == ceiling
        assert concurrency.in_flight == len(started)
        assert concurrency.grows_at > now - 10.0 or math.isinf(concurrency.grows_at)
