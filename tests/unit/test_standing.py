"""What a run knows about a provider: who is switched off, for how much, on how much evidence."""

from __future__ import annotations

from typing import Any

import pytest

from aiq.model import Kind
from aiq.policy.breaker import State, Verdict
from aiq.policy.standing import Condition, Standing, Status
from tests.support.factories import account, outcome, standing


def settle(one: Standing, kind: Kind, *, job_id: int = 1, model: str = "m", **facts: Any) -> None:
    one.judge(model, outcome(kind, **facts), job_id)


def test_a_new_provider_is_in_and_unknown() -> None:
    one = standing()
    assert not one.is_out("m")
    assert one.condition(0.0) == Condition(Status.UNKNOWN)


@pytest.mark.parametrize(("ceiling", "limit"), [(3, 3), (8, 5), (1000, 5)])
def test_the_tighter_limit_holds(ceiling: int, limit: int) -> None:
    """A provider's own limit and what its account bears now."""
    assert standing(limit=5, of=account(ceiling=ceiling)).limit == limit


@pytest.mark.parametrize("kind", [Kind.AUTH, Kind.NOT_FOUND])
def test_before_any_answer_the_first_refusal_is_believed(kind: Kind) -> None:
    one = standing()
    settle(one, kind, status_code=403 if kind is Kind.AUTH else 404, message="no")
    assert one.is_out("m")
    assert one.condition(0.0).status is Status.DISABLED
    assert one.why_disabled("m") == f"{kind}: no"


@pytest.mark.parametrize("kind", [Kind.AUTH, Kind.NOT_FOUND])
def test_after_an_answer_it_takes_three_in_a_row_from_different_jobs(kind: Kind) -> None:
    one = standing()
    settle(one, Kind.OK)
    settle(one, kind, job_id=1)
    settle(one, kind, job_id=1)
    settle(one, kind, job_id=2)
    assert one.why_disabled("m") is None
    settle(one, kind, job_id=3)
    assert one.why_disabled("m") is not None


def test_an_answer_in_between_starts_the_count_over() -> None:
    one = standing()
    settle(one, Kind.OK)
    for job_id in (1, 2):
        settle(one, Kind.AUTH, job_id=job_id)
    settle(one, Kind.OK)
    for job_id in (3, 4):
        settle(one, Kind.AUTH, job_id=job_id)
    assert one.why_disabled("m") is None


def test_one_job_alone_is_believed_at_its_third_refusal() -> None:
    """Else the last job of a run would ask a provider with a revoked key for ever."""
    one = standing()
    settle(one, Kind.OK)
    for _ in range(2):
        settle(one, Kind.AUTH, job_id=7)
    assert one.why_disabled("m") is None
    settle(one, Kind.AUTH, job_id=7)
    assert one.why_disabled("m") is not None


def test_a_refused_key_is_the_providers_affair_whatever_the_model() -> None:
    """Three jobs that name three models find one revoked key."""
    one = standing()
    settle(one, Kind.OK)
    for job_id, model in enumerate(("m", "n", "o")):
        settle(one, Kind.AUTH, job_id=job_id, model=model, status_code=403)
    assert one.disabled is not None


def test_a_missing_model_is_that_models_affair() -> None:
    one = standing()
    settle(one, Kind.OK, model="n")
    for job_id, model in enumerate(("typo-1", "typo-2", "typo-3")):
        settle(one, Kind.NOT_FOUND, job_id=job_id, model=model, model_only=True)
    assert not one.refused_models
    assert not one.is_out("n")


@pytest.mark.parametrize(
    ("kind", "status_code", "takes_account"),
    [
        (Kind.AUTH, 401, True),
        (Kind.AUTH, 403, False),
        (Kind.OUT_OF_CREDIT, 402, True),
        (Kind.OUT_OF_CREDIT, 429, True),
        (Kind.NOT_FOUND, 404, False),
    ],
)
def test_who_falls_with_it(kind: Kind, status_code: int, takes_account: bool) -> None:
    """A bad key or an empty purse takes every provider of the account along."""
    shared = account()
    one, other = standing(of=shared), standing(of=shared)
    settle(one, kind, status_code=status_code)
    assert one.is_out("m")
    assert other.is_out("m") is takes_account


