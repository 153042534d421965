"""Who takes a job's next attempt: rank first, then who has not failed it, never who cannot."""

from __future__ import annotations

from collections import Counter

import pytest

from aiq.model import Kind
from aiq.policy.admission import Candidate
from aiq.policy.breaker import State, Verdict
from aiq.policy.limits import NOTHING
from aiq.policy.retry import History
from aiq.policy.routing import Go, Never, Route, Wait, eligible, is_alone, route
from aiq.policy.standing import RefusedModel
from aiq.policy.strategy import Strategy
from tests.support.factories import account, candidate, history


def chosen(
    candidates: list[Candidate],
    past: History | None = None,
    *,
    now: float = 0.0,
    names_model: bool = False,
) -> Route:
    return route(
        candidates,
        past or Counter(),
        strategy=Strategy(),
        estimate=lambda _: NOTHING,
        names_model=names_model,
        now=now,
    )


def cool(one: Candidate, until: float) -> None:
    one.standing.account.limits.cooldown.until = until


def disable(one: Candidate) -> None:
    one.standing.disabled = "auth: key refused"


def test_the_best_rank_takes_it() -> None:
    a, b = candidate("a"), candidate("b")
    assert chosen([a, b]) == Go(a)


@pytest.mark.parametrize(("now", "takes"), [(9.999, "b"), (10.0, "a"), (11.0, "a")])
def test_a_cooling_rank_is_passed_over_until_exactly_its_end(now: float, takes: str) -> None:
    a, b = candidate("a"), candidate("b")
    cool(a, 10.0)
    choice = chosen([a, b], now=now)
    assert isinstance(choice, Go)
    assert choice.candidate.provider == takes


def test_a_full_better_rank_is_waited_for() -> None:
    """A limit of our own is no failure: the lower rank is not used for it."""
    a, b = candidate("a", limit=1), candidate("b")
    a.standing.in_flight = 1
    assert chosen([a, b]) == Wait(None)


def test_all_cooling_waits_for_the_first_to_come_back() -> None:
    a, b = candidate("a"), candidate("b")
    cool(a, 30.0)
    cool(b, 20.0)
    assert chosen([a, b]) == Wait(20.0)


def test_disabled_providers_are_never_waited_for() -> None:
    a, b = candidate("a"), candidate("b")
    disable(a)
    cool(b, 20.0)
    assert chosen([a, b]) == Wait(20.0)
    disable(b)
    assert chosen([a, b]) == Never(None, "no usable provider is left")


def test_one_account_cools_and_falls_together() -> None:
    shared = account()
    a, b = candidate("a", of=shared), candidate("b", of=shared)
    cool(a, 5.0)
    assert chosen([a, b]) == Wait(5.0)
    shared.disabled = "auth: 401"
    assert isinstance(chosen([a, b]), Never)


def test_who_has_not_failed_the_job_comes_first() -> None:
    a, b, c = candidate("a"), candidate("b"), candidate("c")
    past = history(("a", Kind.SERVER_ERROR))
    assert chosen([a, b, c], past) == Go(b)
    past["b", Kind.CONNECT] += 1
    assert chosen([a, b, c], past) == Go(c)
    past["c", Kind.BAD_RESPONSE] += 1
    assert chosen([a, b, c], past) == Go(a), "when all have failed it, rank decides again"


def test_a_provider_with_three_counted_errors_is_out_while_another_exists() -> None:
    a, b = candidate("a"), candidate("b")
    past: History = Counter({("a", Kind.SERVER_ERROR): 3, ("b", Kind.CONNECT): 9})
    assert eligible([a, b], past) == [b]
    past["b", Kind.SERVER_ERROR] += 3
    assert eligible([a, b], past) == [a, b]


def test_a_provider_without_the_model_is_not_asked_twice() -> None:
    a, b = candidate("a"), candidate("b")
    assert eligible([a, b], history(("a", Kind.NOT_FOUND))) == [b]


@pytest.mark.parametrize(
    ("windows", "expected"),
    [
        ((8_000, 128_000), ["b"]),
        ((8_000, 8_000), []),
        ((8_000, None), []),
        ((None, 128_000), []),
        ((8_000, 4_000), []),
    ],
)
def test_too_long_goes_only_where_the_window_is_known_to_be_larger(
    windows: tuple[int | None, int | None], expected: list[str]
) -> None:
    a, b = candidate("a", window=windows[0]), candidate("b", window=windows[1])
    past = history(("a", Kind.CONTEXT_TOO_LONG))
    assert [c.provider for c in eligible([a, b], past)] == expected
    if not expected:
        choice = chosen([a, b], past)
        assert isinstance(choice, Never)
        assert choice.kind is Kind.CONTEXT_TOO_LONG


def test_too_long_is_judged_by_the_largest_window_that_refused() -> None:
    a, b, c = candidate("a", window=8), candidate("b", window=64), candidate("c", window=32)
    past = history(("a", Kind.CONTEXT_TOO_LONG), ("b", Kind.CONTEXT_TOO_LONG))
    assert eligible([a, b, c], past) == []


