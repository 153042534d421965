"""The figures of a run: moved by what is committed and by nothing else, each kind once."""

from __future__ import annotations

from typing import Any

import pytest

from aiq.model import JobState
from aiq.policy.budget import Budget
from aiq.policy.defaults import LimitSettings
from aiq.redaction import Secret
from aiq.run.board import Board
from aiq.run.fleet import Fleet, transports
from aiq.run.settlement import REFUSED, TRUNCATED, Memo
from aiq.store.writes import Reject, Settle
from tests.support import factories
from tests.support.fake_clock import FakeClock


@pytest.fixture
def fleet(clock: FakeClock) -> Fleet:
    """Two providers that are never asked."""
    return Fleet.of(
        (factories.provider(name="a"), factories.provider(name="b", rank=2)),
        concurrency=4,
        transports=transports(clock, {}),
    )


def ended(state: JobState, *, is_failover: bool = False, **facts: Any) -> Settle:
    memo = Memo(provider="b", bound_nano=50, is_failover=is_failover)
    return factories.settle(1, 1, state, memo=memo, **facts)


def test_each_write_moves_a_job_from_where_it_was(fleet: Fleet, clock: FakeClock) -> None:
    """A lease, an end, and a rejection; what goes on later is not finished."""
    board = Board(fleet, clock, counts={JobState.PENDING: 4, JobState.SUCCEEDED: 2})
    board.committed([factories.lease(n, n) for n in (1, 2, 3)])
    board.committed([Reject(4, "not_found", "nobody has it"), ended(JobState.SUCCEEDED)])
    board.committed([ended(JobState.FAILED), ended(JobState.PENDING)])
    assert {state: board.count(state) for state in JobState} == {
        JobState.PENDING: 1,
        JobState.RUNNING: 0,
        JobState.SUCCEEDED: 3,
        JobState.FAILED: 2,
        JobState.CANCELLED: 0,
    }
    assert (board.skipped, board.finished) == (2, 3)


@pytest.mark.parametrize(
    ("facts", "failovers", "requests"),
    [
        ({"kind": "cancelled", "billed": "no"}, 0, 0),
        ({"kind": "cancelled", "billed": "maybe"}, 1, 1),
        ({"kind": "server_error", "billed": "no"}, 1, 1),
    ],
)
def test_what_was_never_sent_is_neither_a_request_nor_a_failover(
    fleet: Fleet, clock: FakeClock, facts: dict[str, str], failovers: int, requests: int
) -> None:
    board = Board(fleet, clock, counts={JobState.RUNNING: 1})
    board.committed([ended(JobState.PENDING, is_failover=True, **facts)])
    total = board.ledger.total
    assert (total.failovers, total.requests) == (failovers, requests)


def test_the_last_error_is_one_of_a_provider(fleet: Fleet, clock: FakeClock) -> None:
    """Our own stop is none, and an answer does not take it away."""
    board = Board(fleet, clock, counts={JobState.RUNNING: 3})
    board.committed([ended(JobState.PENDING, message="overloaded")])
    board.committed([ended(JobState.PENDING, kind="cancelled", message="not sent")])
    board.committed([ended(JobState.SUCCEEDED)])
    assert board.last_error == "b: server_error: overloaded"


def test_what_may_be_paid_is_kept_apart_from_what_is(fleet: Fleet, clock: FakeClock) -> None:
    """Only a billed attempt without a cost is unpriced, only a possibly paid one has a bound."""
    board = Board(fleet, clock, counts={JobState.RUNNING: 4})
    flags = TRUNCATED | REFUSED
    board.committed(
        [
            ended(JobState.SUCCEEDED, cost_nano=7, flags=flags, input_tokens=3, output_tokens=4),
            ended(JobState.SUCCEEDED),
            ended(JobState.PENDING, kind="interrupted", billed="maybe"),
            ended(JobState.PENDING, cost_nano=0),
        ]
    )
    total = board.ledger.total
    assert (total.cost_nano, total.unpriced) == (7, 1)
    assert (total.maybe_paid, total.maybe_nano, total.maybe_unbounded) == (1, 50, 0)
    assert (total.truncated, total.refused) == (1, 1)
    assert total.tokens() == {"input": 3, "output": 4, "cached": 0}


def test_a_limit_leaves_jobs_out_of_the_picture(fleet: Fleet, clock: FakeClock) -> None:
    counts = {JobState.PENDING: 10, JobState.SUCCEEDED: 5}
    shown = Board(fleet, clock, counts=counts, limit=3, budget=Budget(9)).snapshot()
    assert (shown.total, shown.pending, shown.budget_nano) == (8, 3, 9)
    assert Board(fleet, clock, counts=counts, limit=30).snapshot().total == 15


def test_what_a_limit_leaves_out_may_be_cancelled_too(fleet: Fleet, clock: FakeClock) -> None:
    """Then it is in the picture as cancelled: what is done adds up, and nothing is left."""
    board = Board(fleet, clock, counts={JobState.PENDING: 220}, limit=10)
    board.moved(JobState.PENDING, JobState.CANCELLED, 220)
    shown = board.snapshot()
    assert (shown.total, shown.cancelled, shown.pending) == (220, 220, 0)
    board.moved(JobState.CANCELLED, JobState.PENDING, 5)
    shown = board.snapshot()
    assert (shown.total, shown.cancelled, shown.pending) == (215, 215, 0)


def test_an_account_keeps_to_the_limits_that_any_of_its_providers_names(clock: FakeClock) -> None:
    own = LimitSettings(start=2)
    shared = Fleet.of(
        (
            factories.provider(name="a", account="one"),
            factories.provider(name="b", account="one", rank=2, limits=own),
        ),
        concurrency=64,
        transports=transports(clock, {}),
    )
    assert {one.standing.account.concurrency.limit for one in shared.providers.values()} == {2}


def test_a_configured_header_is_the_only_one_of_its_name(clock: FakeClock) -> None:
    """A second `authorization` would hand the vendor's key to a gateway."""
    own = (("AUTHORIZATION", Secret("GATE", "Bearer gate")),)
    settings = factories.provider(name="a", key=Secret("K", "vendor"), headers=own)
    made = Fleet.of((settings,), concurrency=4, transports=transports(clock, {}))
    assert made.providers["a"].headers.get_list("authorization") == ["Bearer gate"]
