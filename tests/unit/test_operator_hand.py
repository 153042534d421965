"""What a person does to a provider: switches it off and on, or lets it start over."""

from __future__ import annotations

from collections import Counter

import pytest

from aiq.model import Kind, Quota, Usage
from aiq.policy.admission import Candidate, admit, settle, why_not_send
from aiq.policy.breaker import State
from aiq.policy.limits import NOTHING
from aiq.policy.routing import Go, Never, Route, Wait, route
from aiq.policy.standing import Status
from aiq.policy.strategy import Strategy
from aiq.policy.switch import Switch
from tests.support.factories import candidate, outcome


def chosen(*candidates: Candidate) -> Route:
    return route(
        candidates,
        Counter(),
        strategy=Strategy(),
        estimate=lambda _: NOTHING,
        names_model=True,
        now=0.0,
    )


def refuse(one: Candidate, kind: Kind = Kind.AUTH, **facts: bool) -> None:
    one.standing.judge(one.model, outcome(kind, status_code=403, message="no", **facts), 1)


@pytest.mark.parametrize("switch", [Switch.OFF, Switch.LEFT_OFF])
def test_a_job_goes_to_another_provider_at_once(switch: Switch) -> None:
    a, b = candidate("a"), candidate("b")
    a.standing.switch = switch
    assert chosen(a, b) == Go(b)
    assert a.standing.condition(0.0).status is Status.DISABLED
    assert a.standing.why_disabled("m") == a.standing.switch.reason


def test_what_is_about_to_be_sent_is_not() -> None:
    a = candidate("a")
    admission = admit(a, 0.0, NOTHING, size=10)
    a.standing.switch = Switch.OFF
    assert why_not_send(admission, 0.0) == "not sent: the provider was switched off"


def test_nobody_left_but_who_was_switched_off_is_waited_for() -> None:
    """Whoever did it is there to undo it."""
    a, b = candidate("a"), candidate("b")
    a.standing.switch = Switch.OFF
    refuse(b)
    assert chosen(a, b) == Wait(None)
    a.standing.switch = Switch.ON
    assert chosen(a, b) == Go(a)
    assert a.standing.switch.reason is None


def test_who_was_left_off_is_not_waited_for() -> None:
    """He may be forgotten: the run ends, and says who it is."""
    a = candidate("a")
    a.standing.switch = Switch.LEFT_OFF
    assert isinstance(chosen(a), Never)


@pytest.mark.parametrize("model_only", [False, True])
def test_who_would_be_out_anyway_is_not_waited_for(model_only: bool) -> None:
    """The switch alone would bring nothing back."""
    a = candidate("a")
    a.standing.switch = Switch.OFF
    refuse(a, Kind.NOT_FOUND, model_only=model_only)
    assert isinstance(chosen(a), Never)


@pytest.mark.parametrize("kind", [Kind.AUTH, Kind.OUT_OF_CREDIT, Kind.NOT_FOUND])
@pytest.mark.parametrize("model_only", [False, True])
def test_starting_over_brings_back_whoever_was_refused(kind: Kind, model_only: bool) -> None:
    a = candidate("a")
    refuse(a, kind, model_only=model_only)
    assert a.standing.is_out("m")
    a.standing.start_over()
    assert chosen(a) == Go(a)
    refuse(a, kind, model_only=model_only)
    assert a.standing.is_out("m"), "the first refusal is believed again"


def test_starting_over_does_not_switch_on() -> None:
    a = candidate("a")
    a.standing.switch = Switch.OFF
    a.standing.start_over()
    assert a.standing.is_out("m")


def test_starting_over_closes_the_breaker_and_ends_the_cooldown() -> None:
    """What is still out from before has no say any more."""
    a = candidate("a", openings=3)
    trial = admit(a, 0.0, NOTHING, size=10)
    a.standing.account.limits.cooldown.until = 100.0
    a.standing.start_over()
    assert chosen(a) == Go(a)
    assert (a.channel.breaker.state, a.channel.breaker.openings) == (State.CLOSED, 0)
    settle(trial, outcome(Kind.CONNECT), job_id=1, now=1.0, started=0.0, draw=0.5)
    assert a.channel.breaker.state is State.CLOSED


def test_a_breaker_that_started_over_opens_like_a_new_one() -> None:
    """The open times double from the first again."""
    a = candidate("a", openings=5)
    a.standing.start_over()
    for _ in range(5):
        admission = admit(a, 0.0, NOTHING, size=10)
        settle(admission, outcome(Kind.CONNECT), job_id=1, now=0.0, started=0.0, draw=0.5)
    assert a.channel.breaker.openings == 1
    assert a.channel.breaker.until(0.0) == 15.0


def test_starting_over_counts_for_models_not_yet_asked_for() -> None:
    a = candidate("a")
    a.standing.remember({"other": 3})
    a.standing.start_over()
    assert a.standing.channel("other").breaker.openings == 0


def test_starting_over_forgets_what_the_server_told_and_taught() -> None:
    """Or the rate that was learned from a 429 would go on for as long as its wait."""
    a = candidate("a")
    limits = a.standing.account.limits
    for second in range(20):
        limits.reserve(float(second), NOTHING)
    told = Quota(requests_limit=10, requests_left=0)
    limits.settle(limits.reserve(20.0, NOTHING), now=20.0, usage=Usage(), quota=None)
    limits.rate_limited(now=20.0, started=20.0, hint_s=3000.0, draw=0.5)
    limits.settle(limits.reserve(21.0, NOTHING), now=21.0, usage=Usage(), quota=told)
    assert limits.ready_at(22.0, NOTHING) > 3000.0
    a.standing.start_over()
    assert limits.ready_at(22.0, NOTHING) <= 22.0


def test_after_starting_over_an_account_begins_slowly() -> None:
    a = candidate("a")
    a.standing.start_over()
    assert a.standing.account.is_cooling


@pytest.mark.parametrize(
    ("switch", "is_refused", "is_gone"),
    [
        (Switch.ON, False, False),
        (Switch.OFF, False, False),
        (Switch.LEFT_OFF, False, True),
        (Switch.ON, True, True),
        (Switch.OFF, True, True),
        (Switch.LEFT_OFF, True, True),
    ],
)
def test_who_is_gone_for_the_rest_of_the_run(
    switch: Switch, is_refused: bool, is_gone: bool
) -> None:
    """Not whoever was switched off in this run, and may be switched on again in it."""
    a = candidate("a")
    a.standing.switch = switch
    if is_refused:
        refuse(a)
    assert a.standing.is_gone is is_gone
    assert (a.standing.why_out is None) is (switch is Switch.ON and not is_refused)
