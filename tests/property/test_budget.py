"""The budget under any order of sends and outcomes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aiq.model import Billed
from aiq.policy.budget import Budget

_OUTCOME = st.tuples(st.sampled_from(Billed), st.floats(0, 1))


@given(
    limit=st.integers(0, 10_000),
    events=st.lists(st.tuples(st.integers(0, 3_000), st.booleans(), _OUTCOME), max_size=200),
)
def test_never_exceeded(limit: int, events: list[tuple[int, bool, tuple[Billed, float]]]) -> None:
    """
    At every instant what was spent, possibly paid and reserved is within the limit.

    Each event asks to send with a worst case, and may end the oldest call in flight, whose cost is
    any share of its worst case.
    """
    budget = Budget(limit)
    in_flight: list[int] = []
    spent = maybe = 0
    for bound, ends_one, (billed, share) in events:
        if budget.reserve(bound):
            in_flight.append(bound)
        if ends_one and in_flight:
            reserved = in_flight.pop(0)
            cost = int(reserved * share)
            budget.settle(reserved, billed, cost)
            spent += cost if billed is Billed.YES else 0
            maybe += reserved if billed is Billed.MAYBE else 0
        assert spent + maybe + sum(in_flight) <= limit
        assert budget.committed_nano == spent + maybe
        assert budget.reserved_nano == sum(in_flight)