def test_an_empty_purse_is_believed_at_once() -> None:
    one = standing()
    settle(one, Kind.OK)
    settle(one, Kind.OUT_OF_CREDIT, status_code=402)
    assert one.account.disabled is not None


@pytest.mark.parametrize(("kind", "lacks"), [(Kind.NOT_FOUND, True), (Kind.OUT_OF_CREDIT, False)])
def test_a_refusal_of_one_model_leaves_the_others(kind: Kind, lacks: bool) -> None:
    one = standing()
    settle(one, kind, model="m", model_only=True, message="gone")
    assert one.is_out("m")
    assert not one.is_out("n")
    assert one.lacks("m") is lacks
    assert not one.lacks("n")
    assert one.condition(0.0) == Condition(Status.DEGRADED, f"m: {kind}: gone")


def test_a_cooling_account_is_degraded_and_says_until_when() -> None:
    shared = account()
    one, other = standing(of=shared), standing(of=shared)
    shared.limits.cooldown.until = 5.0
    condition = Condition(Status.DEGRADED, "rate limited", 5.0)
    assert one.condition(1.0) == other.condition(1.0) == condition
    assert one.condition(5.0).status is Status.UNKNOWN


def test_a_switched_off_provider_says_why_before_anything_else() -> None:
    one = standing()
    one.account.limits.cooldown.until = 5.0
    settle(one, Kind.AUTH, status_code=403, message="no")
    assert one.condition(1.0) == Condition(Status.DISABLED, "auth: no")


def test_what_concerns_a_whole_account_says_so() -> None:
    """A provider that was never asked is out because of another one with its key."""
    shared = account()
    shared.shared_as = "TEAM_KEY"
    one, other = standing(of=shared), standing(of=shared)
    settle(one, Kind.AUTH, status_code=401, message="bad key")
    assert other.why_disabled("m") == "auth: bad key (all of account TEAM_KEY)"
    shared.disabled = None
    shared.limits.cooldown.until = 5.0
    assert other.condition(1.0).reason == "rate limited (all of account TEAM_KEY)"


def test_a_breaker_takes_up_what_an_earlier_run_knew_of_it() -> None:
    """Of that model alone, and the channel is the same one every time."""
    one = standing()
    one.remember({"m": 2})
    assert one.channel("m").breaker.openings == 2
    assert one.channel("m").breaker.state is State.HALF_OPEN
    assert one.channel("n").breaker.state is State.CLOSED
    assert one.channel("m") is one.channel("m")


def test_an_account_takes_up_the_cooldown_of_an_earlier_run() -> None:
    """Everybody sees it, and after it the account begins slowly, as after any other."""
    one = standing()
    one.account.remember(5.0)
    assert one.condition(1.0) == Condition(Status.DEGRADED, "rate limited", 5.0)
    assert one.account.is_cooling


def test_one_that_answers_is_healthy() -> None:
    one = standing()
    one.channel("m")
    settle(one, Kind.OK)
    assert one.condition(0.0) == Condition(Status.HEALTHY)


def test_a_provider_is_open_if_all_its_models_are() -> None:
    """One that was never asked is not."""
    one = standing()
    assert not one.is_open
    for model in ("m", "n"):
        broken(one, model)
        assert one.is_open
    one.channel("o")
    assert not one.is_open


def test_of_several_models_the_worst_state_is_shown_by_name() -> None:
    """Open is worse than half-open; a single model needs no name."""
    one = standing()
    one.remember({"half": 1})
    one.channel("half")
    assert one.condition(0.0) == Condition(Status.DEGRADED, "half-open: 0 of 4 trials good")
    broken(one, "m")
    found = one.condition(0.0)
    assert found == Condition(Status.UNHEALTHY, "m: open after 5 bad calls in a row", 15.0)
    assert one.condition(15.0).until is None, "it is due now"


def broken(one: Standing, model: str) -> None:
    """Open the breaker of a model."""
    breaker = one.channel(model).breaker
    for _ in range(5):
        breaker.settle(breaker.admit(0.0), Verdict.BAD, now=0.0, draw=0.5)
    assert breaker.state is State.OPEN
