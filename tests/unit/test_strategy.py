"""In which order candidates are asked: by rank, latency, cost or free capacity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from aiq.model import Kind
from aiq.policy.admission import Candidate, admit, settle
from aiq.policy.limits import NOTHING
from aiq.policy.routing import Go, Wait, route
from aiq.policy.strategy import EXPLORED, Strategy
from tests.support.factories import candidate, outcome


def first(strategy: Strategy, *candidates: Candidate, now: float = 0.0) -> str:
    return strategy.arrange(candidates, now)[0].provider


def calls(
    strategy: Strategy, fleet: list[Candidate], latency: Callable[[str], float], count: int
) -> list[str]:
    """Make calls one after another, each where the strategy wants it; return to whom."""
    asked = []
    now = 100.0 * strategy.calls
    for _ in range(count):
        choice = route(
            fleet,
            Counter(),
            strategy=strategy,
            estimate=lambda _: NOTHING,
            names_model=False,
            now=now,
        )
        assert isinstance(choice, Go)
        admission = admit(choice.candidate, now, NOTHING, size=1)
        strategy.started()
        started, now = now, now + latency(choice.candidate.provider)
        settle(admission, outcome(Kind.OK), job_id=1, now=now, started=started, draw=0.5)
        asked.append(choice.candidate.provider)
    return asked


def test_latency_finds_the_fast_one_and_notices_when_they_swap() -> None:
    """Within 30 calls it prefers the fastest of three; within 50 it notices another one."""
    strategy, fleet = Strategy("latency"), [candidate(name) for name in "abc"]
    before = {"a": 0.4, "b": 0.05, "c": 0.2}
    after = {"a": 0.05, "b": 0.4, "c": 0.2}
    asked = calls(strategy, fleet, before.__getitem__, 200)
    assert asked[:3] == ["a", "b", "c"]
    assert asked[3:].count("b") >= 0.9 * len(asked[3:])
    swapped = calls(strategy, fleet, after.__getitem__, 200)
    assert swapped[50:].count("a") >= 0.9 * len(swapped[50:])


def test_latency_explores_one_call_in_sixteen() -> None:
    strategy, fleet = Strategy("latency"), [candidate(name) for name in "ab"]
    asked = calls(strategy, fleet, {"a": 0.1, "b": 1.0}.__getitem__, 10 * EXPLORED)
    assert 5 <= asked.count("b") <= 11


def test_latency_does_not_pile_up_on_one_whose_first_answer_is_awaited() -> None:
    strategy = Strategy("latency")
    a, b = candidate("a"), candidate("b")
    admit(a, 0.0, NOTHING, size=1)
    assert first(strategy, a, b) == "b"
    b.channel.answered(0.1)
    assert first(strategy, a, b) == "b"


def test_cost_prefers_the_cheapest_and_the_known() -> None:
    cheap, dear = candidate("cheap", cost=1), candidate("dear", cost=9)
    unknown = candidate("unknown")
    order = Strategy("cost").arrange((unknown, dear, cheap), 0.0)
    assert [one.provider for one in order] == ["cheap", "dear", "unknown"]


def test_balanced_prefers_the_largest_free_share() -> None:
    big, small = candidate("big", limit=100), candidate("small", limit=10)
    for _ in range(5):
        admit(small, 0.0, NOTHING, size=1)
    for _ in range(10):
        admit(big, 0.0, NOTHING, size=1)
    assert first(Strategy("balanced"), small, big) == "big"


@pytest.mark.parametrize("name", ["rank", "latency", "cost", "balanced"])
def test_ties_keep_the_order_of_rank(name: str) -> None:
    a, b = candidate("a", cost=1), candidate("b", cost=1)
    assert first(Strategy(name), a, b) == "a"  # type: ignore[arg-type] # parametrized


@pytest.mark.parametrize(
    ("name", "overflow", "waits"),
    [
        ("rank", False, True),
        ("rank", True, False),
        ("cost", False, True),
        ("latency", False, True),
        ("balanced", False, False),
    ],
)
def test_who_waits_for_a_better_one_at_its_own_limit(
    name: str, overflow: bool, waits: bool
) -> None:
    a, b = candidate("a", limit=1, cost=1), candidate("b", cost=2)
    admit(a, 0.0, NOTHING, size=1)
    a.channel.answered(0.1)
    b.channel.answered(0.2)
    strategy = Strategy(name, overflow=overflow)  # type: ignore[arg-type] # parametrized
    choice = route(
        [a, b],
        Counter(),
        strategy=strategy,
        estimate=lambda _: NOTHING,
        names_model=False,
        now=0.0,
    )
    assert choice == (Wait(None) if waits else Go(b))


def test_one_that_is_only_explored_is_not_waited_for() -> None:
    """Or the pace of the slowest would be that of the whole run."""
    fast, slow = candidate("fast"), candidate("slow", limit=1)
    admit(slow, 0.0, NOTHING, size=1)
    fast.channel.answered(0.1)
    slow.channel.answered(9.0)
    strategy = Strategy("latency")
    fast.channel.started = 1.0
    for _ in range(2 * EXPLORED):
        choice = route(
            [fast, slow],
            Counter(),
            strategy=strategy,
            estimate=lambda _: NOTHING,
            names_model=False,
            now=1.0,
        )
        assert choice == Go(fast)
        strategy.started()


@pytest.mark.parametrize("name", ["rank", "latency", "cost", "balanced"])
def test_a_degraded_one_comes_last_but_for_a_trial_now_and_then(name: str) -> None:
    """Whatever the strategy; from the instant of the trial until it has begun, it is as before."""
    a, b = candidate("a", cost=1), candidate("b", cost=2)
    slowness = a.channel.slowness
    for _ in range(20):
        slowness.note(0.1, now=0.0, started=0.0)
    for _ in range(20):
        slowness.note(20.0, now=20.0, started=0.0)
    assert slowness.is_degraded
    strategy = Strategy(name)  # type: ignore[arg-type] # parametrized
    assert first(strategy, a, b, now=24.9) == "b"
    assert first(strategy, a, b, now=25.0) == "a"
    slowness.trial_started(25.0)
    assert first(strategy, a, b, now=25.0) == "b"
