"""Jobs that wait: in order, by priority, and never blocked by one that waits for something else."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from aiq.model import Kind, shown_key
from aiq.policy.admission import Candidate
from aiq.policy.routing import Go, Never, Route
from aiq.policy.strategy import Strategy
from aiq.run.job import Job
from aiq.run.waiting import Waiting
from tests.support.factories import candidate, history, job


def drain(waiting: Waiting, now: float = 0.0) -> list[int]:
    """Take until everybody has to wait."""
    taken = []
    while (found := waiting.take(now)) is not None:
        taken.append(found[0].id)
    return taken


def cool(one: Candidate, until: float) -> None:
    one.standing.account.limits.cooldown.until = until


def errored(job_id: int, *candidates: Candidate, at: str) -> Job:
    return job(job_id, *candidates, past=history((at, Kind.SERVER_ERROR)))


def test_first_in_first_out() -> None:
    a, waiting = candidate("a"), Waiting(Strategy())
    for job_id in range(5):
        waiting.add(job(job_id, a))
    assert len(waiting) == 5
    assert drain(waiting) == [0, 1, 2, 3, 4]
    assert len(waiting) == 0


def test_the_higher_priority_of_two_lanes_goes_first() -> None:
    a, b, waiting = candidate("a"), candidate("b"), Waiting(Strategy())
    waiting.add(job(1, a, priority=0))
    waiting.add(job(2, b, priority=5))
    waiting.add(job(3, b, priority=-1))
    assert drain(waiting) == [2, 1, 3]


def test_one_that_was_already_tried_goes_before_fresh_ones() -> None:
    a, waiting = candidate("a"), Waiting(Strategy())
    waiting.add(job(1, a))
    waiting.add(job(2, a), first=True)
    assert drain(waiting) == [2, 1]


def test_a_tried_one_of_another_lane_goes_before_fresh_ones_too() -> None:
    """Its lane is another because it met an error; a higher priority still wins."""
    a, b, waiting = candidate("a"), candidate("b"), Waiting(Strategy())
    waiting.add(job(1, a, b))
    waiting.add(errored(2, a, b, at="a"))
    waiting.add(job(3, b, priority=1))
    assert drain(waiting) == [3, 2, 1]


def test_a_trial_is_made_with_a_fresh_one() -> None:
    """What failed before may be the cause, and would keep others from a provider that is well."""
    a, waiting = candidate("a", openings=1), Waiting(Strategy())
    waiting.add(errored(1, a, at="a"))
    waiting.add(job(2, a))
    found = waiting.take(0.0)
    assert found is not None
    assert found[0].id == 2


def test_a_tried_one_makes_the_trial_where_no_other_is_left() -> None:
    a, b, waiting = candidate("a", openings=1), candidate("b"), Waiting(Strategy())
    waiting.add(job(1, b))
    waiting.add(errored(2, a, at="a"))
    assert drain(waiting) == [2, 1]


def test_a_job_is_suspect_where_others_were_answered_since_it_failed() -> None:
    """Once is enough: what comes after says the same."""
    a, b = candidate("a"), candidate("b")
    one = job(1, a, b)
    one.failed_at(a)
    assert not one.is_suspect(a)
    a.channel.answered(0.1)
    assert one.is_suspect(a)
    assert not one.is_suspect(b)
    assert one.is_suspect_anywhere
    one.failed_at(a)
    assert one.is_suspect(a)


def test_a_cooling_lane_does_not_hold_up_another() -> None:
    a, b, waiting = candidate("a"), candidate("b"), Waiting(Strategy())
    cool(a, 9.0)
    waiting.add(job(1, a, priority=9))
    waiting.add(job(2, b))
    assert drain(waiting) == [2]
    assert waiting.next_at == 9.0
    assert drain(waiting, now=8.999) == []
    assert drain(waiting, now=9.0) == [1]


def test_one_who_waits_for_a_full_provider_holds_up_nobody_who_can_go() -> None:
    """
    Jobs in one lane want the same providers in the same order.

    A job that errored on A prefers B; while B is full it waits, but a fresh job prefers A and goes.
    """
    a, b, waiting = candidate("a"), candidate("b", limit=1), Waiting(Strategy())
    b.standing.in_flight = 1
    waiting.add(job(1, a, b))
    waiting.add(errored(2, a, b, at="a"), first=True)
    found = waiting.take(0.0)
    assert found is not None
    assert (found[0].id, found[1]) == (1, Go(a))
    assert waiting.take(0.0) is None
    b.standing.in_flight = 0
    assert drain(waiting) == [2]


def test_who_waits_for_room_has_no_instant_to_wake_at() -> None:
    a, waiting = candidate("a", limit=1), Waiting(Strategy())
    a.standing.in_flight = 1
    waiting.add(job(1, a))
    assert waiting.take(0.0) is None
    assert waiting.next_at == math.inf


@pytest.mark.parametrize(("now", "expected"), [(4.999, []), (5.0, [1]), (6.0, [1])])
def test_a_backoff_ends_exactly_at_its_instant(now: float, expected: list[int]) -> None:
    waiting = Waiting(Strategy())
    waiting.back_off(job(1, candidate("a")), until=5.0)
    assert len(waiting) == 1
    assert drain(waiting, now=now) == expected
    assert waiting.next_at == (math.inf if expected else 5.0)


def test_backoffs_end_in_order_even_at_one_instant() -> None:
    """Jobs are never compared with each other, whatever the instants."""
    a, waiting = candidate("a"), Waiting(Strategy())
    for job_id, until in ((1, 3.0), (2, 1.0), (3, 1.0)):
        waiting.back_off(job(job_id, a), until=until)
    assert sorted(drain(waiting, now=2.0)) == [2, 3]
    assert waiting.next_at == 3.0
    assert drain(waiting, now=3.0) == [1]


def test_a_job_nobody_will_ever_take_comes_out_with_the_reason() -> None:
    a, waiting = candidate("a"), Waiting(Strategy())
    a.standing.disabled = "auth: no"
    waiting.add(job(1, a))
    found = waiting.take(0.0)
    assert found is not None
    assert isinstance(found[1], Never)
    assert waiting.take(0.0) is None


def test_an_empty_one_has_nothing_and_no_instant() -> None:
    waiting = Waiting(Strategy())
    assert waiting.take(0.0) is None
    assert waiting.next_at == math.inf


def test_a_million_jobs_of_one_lane_are_looked_at_once() -> None:
    """A look costs one routing per lane, not one per job."""
    a, waiting = candidate("a", limit=1), Waiting(Strategy())
    a.standing.in_flight = 1

    class Counted(Job):
        routed = 0

        def route(self, strategy: Strategy, now: float) -> Route:
            Counted.routed += 1
            return super().route(strategy, now)

    for job_id in range(1000):
        one = job(job_id, a)
        waiting.add(
            Counted(
                job_id=one.id,
                size=one.size,
                priority=0,
                attempts=0,
                history=Counter(),
                request=one.request,
                names_model=False,
                candidates=one.candidates,
            )
        )
    assert waiting.take(0.0) is None
    assert Counted.routed == 1


def test_ids_are_shown_as_users_wrote_them_and_digests_as_hex() -> None:
    assert shown_key("row-1") == "row-1"
    assert shown_key(b"\x00\xff" * 8) == "00ff" * 8


def test_of_two_lanes_alike_the_older_goes_first() -> None:
    a, b, waiting = candidate("a"), candidate("b"), Waiting(Strategy())
    for job_id, one in enumerate((a, b, a, b)):
        waiting.add(job(job_id, one))
    assert drain(waiting) == [0, 2, 1, 3]


def test_the_bytes_of_what_waits_are_counted_until_it_goes() -> None:
    """Reading ahead is bounded by them: a count that only grew would end it."""
    a, waiting = candidate("a"), Waiting(Strategy())
    waiting.add(job(1, a))
    waiting.back_off(job(2, a), until=5.0)
    assert waiting.bytes == 2 * 100
    assert drain(waiting) == [1]
    assert waiting.bytes == 100
    assert drain(waiting, now=5.0) == [2]
    assert waiting.bytes == 0


def test_jobs_that_nobody_wants_any_more_are_gone_wherever_they_wait() -> None:
    """From the middle of a lane, as all of one, and out of a back-off; the others keep order."""
    a, b, waiting = candidate("a"), candidate("b"), Waiting(Strategy())
    for job_id in (1, 2, 3):
        waiting.add(job(job_id, a))
    waiting.add(job(4, b))
    for job_id in (5, 6):
        waiting.back_off(job(job_id, a), until=10.0)
    waiting.remove(lambda one: one.id in (2, 4, 5))
    assert (len(waiting), waiting.bytes) == (3, 300)
    assert drain(waiting, 0.0) == [1, 3]
    assert drain(waiting, 10.0) == [6]
    assert (len(waiting), waiting.bytes) == (0, 0)


@pytest.mark.parametrize("is_narrowed", [True, False])
def test_a_job_does_not_fail_for_want_of_whom_a_budget_cannot_bound(*, is_narrowed: bool) -> None:
    """He could still take it: with another budget, or in another run."""
    one = job(1, candidate("b", window=8), past=history(("b", Kind.CONTEXT_TOO_LONG)))
    if is_narrowed:
        one.narrow(one.candidates)
    choice = one.route(Strategy(), 0.0)
    assert isinstance(choice, Never)
    assert choice.kind is (None if is_narrowed else Kind.CONTEXT_TOO_LONG)
    assert ("a budget cannot bound others" in choice.message) == is_narrowed


def test_a_job_that_had_its_fill_blocks_none_with_as_many_errors() -> None:
    """It waits for another provider; that one could not be connected to is held against nobody."""
    a, b, waiting = candidate("a"), candidate("b"), Waiting(Strategy())
    cool(b, 60.0)
    waiting.add(job(1, a, b, past=history(*[("a", Kind.SERVER_ERROR)] * 3)))
    waiting.add(job(2, a, b, past=history(*[("a", Kind.CONNECT)] * 3)))
    assert drain(waiting) == [2]
