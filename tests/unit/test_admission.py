"""A request's places: who has to have room, that each place comes back, and who learns what."""

from __future__ import annotations

import math
from typing import Any

import pytest

from aiq.model import Kind, Quota, Usage
from aiq.policy.admission import (
    Admission,
    Candidate,
    access,
    admit,
    is_bad_trial,
    settle,
    why_not_send,
    withdraw,
)
from aiq.policy.breaker import State
from aiq.policy.defaults import BreakerSettings, RateLimits
from aiq.policy.limits import NOTHING
from aiq.policy.standing import Status
from aiq.policy.tokens import Estimate
from tests.support.factories import account, candidate, outcome


def taken(one: Candidate, now: float = 0.0, *, alone: bool = False) -> Admission:
    """Take a place; the candidate has to have one."""
    assert access(one, now, NOTHING, alone=alone).at <= now
    return admit(one, now, NOTHING, size=40, alone=alone)


def ended(
    admission: Admission, kind: Kind, *, now: float, started: float | None = None, **facts: Any
) -> None:
    settle(
        admission,
        outcome(kind, **facts),
        job_id=1,
        now=now,
        started=now if started is None else started,
        draw=0.5,
    )


def broken(one: Candidate, now: float = 0.0) -> None:
    """Open its breaker; five calls do, and seven where one that began before is out."""
    for _ in range(7 if places(one)[0] else 5):
        ended(taken(one, now), Kind.SERVER_ERROR, now=now, message="boom")
    assert one.channel.breaker.state is State.OPEN


def places(one: Candidate) -> tuple[int, int, int]:
    return one.standing.in_flight, one.channel.in_flight, one.standing.account.concurrency.in_flight


@pytest.mark.parametrize("kind", list(Kind))
def test_every_place_comes_back(kind: Kind) -> None:
    """Whatever the outcome, nothing stays in flight."""
    one = candidate()
    admission = taken(one)
    assert places(one) == (1, 1, 1)
    ended(admission, kind, now=1.0)
    assert places(one) == (0, 0, 0)


def test_what_was_never_sent_gives_all_back() -> None:
    """Also the tokens of the bucket, so that a withdrawn request costs no pace."""
    one = candidate(of=account(rates=RateLimits(requests=60)))
    before = access(one, 0.0, NOTHING).at
    first, second = taken(one), taken(one)
    assert access(one, 0.0, NOTHING).at > 0.0
    withdraw(first, 0.0, 0.5)
    withdraw(second, 0.0, 0.5)
    assert places(one) == (0, 0, 0)
    assert access(one, 0.0, NOTHING).at <= max(before, 0.0)


def test_a_failure_to_connect_gives_back_what_was_never_used() -> None:
    """The server has seen nothing of it, so that it is none of the minute's requests or tokens."""
    one = candidate(of=account(rates=RateLimits(tokens=60_000)))
    whole = Estimate(10_000, 0)
    admission = admit(one, 0.0, whole, size=40)
    assert access(one, 1.0, whole).at > 1.0
    ended(admission, Kind.CONNECT, now=1.0)
    assert access(one, 1.0, whole).at <= 1.0


@pytest.mark.parametrize(
    ("kind", "facts", "is_own"),
    [(Kind.RATE_LIMITED, {"retry_after_s": 7.0}, False), (Kind.OK, {}, True)],
)
def test_a_cooldown_is_passed_over_and_a_full_provider_waited_for(
    kind: Kind, facts: dict[str, Any], is_own: bool
) -> None:
    one = candidate(limit=1)
    ended(taken(one), kind, now=0.0, **facts)
    if is_own:
        taken(one)
    found = access(one, 0.0, NOTHING)
    assert (found.at, found.is_own) == (math.inf if is_own else 7.0, is_own)


def test_a_configured_pace_is_waited_for() -> None:
    one = candidate(of=account(rates=RateLimits(tokens=60_000)))
    whole = Estimate(10_000, 0)
    admit(one, 0.0, whole, size=40)
    found = access(one, 0.0, whole)
    assert found.is_own
    assert 0.0 < found.at < 30.0


def test_a_congested_account_is_passed_over_and_a_ramping_one_waited_for() -> None:
    shared = account(ceiling=100, adaptive=True)
    one = candidate(limit=100, of=shared)
    admissions = [taken(one) for _ in range(16)]
    assert access(one, 0.0, NOTHING).is_own
    ended(admissions.pop(), Kind.SERVER_ERROR, now=1.0, started=0.0, status_code=503)
    found = access(one, 1.0, NOTHING)
    assert found.at > 1.0
    assert not found.is_own
    assert shared.concurrency.limit == 11


