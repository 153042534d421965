"""
The breaker in any order of events: never stuck, never more trials than permitted.

The model is written from the contract: it knows what was admitted and settled when, and no more.
"""

from __future__ import annotations

import heapq
import itertools
import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aiq.policy.breaker import Breaker, Permit, State, Verdict
from aiq.policy.defaults import BreakerSettings

LEGAL = {
    (State.CLOSED, State.OPEN),
    (State.OPEN, State.HALF_OPEN),
    (State.HALF_OPEN, State.OPEN),
    (State.HALF_OPEN, State.CLOSED),
}
SHORTEST_EXPIRY_S = 30.0

verdicts = st.sampled_from([Verdict.GOOD, Verdict.GOOD, Verdict.BAD, Verdict.BAD, Verdict.IGNORED])
picks = st.integers(min_value=0, max_value=10**6)
wishes = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))
draws = st.floats(min_value=0.0, max_value=1.0)


class BreakerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.breaker = Breaker(BreakerSettings())
        self.out: list[Permit] = []
        self.trials: dict[int, float] = {}
        """Starts of this period's trials that are not settled."""
        self.good_trials = 0
        self.settled: list[Permit] = []
        self.before = (State.CLOSED, 0)

    @invariant()
    def every_transition_is_legal_and_one_generation(self) -> None:
        after = (self.breaker.state, self.breaker.generation)
        if after != self.before:
            assert (self.before[0], after[0]) in LEGAL
            assert after[1] == self.before[1] + 1
            self.before = after

    @invariant()
    def no_more_trials_are_out_than_permitted(self) -> None:
        out = sum(1 for start in self.trials.values() if self.now - start < SHORTEST_EXPIRY_S)
        if self.good_trials:
            assert out + self.good_trials <= 4
        else:
            assert out <= 1

    @invariant()
    def readiness_is_never_past_nor_far_and_alone_is_no_later(self) -> None:
        ready_at = self.breaker.ready_at(self.now)
        assert self.now <= self.breaker.ready_at(self.now, alone=True) <= ready_at
        if self.breaker.state is State.OPEN:
            assert ready_at <= self.now + 3600.0
        assert (self.breaker.reason(self.now) is None) == (self.breaker.state is State.CLOSED)

    @rule(alone=st.booleans(), calls=st.integers(1, 30))
    def call(self, calls: int, *, alone: bool) -> None:
        for _ in range(calls):
            if self.breaker.ready_at(self.now, alone=alone) > self.now:
                return
            was = self.breaker.state
            permit = self.breaker.admit(self.now, alone=alone)
            assert permit.is_trial is (was is not State.CLOSED)
            assert permit.generation == self.breaker.generation
            self.begin_period_if_new(was)
            if permit.is_trial:
                self.trials[permit.number] = self.now
            self.out.append(permit)

    @rule()
    def call_too_early(self) -> None:
        if self.breaker.ready_at(self.now) > self.now:
            with pytest.raises(RuntimeError):
                self.breaker.admit(self.now)

    @precondition(lambda self: self.out)
    @rule(
        pick=picks,
        verdict=verdicts,
        is_connect=st.booleans(),
        is_slow=st.booleans(),
        wish=wishes,
        draw=draws,
    )
    def settle(
        self,
        pick: int,
        verdict: Verdict,
        wish: float | None,
        draw: float,
        *,
        is_connect: bool,
        is_slow: bool,
    ) -> None:
        permit = self.out.pop(pick % len(self.out))
        was = self.breaker.state
        is_stale = permit.generation != self.breaker.generation
        view = self.view()
        self.breaker.settle(
            permit,
            verdict,
            now=self.now,
            is_connect=is_connect and verdict is Verdict.BAD,
            is_slow=is_slow,
            retry_after_s=wish,
            draw=draw,
        )
        self.settled.append(permit)
        if is_stale:
            assert self.view() == view
            return
        if permit.is_trial:
            self.trials.pop(permit.number)
            self.good_trials += verdict is Verdict.GOOD
        self.begin_period_if_new(was)

    @precondition(lambda self: self.out)
    @rule(verdict=verdicts, draw=draws)
    def settle_all(self, verdict: Verdict, draw: float) -> None:
        """Everything that is out ends alike, as when a server dies or comes back."""
        while self.out:
            self.settle(0, verdict, None, draw, is_connect=False, is_slow=False)

    @precondition(lambda self: any(permit.is_trial for permit in self.settled))
    @rule(pick=picks, verdict=verdicts)
    def settle_a_trial_again(self, pick: int, verdict: Verdict) -> None:
        trials = [permit for permit in self.settled if permit.is_trial]
        view = self.view()
        self.breaker.settle(trials[pick % len(trials)], verdict, now=self.now, draw=0.5)
        assert self.view() == view

    @precondition(lambda self: self.out)
    @rule(pick=picks)
    def lose(self, pick: int) -> None:
        self.out.pop(pick % len(self.out))

    # Binary fractions: their sums are exact, so a trial of 30 s has expired for the model as well.
    @rule(seconds=st.sampled_from([0.125, 1.0, 5.0, 15.0, 40.0, 400.0]))
    def tick(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def restart(self) -> None:
        """Only the number of openings survives; whatever was open starts half-open."""
        openings = self.breaker.openings
        self.breaker = Breaker(BreakerSettings(), openings=openings)
        assert self.breaker.state is (State.HALF_OPEN if openings else State.CLOSED)
        self.out, self.settled, self.trials, self.good_trials = [], [], {}, 0
        self.before = (self.breaker.state, 0)

    def teardown(self) -> None:
        """From wherever it is, with time passing and good answers, it closes."""
        for _ in range(8):
            if self.breaker.state is State.CLOSED:
                return
            self.now = self.breaker.ready_at(self.now)
            permit = self.breaker.admit(self.now)
            self.breaker.settle(permit, Verdict.GOOD, now=self.now, draw=0.5)
        assert self.breaker.state is State.CLOSED

    def begin_period_if_new(self, was: State) -> None:
        if self.breaker.state is not was:
            self.trials, self.good_trials = {}, 0
        self.every_transition_is_legal_and_one_generation()

    def view(self) -> tuple[object, ...]:
        """All that others can see of the present."""
        breaker = self.breaker
        return (
            breaker.state,
            breaker.generation,
            breaker.openings,
            breaker.ready_at(self.now),
            breaker.ready_at(self.now, alone=True),
            breaker.reason(self.now),
            breaker.until(self.now),
        )


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def opens_on_noise(seed: int, share: float, calls: int, in_flight: int = 32) -> bool:
    """Keep calls of random length in flight of which a random share is bad."""
    dice, breaker = random.Random(seed), Breaker(BreakerSettings())
    ends: list[tuple[float, int, Permit]] = []
    now = 0.0
    for number in range(calls):
        if len(ends) >= in_flight:
            now, _, permit = heapq.heappop(ends)
            verdict = Verdict.BAD if dice.random() < share else Verdict.GOOD
            breaker.settle(permit, verdict, now=now, draw=dice.random())
            if breaker.state is not State.CLOSED:
                return True
        heapq.heappush(ends, (now + dice.expovariate(1.0), number, breaker.admit(now)))
    return False


@pytest.mark.parametrize("share", [0.2, 0.3])
@pytest.mark.parametrize("seed", range(5))
def test_random_errors_never_open_it(seed: int, share: float) -> None:
    assert not opens_on_noise(seed, share, calls=10_000)


def test_the_first_calls_of_hundreds_of_runs_do_not_open_it() -> None:
    """
    A young window is where noise is loudest: half of twenty is bad in every eighteenth such run.

    Five in a row from the first happen by chance in one of four hundred.
    """
    assert sum(opens_on_noise(seed, 0.3, calls=300) for seed in range(300)) <= 3


@pytest.mark.parametrize("share", [0.6, 0.8, 1.0])
def test_a_sustained_share_opens_it(share: float) -> None:
    assert all(opens_on_noise(seed, share, calls=1000) for seed in range(20))


def test_a_provider_that_flaps_every_five_seconds_is_used_less_and_less() -> None:
    """A hundred calls per second for ten minutes: fewer than one in a hundred fail."""
    breaker, bad, opened_at = Breaker(BreakerSettings()), 0, []
    for tick in range(60_000):
        now = tick / 100
        if breaker.ready_at(now) > now:
            continue
        is_down = now % 10 >= 5
        verdict = Verdict.BAD if is_down else Verdict.GOOD
        bad += is_down
        breaker.settle(breaker.admit(now), verdict, now=now, is_connect=is_down, draw=0.5)
        if breaker.state is State.OPEN:
            opened_at.append(now)
    assert bad < 600
    pauses = [later - earlier for earlier, later in itertools.pairwise(opened_at)]
    assert pauses == sorted(pauses)
    assert pauses[-1] >= 240
