"""What a run knows about a provider: who is switched off, for how much, on how much evidence."""

from __future__ import annotations

import math
from typing import Any

import pytest

from aiq.model import Kind
from aiq.policy.standing import Account, Condition, Standing, Status
from tests.support.factories import outcome, standing


def settle(
    one: Standing,
    kind: Kind,
    *,
    job_id: int = 1,
    model: str = "m",
    now: float = 0.0,
    started: float | None = None,
    **facts: Any,
) -> None:
    one.settle(
        model,
        outcome(kind, **facts),
        job_id=job_id,
        now=now,
        started=now if started is None else started,
        draw=1.0,
    )


def test_a_new_provider_is_usable_at_once_and_unknown() -> None:
    one = standing()
    assert one.usable_at("m") == -math.inf
    assert one.condition(0.0) == Condition(Status.UNKNOWN)


@pytest.mark.parametrize(("in_flight", "room"), [(0, True), (1, False), (2, False)])
def test_room_at_limit_one(in_flight: int, room: bool) -> None:
    one = standing(limit=1)
    one.in_flight = in_flight
    assert one.has_room is room


@pytest.mark.parametrize("kind", [Kind.AUTH, Kind.NOT_FOUND])
def test_before_any_answer_the_first_refusal_is_believed(kind: Kind) -> None:
    one = standing()
    settle(one, kind, status_code=403 if kind is Kind.AUTH else 404, message="no")
    assert one.usable_at("m") == math.inf
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
    assert one.usable_at("n") <= 0.0


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
    account = Account()
    one, other = standing(account=account), standing(account=account)
    settle(one, kind, status_code=status_code)
    assert one.usable_at("m") == math.inf
    assert (other.usable_at("m") == math.inf) is takes_account


def test_an_empty_purse_is_believed_at_once() -> None:
    one = standing()
    settle(one, Kind.OK)
    settle(one, Kind.OUT_OF_CREDIT, status_code=402)
    assert one.account.disabled is not None


@pytest.mark.parametrize(("kind", "lacks"), [(Kind.NOT_FOUND, True), (Kind.OUT_OF_CREDIT, False)])
def test_a_refusal_of_one_model_leaves_the_others(kind: Kind, lacks: bool) -> None:
    one = standing()
    settle(one, kind, model="m", model_only=True, message="gone")
    assert one.usable_at("m") == math.inf
    assert one.usable_at("n") <= 0.0
    assert one.lacks("m") is lacks
    assert not one.lacks("n")
    assert one.condition(0.0) == Condition(Status.DEGRADED, f"m: {kind}: gone")


def test_a_rate_limit_cools_the_whole_account() -> None:
    account = Account()
    one, other = standing(account=account), standing(account=account)
    settle(one, Kind.RATE_LIMITED, now=10.0, retry_after_s=0.8)
    assert one.usable_at("m") == other.usable_at("m") == pytest.approx(10.8)
    assert other.condition(10.0).status is Status.DEGRADED
    assert other.condition(10.8).status is Status.UNKNOWN


@pytest.mark.parametrize("kind", [Kind.CONNECT, Kind.SERVER_ERROR])
def test_a_failure_on_its_side_rests_this_provider_alone(kind: Kind) -> None:
    account = Account()
    one, other = standing(account=account), standing(account=account)
    settle(one, kind, now=10.0, message="refused")
    assert one.usable_at("m") == 11.0
    assert other.usable_at("m") <= 10.0
    assert one.condition(10.5) == Condition(Status.UNHEALTHY, "refused", 11.0)
    assert one.condition(11.0) == Condition(Status.UNKNOWN, "refused")


@pytest.mark.parametrize(
    "kind",
    [
        Kind.INTERRUPTED,
        Kind.BAD_REQUEST,
        Kind.CONTEXT_TOO_LONG,
        Kind.BAD_RESPONSE,
        Kind.CANCELLED,
    ],
)
def test_what_says_nothing_about_the_provider_changes_nothing(kind: Kind) -> None:
    one = standing()
    settle(one, kind, status_code=400, message="x")
    assert one.usable_at("m") == -math.inf
    assert one.condition(0.0) == Condition(Status.UNKNOWN)


def test_an_answer_makes_it_healthy() -> None:
    one = standing()
    settle(one, Kind.SERVER_ERROR, now=0.0)
    settle(one, Kind.OK, now=1.0)
    assert one.condition(1.0) == Condition(Status.HEALTHY)


def test_cooldown_and_pause_hold_together() -> None:
    """The later of both decides."""
    one = standing()
    settle(one, Kind.RATE_LIMITED, now=0.0, retry_after_s=0.5)
    settle(one, Kind.SERVER_ERROR, now=0.0)
    assert one.usable_at("m") == 1.0
    settle(one, Kind.RATE_LIMITED, now=0.0, retry_after_s=5.0)
    assert one.usable_at("m") == 5.0
