"""Waits, whatever the errors and the dice: bounded, never negative, never shrinking."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from aiq.model import Kind
from aiq.policy.cooldown import Cooldown
from aiq.policy.defaults import LimitSettings
from aiq.policy.retry import Again, Fail, RetrySettings, Succeed, backoff_s, decide
from tests.support.factories import outcome

draws = st.floats(0.0, 1.0)
instants = st.floats(0.0, 1e6)
hints = st.none() | st.floats()


@given(errors=st.integers(0, 10**9), draw=draws)
def test_backoff_stays_between_nothing_and_its_cap(errors: int, draw: float) -> None:
    cap = min(60.0, 2.0 ** min(max(errors, 1) - 1, 10))
    assert 0.0 <= backoff_s(errors, draw) <= cap


@given(errors=st.integers(1, 5000), draw=draws)
def test_backoff_never_shrinks_with_more_errors(errors: int, draw: float) -> None:
    assert backoff_s(errors + 1, draw) >= backoff_s(errors, draw)


@given(st.lists(st.tuples(instants, instants, hints, draws), max_size=30))
def test_a_cooldown_only_moves_later_and_at_most_an_hour_ahead(
    refusals: list[tuple[float, float, float | None, float]],
) -> None:
    """In whatever order replies come back, also with time running backwards."""
    cooldown = Cooldown(LimitSettings())
    latest = max((now for now, *_ in refusals), default=0.0)
    for now, age, hint_s, draw in refusals:
        before = cooldown.until
        cooldown.extend(now=now, started=now - age, hint_s=hint_s, draw=draw)
        assert cooldown.until >= before
        assert cooldown.until >= now
        assert cooldown.until <= latest + 3600.0


@given(
    outcomes=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(list(Kind))), max_size=40),
    max_attempts=st.integers(1, 10),
    alone=st.booleans(),
    draw=draws,
)
def test_a_job_ends_exactly_when_a_limit_says_so(
    outcomes: list[tuple[str, Kind]], max_attempts: int, alone: bool, draw: float
) -> None:
    """No sequence of outcomes buys more than the limits allow, and none ends a job before them."""
    past: Counter[tuple[str, Kind]] = Counter()
    bad = counted = unknown = 0
    for provider, kind in outcomes:
        past[provider, kind] += 1
        bad += kind is Kind.BAD_RESPONSE
        counted += kind in (Kind.BAD_RESPONSE, Kind.SERVER_ERROR)
        unknown += kind is Kind.INTERRUPTED
        decision = decide(
            outcome(kind),
            past,
            settings=RetrySettings(max_attempts=max_attempts),
            alone=alone,
            draw=draw,
        )
        is_counted = kind in (Kind.BAD_RESPONSE, Kind.SERVER_ERROR)
        must_end = (
            kind is Kind.BAD_REQUEST
            or (is_counted and (counted >= max_attempts or (alone and bad >= 2)))
            or (kind is Kind.INTERRUPTED and unknown >= 2)
        )
        if kind is Kind.OK:
            assert decision == Succeed()
            return
        assert isinstance(decision, Fail) is must_end
        if must_end:
            return
        assert isinstance(decision, Again)
        assert 0.0 <= decision.delay_s <= 60.0