def test_too_long_waits_for_a_larger_window_that_is_switched_off() -> None:
    """A refused key is the provider's fault: the job waits for a run that has a good one."""
    a, b = candidate("a", window=8_000), candidate("b", window=128_000)
    disable(b)
    past = history(("a", Kind.CONTEXT_TOO_LONG))
    assert chosen([a, b], past) == Never(None, "no usable provider is left")


def test_too_long_fails_when_the_larger_window_lacks_the_model() -> None:
    a, b = candidate("a", window=8_000), candidate("b", window=128_000)
    b.standing.refused_models["m"] = RefusedModel(Kind.NOT_FOUND, "not_found: no such model")
    choice = chosen([a, b], history(("a", Kind.CONTEXT_TOO_LONG)))
    assert isinstance(choice, Never)
    assert choice.kind is Kind.CONTEXT_TOO_LONG


@pytest.mark.parametrize(("names_model", "kind"), [(True, Kind.NOT_FOUND), (False, None)])
def test_a_model_nobody_offers_fails_only_the_prompt_that_names_it(
    names_model: bool, kind: Kind | None
) -> None:
    """With `-m typo` the command is wrong, and every job stays pending."""
    a, b = candidate("a"), candidate("b")
    for one in (a, b):
        one.standing.refused_models["m"] = RefusedModel(Kind.NOT_FOUND, "not_found: no such model")
    choice = chosen([a, b], names_model=names_model)
    assert isinstance(choice, Never)
    assert choice.kind is kind


def test_a_named_model_is_not_failed_while_one_provider_is_merely_switched_off() -> None:
    a, b = candidate("a"), candidate("b")
    a.standing.refused_models["m"] = RefusedModel(Kind.NOT_FOUND, "not_found: no such model")
    disable(b)
    assert chosen([a, b], names_model=True) == Never(None, "no usable provider is left")


def test_a_model_that_no_provider_may_serve_fails_the_job() -> None:
    """With `strict_models` there may be nobody to ask."""
    choice = chosen([], names_model=True)
    assert isinstance(choice, Never)
    assert choice.kind is Kind.NOT_FOUND


def test_alone_means_nobody_else_could_still_take_it() -> None:
    a, b = candidate("a"), candidate("b")
    past: History = Counter()
    assert not is_alone([a, b], past, "a")
    assert is_alone([a], past, "a")
    assert is_alone([a, b], history(("b", Kind.NOT_FOUND)), "a")
    assert is_alone([a, b], Counter({("b", Kind.BAD_RESPONSE): 2}), "a")
    cool(b, 1e9)
    assert not is_alone([a, b], past, "a"), "a wait, however long, ends"
    disable(b)
    assert is_alone([a, b], past, "a")


def test_a_job_goes_back_to_one_it_has_had_its_fill_of_when_the_others_are_out() -> None:
    """Three per provider hold while another candidate exists, and one that is out does not."""
    a, b = candidate("a"), candidate("b")
    past = history(*[("a", Kind.SERVER_ERROR)] * 3)
    assert chosen([a, b], past) == Go(b)
    disable(b)
    assert chosen([a, b], past) == Go(a)


def test_a_job_goes_back_to_one_it_has_had_its_fill_of_when_the_others_are_broken() -> None:
    """A spare that never comes back would be waited for without end, and the run with it."""
    a, b = candidate("a"), candidate("b")
    past = history(*[("a", Kind.SERVER_ERROR)] * 3)
    broken(b)
    assert chosen([a, b], past) == Go(a)
    assert is_alone([a, b], past, "a"), "nobody else could take a second bad response's job"
    c = candidate("c")
    assert chosen([a, b, c], past) == Go(c)
    assert not is_alone([a, b, c], past, "a")


def test_a_model_of_the_command_line_that_nobody_serves_fails_no_job() -> None:
    assert chosen([], names_model=False) == Never(
        None, "no provider serves the model that is asked for"
    )


def test_a_prompt_that_no_wire_format_has_words_for_fails() -> None:
    """That of one provider alone only excludes that one."""
    a, b = candidate("a"), candidate("b")
    past = history(("a", Kind.BAD_REQUEST))
    assert chosen([a, b], past) == Go(b)
    past["b", Kind.BAD_REQUEST] += 1
    assert chosen([a, b], past) == Never(
        Kind.BAD_REQUEST, "no provider's API can express this prompt"
    )


def broken(*candidates: Candidate) -> None:
    """Open the breaker of each."""
    for one in candidates:
        breaker = one.channel.breaker
        for _ in range(5):
            breaker.settle(breaker.admit(0.0), Verdict.BAD, now=0.0, draw=0.5)
        assert breaker.state is State.OPEN


def test_while_every_breaker_is_open_each_gets_a_trial_now_and_then() -> None:
    """After 5 s instead of 15; as long as one provider is well, the others rest."""
    a, b, c = candidate("a"), candidate("b"), candidate("c")
    broken(a, b)
    assert chosen([a, b], now=4.9) == Wait(5.0)
    assert chosen([a, b], now=5.0) == Go(a, alone=True)
    cool(c, 60.0)
    assert chosen([a, b, c], now=5.0) == Wait(15.0)