@pytest.mark.parametrize(
    ("kind", "facts", "is_congestion"),
    [
        (Kind.RATE_LIMITED, {}, True),
        (Kind.SERVER_ERROR, {"status_code": 503}, True),
        (Kind.INTERRUPTED, {"timed_out": True}, True),
        (Kind.INTERRUPTED, {}, False),
        (Kind.SERVER_ERROR, {"status_code": 500}, False),
        (Kind.CONNECT, {}, False),
        (Kind.BAD_REQUEST, {"status_code": 400}, False),
    ],
)
def test_what_is_a_sign_of_congestion(
    kind: Kind, facts: dict[str, Any], is_congestion: bool
) -> None:
    one = candidate(limit=100, of=account(ceiling=100, adaptive=True))
    ended(taken(one), kind, now=1.0, **facts)
    assert one.standing.account.concurrency.is_reduced is is_congestion


def test_after_a_cooldown_concurrency_starts_low() -> None:
    shared = account(ceiling=100, adaptive=True)
    one = candidate(limit=100, of=shared)
    ended(taken(one), Kind.RATE_LIMITED, now=0.0, retry_after_s=1.0)
    assert shared.concurrency.limit == 11
    taken(one, now=1.5)
    assert shared.concurrency.limit == 2


@pytest.mark.parametrize(
    "kind", [Kind.CONNECT, Kind.INTERRUPTED, Kind.SERVER_ERROR, Kind.BAD_RESPONSE]
)
def test_failures_on_its_side_open_the_breaker_of_that_model(kind: Kind) -> None:
    one = candidate()
    other = candidate(of=one.standing.account)
    for _ in range(5):
        ended(taken(one), kind, now=0.0, message="boom")
    assert access(one, 0.0, NOTHING) == (15.0, False)
    assert access(other, 0.0, NOTHING).at <= 0.0
    condition = one.standing.condition(1.0)
    assert condition.status is Status.UNHEALTHY
    assert condition.until == 15.0
    assert "boom" in str(condition.reason)


@pytest.mark.parametrize(
    "kind",
    [
        Kind.RATE_LIMITED,
        Kind.OUT_OF_CREDIT,
        Kind.AUTH,
        Kind.NOT_FOUND,
        Kind.BAD_REQUEST,
        Kind.CONTEXT_TOO_LONG,
        Kind.CANCELLED,
    ],
)
def test_the_client_s_faults_never_open_it(kind: Kind) -> None:
    one = candidate()
    for n in range(50):
        ended(admit(one, float(n), NOTHING, size=40), kind, now=float(n))
    assert one.channel.breaker.state is State.CLOSED


def test_alone_it_is_tried_every_five_seconds() -> None:
    one = candidate()
    broken(one)
    assert access(one, 0.0, NOTHING, alone=True).at == 5.0
    admission = taken(one, 5.0, alone=True)
    assert admission.permit.is_trial
    assert is_bad_trial(admission, outcome(Kind.SERVER_ERROR))
    assert not is_bad_trial(admission, outcome(Kind.OK))
    assert not is_bad_trial(taken(candidate()), outcome(Kind.SERVER_ERROR))


def test_a_return_is_gradual() -> None:
    """Once its trials are good, about a dozen requests start in the first second."""
    one = candidate(limit=100)
    broken(one)
    ended(taken(one, 20.0), Kind.OK, now=20.0)
    for admission in [taken(one, 20.0) for _ in range(3)]:
        ended(admission, Kind.OK, now=20.0)
    assert one.channel.breaker.state is State.CLOSED
    now, started = 20.0, 0
    while now < 21.0:
        ended(taken(one, now), Kind.OK, now=now)
        started += 1
        now = max(now, access(one, now, NOTHING).at)
    assert 8 <= started <= 14


def test_the_commit_took_time_in_which_things_changed() -> None:
    """Right before sending: switched off, cooling, or opened since the place was taken."""
    one = candidate()
    admission = taken(one)
    assert why_not_send(admission, 0.0) is None
    one.standing.account.limits.cooldown.until = 5.0
    assert why_not_send(admission, 0.0) is not None
    assert why_not_send(admission, 5.0) is None
    broken(one, 5.0)
    assert why_not_send(admission, 5.0) is not None
    other = taken(candidate())
    other.candidate.standing.disabled = "auth"
    assert why_not_send(other, 0.0) is not None


def test_its_own_trial_is_sent() -> None:
    one = candidate()
    broken(one)
    assert why_not_send(taken(one, 15.0), 15.0) is None


