"""The budget as arithmetic: reserve the worst case, settle, refund."""

from __future__ import annotations

import pytest

from aiq.model import Billed
from aiq.policy.budget import Budget


def test_without_a_limit_everything_fits() -> None:
    """No budget asks for no bound."""
    budget = Budget(None)
    assert budget.reserve(None)
    assert budget.reserve(10**30)


@pytest.mark.parametrize(
    ("committed", "bounds", "fits"),
    [
        (0, [60, 40], [True, True]),
        (0, [60, 41, 40], [True, False, True]),
        (40, [60, 1], [True, False]),
        (100, [0, 1], [True, False]),
        (200, [0], [False]),
        (0, [None], [False]),
    ],
)
def test_what_fits(committed: int, bounds: list[int | None], fits: list[bool]) -> None:
    """Spent, possibly paid and reserved stay within 100 together."""
    budget = Budget(100, committed_nano=committed)
    assert [budget.reserve(bound) for bound in bounds] == fits


@pytest.mark.parametrize(
    ("billed", "cost", "committed"),
    [
        (Billed.YES, 7, 7),
        (Billed.YES, 0, 0),
        (Billed.YES, 30, 30),
        (Billed.YES, None, 30),
        (Billed.MAYBE, None, 30),
        (Billed.MAYBE, 7, 30),
        (Billed.NO, 0, 0),
        (Billed.NO, None, 0),
    ],
)
def test_settled(billed: Billed, cost: int | None, committed: int) -> None:
    """Paid is spent, unpaid is given back, unknown keeps the worst case."""
    budget = Budget(100)
    assert budget.reserve(30)
    budget.settle(30, billed, cost)
    assert (budget.committed_nano, budget.reserved_nano) == (committed, 0)
    assert not budget.is_overrun


def test_a_reply_dearer_than_its_bound_ends_all_sending() -> None:
    """The promise no longer holds, so nothing more is bought."""
    budget = Budget(100)
    assert budget.reserve(10)
    budget.settle(10, Billed.YES, 11)
    assert budget.is_overrun
    assert not budget.reserve(0)


def test_without_a_limit_all_the_same_is_counted() -> None:
    """So that one can be set at any time, and holds from then on."""
    budget = Budget(None)
    for bound in (30, 20, 10):
        assert budget.reserve(bound)
    budget.settle(30, Billed.YES, 31)
    budget.settle(20, Billed.MAYBE, None)
    assert (budget.committed_nano, budget.reserved_nano, budget.is_overrun) == (51, 10, False)
    budget.limit(66)
    assert [budget.reserve(bound) for bound in (6, 5)] == [False, True]
    budget.limit(None)
    assert budget.refused_nano is None
    assert budget.reserve(1000)


@pytest.mark.parametrize(
    ("billed", "cost", "committed", "uncounted"),
    [
        (Billed.YES, 7, 7, 0),
        (Billed.YES, None, 0, 1),
        (Billed.MAYBE, None, 0, 1),
        (Billed.NO, None, 0, 0),
    ],
)
def test_what_has_no_worst_case(
    billed: Billed, cost: int | None, committed: int, uncounted: int
) -> None:
    """Only its cost says what it took; where nobody knows that either, it is said how many."""
    budget = Budget(None)
    assert budget.reserve(None)
    budget.limit(100)
    budget.settle(None, billed, cost)
    assert (budget.committed_nano, budget.uncounted) == (committed, uncounted)
    assert (budget.reserved_nano, budget.is_overrun) == (0, False)


def test_what_was_refused_is_remembered_and_changes_nothing() -> None:
    """The amount tells the user how much more it would take."""
    budget = Budget(100, committed_nano=60)
    assert not budget.reserve(41)
    assert (budget.refused_nano, budget.reserved_nano) == (41, 0)
    assert budget.reserve(40)
