"""What becomes of a job after each kind of outcome, at and around every limit."""

from __future__ import annotations

from collections import Counter

import pytest

from aiq.model import Kind
from aiq.policy.retry import (
    Again,
    Decision,
    Fail,
    History,
    RetrySettings,
    Succeed,
    backoff_s,
    counted,
    decide,
    errors_at,
    is_exhausted,
    unknowns,
)
from tests.support.factories import history, outcome


def after(
    kind: Kind,
    past: History | None = None,
    *,
    settings: RetrySettings | None = None,
    alone: bool = False,
    draw: float = 1.0,
) -> Decision:
    return decide(
        outcome(kind),
        history(("a", kind)) if past is None else past,
        settings=settings or RetrySettings(),
        alone=alone,
        draw=draw,
    )


def times(number: int, kind: Kind, provider: str = "a") -> History:
    return Counter({(provider, kind): number})


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Kind.OK, Succeed()),
        (Kind.BAD_REQUEST, Fail()),
        (Kind.CONNECT, Again(0.0)),
        (Kind.RATE_LIMITED, Again(0.0)),
        (Kind.OUT_OF_CREDIT, Again(0.0)),
        (Kind.NOT_FOUND, Again(0.0)),
        (Kind.CONTEXT_TOO_LONG, Again(0.0)),
        (Kind.CANCELLED, Again(0.0)),
        (Kind.SERVER_ERROR, Again(1.0)),
        (Kind.BAD_RESPONSE, Again(1.0)),
        (Kind.INTERRUPTED, Again(1.0)),
        (Kind.AUTH, Again(1.0)),
    ],
)
def test_the_first_outcome_of_each_kind(kind: Kind, expected: Decision) -> None:
    """Only kinds that count, or cost, wait before they try again."""
    assert after(kind) == expected


@pytest.mark.parametrize(
    ("errors", "limit", "expected"),
    [(1, 1, Fail()), (4, 5, Again(8.0)), (5, 5, Fail()), (6, 5, Fail()), (1999, 2000, Again(60.0))],
)
def test_server_errors_fail_the_job_at_the_limit(
    errors: int, limit: int, expected: Decision
) -> None:
    settings = RetrySettings(max_attempts=limit)
    assert after(Kind.SERVER_ERROR, times(errors, Kind.SERVER_ERROR), settings=settings) == expected


def test_counted_attempts_are_summed_over_providers() -> None:
    past = (
        times(2, Kind.SERVER_ERROR) + times(1, Kind.BAD_RESPONSE) + times(2, Kind.SERVER_ERROR, "b")
    )
    assert counted(past) == 5
    assert after(Kind.SERVER_ERROR, past) == Fail()


@pytest.mark.parametrize(
    "kind", [Kind.CONNECT, Kind.RATE_LIMITED, Kind.OUT_OF_CREDIT, Kind.AUTH, Kind.NOT_FOUND]
)
def test_what_does_not_count_never_fails_a_job(kind: Kind) -> None:
    """A thousand refusals that are the provider's affair leave the job pending."""
    past = times(1000, kind)
    assert counted(past) == 0
    assert isinstance(after(kind, past, settings=RetrySettings(max_attempts=1)), Again)


@pytest.mark.parametrize(
    ("on_unknown", "number", "expected"),
    [("retry", 1, Again(1.0)), ("retry", 2, Fail()), ("fail", 1, Fail())],
)
def test_unknown_outcomes_have_a_limit_of_their_own(
    on_unknown: str, number: int, expected: Decision
) -> None:
    settings = RetrySettings(on_unknown="retry" if on_unknown == "retry" else "fail")
    past = times(number, Kind.INTERRUPTED)
    assert unknowns(past) == number
    assert counted(past) == 0
    assert after(Kind.INTERRUPTED, past, settings=settings) == expected


def test_unknown_outcomes_are_summed_over_providers() -> None:
    past = times(1, Kind.INTERRUPTED) + times(1, Kind.INTERRUPTED, "b")
    assert after(Kind.INTERRUPTED, past) == Fail()


def test_an_earlier_unknown_does_not_fail_a_later_error() -> None:
    """Two unknowns end a job when the second comes, not when something else comes after one."""
    past = times(1, Kind.INTERRUPTED) + times(1, Kind.SERVER_ERROR)
    assert isinstance(after(Kind.SERVER_ERROR, past), Again)


@pytest.mark.parametrize(("number", "expected"), [(1, Again(1.0)), (2, Fail())])
def test_the_only_provider_gets_one_more_chance_after_a_bad_response(
    number: int, expected: Decision
) -> None:
    """A paid but unusable reply is not asked for a third time."""
    assert after(Kind.BAD_RESPONSE, times(number, Kind.BAD_RESPONSE), alone=True) == expected


def test_with_another_provider_left_two_bad_responses_do_not_fail_the_job() -> None:
    assert after(Kind.BAD_RESPONSE, times(2, Kind.BAD_RESPONSE)) == Again(2.0)


def test_server_errors_of_the_only_provider_have_all_five() -> None:
    assert isinstance(after(Kind.SERVER_ERROR, times(4, Kind.SERVER_ERROR), alone=True), Again)


@pytest.mark.parametrize(
    ("past", "expected"),
    [
        (times(1, Kind.BAD_RESPONSE), False),
        (times(2, Kind.BAD_RESPONSE), True),
        (times(2, Kind.SERVER_ERROR), False),
        (times(3, Kind.SERVER_ERROR), True),
        (times(1, Kind.BAD_RESPONSE) + times(2, Kind.SERVER_ERROR), True),
        (times(3, Kind.SERVER_ERROR, "b"), False),
        (times(9, Kind.CONNECT), False),
    ],
)
def test_a_provider_has_had_its_fill(past: History, expected: bool) -> None:
    """Three counted errors on one provider, or two bad responses."""
    assert is_exhausted(past, "a") is expected


def test_looking_at_a_history_adds_nothing_to_it() -> None:
    """A history is shared with the job; asking about absent kinds must not grow it."""
    past = times(1, Kind.SERVER_ERROR)
    is_exhausted(past, "z")
    errors_at(past, "z")
    assert dict(past) == {("a", Kind.SERVER_ERROR): 1}


@pytest.mark.parametrize(
    ("errors", "cap"),
    [(0, 1.0), (1, 1.0), (2, 2.0), (3, 4.0), (6, 32.0), (7, 60.0), (2000, 60.0), (10**9, 60.0)],
)
def test_backoff_doubles_from_one_second_to_sixty(errors: int, cap: float) -> None:
    assert backoff_s(errors, 1.0) == cap
    assert backoff_s(errors, 0.0) == 0.0
    assert backoff_s(errors, 0.25) == cap / 4