def test_a_slow_provider_gets_half_the_places_and_one_trial() -> None:
    settings = BreakerSettings(slow_min_s=0.5)
    one = candidate(limit=8, of=account(ceiling=8), breaker=settings)
    for n in range(20):
        ended(taken(one, float(n)), Kind.OK, now=n + 0.05, started=float(n))
    for n in range(20, 50):
        ended(taken(one, float(n)), Kind.OK, now=n + 1.0, started=float(n))
        if one.channel.slowness.is_degraded:
            break
    else:
        pytest.fail("never degraded")
    assert one.standing.condition(100.0).status is Status.DEGRADED
    held = [taken(one, 100.0) for _ in range(4)]
    assert access(one, 100.0, NOTHING) == (math.inf, False)
    assert len(held) == 4


def test_answers_teach_what_a_prompt_takes() -> None:
    one = candidate()
    for _ in range(100):
        ended(taken(one), Kind.OK, now=0.0, usage=Usage(input_tokens=40, output_tokens=7))
    assert one.channel.tokens.estimate(100, None) == Estimate(100, 7)
    assert one.channel.latency_s == 0.0


def test_what_the_server_says_is_left_is_believed() -> None:
    one = candidate()
    quota = Quota(requests_limit=60, requests_left=0)
    ended(taken(one), Kind.OK, now=0.0, quota=quota)
    found = access(one, 0.0, NOTHING)
    assert found.at > 0.0
    assert not found.is_own


def full(one: Candidate) -> Candidate:
    """Take all its places, by calls that hang."""
    one.standing.in_flight = one.standing.max_in_flight
    return one


def test_a_full_one_is_at_its_own_limit_while_it_is_well() -> None:
    assert access(full(candidate()), 0.0, NOTHING) == (math.inf, True)


def test_nobody_waits_for_the_places_of_one_that_is_due_for_a_trial() -> None:
    """Its calls hang until they time out; a better rank is no reason to wait so long."""
    one = candidate()
    broken(one)
    assert access(full(one), 100.0, NOTHING) == (math.inf, False)


def test_nobody_waits_for_the_places_of_one_that_is_slow() -> None:
    one = candidate(breaker=BreakerSettings(slow_min_s=0.5))
    for _ in range(20):
        ended(taken(one), Kind.OK, now=0.05, started=0.0)
    for _ in range(20):
        ended(taken(one), Kind.OK, now=1.0, started=0.0)
    assert one.channel.slowness.is_degraded
    assert access(full(one), 100.0, NOTHING) == (math.inf, False)


def test_a_call_from_before_is_withheld_from_a_breaker_that_is_half_open() -> None:
    """It has taken long to connect; in between the breaker opened, and one trial is out."""
    one = candidate()
    early = taken(one)
    broken(one)
    taken(one, 100.0)
    assert one.channel.breaker.state is State.HALF_OPEN
    assert why_not_send(early, 100.0) == "not sent: the provider began to fail"


def test_an_account_whose_round_has_ended_of_its_own_has_room_again() -> None:
    """Answers may take minutes; the limit doubles after five seconds without congestion."""
    one = candidate(limit=100, of=account(ceiling=100, adaptive=True))
    for _ in range(16):
        taken(one)
    assert access(one, 4.9, NOTHING) == (5.0, True)
    assert access(one, 5.0, NOTHING).at <= 5.0
    assert one.standing.account.concurrency.limit == 32


@pytest.mark.parametrize(("is_trial", "state"), [(False, State.CLOSED), (True, State.OPEN)])
def test_a_suspect_s_failure_says_nothing_of_the_provider_except_in_a_trial(
    *, is_trial: bool, state: State
) -> None:
    """It failed while others were answered; as a trial it still has shown nothing good."""
    one, now = candidate(openings=int(is_trial)), 0.0
    for _ in range(1 if is_trial else 50):
        failure = outcome(Kind.SERVER_ERROR)
        place = taken(one, now)
        settle(place, failure, job_id=1, now=now, started=now, draw=0.5, is_suspect=True)
    assert one.channel.breaker.state is state


def test_a_suspect_that_cannot_even_connect_speaks_of_the_provider() -> None:
    """No prompt makes a connection fail; spared, it would be sent again at once and for ever."""
    one = candidate()
    for _ in range(5):
        failure = outcome(Kind.CONNECT)
        settle(taken(one), failure, job_id=1, now=0.0, started=0.0, draw=0.5, is_suspect=True)
    assert one.channel.breaker.state is State.OPEN
