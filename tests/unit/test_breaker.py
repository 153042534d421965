"""The circuit breaker, as tables of (instant, what happens, state, next call admitted from)."""

from __future__ import annotations

import math
from typing import Any

import pytest

from aiq.policy.breaker import Breaker, Permit, State, Verdict
from aiq.policy.defaults import BreakerSettings

MIDDLE = 0.5
"""The draw that leaves an open time as it is."""

ENDS: dict[str, dict[str, Any]] = {
    "good": {"verdict": Verdict.GOOD},
    "bad": {"verdict": Verdict.BAD},
    "shed": {"verdict": Verdict.BAD, "is_congestion": True},
    "connect": {"verdict": Verdict.BAD, "is_connect": True},
    "ignored": {"verdict": Verdict.IGNORED},
    "slow": {"verdict": Verdict.GOOD, "is_slow": True},
}

CLOSED, OPEN, HALF_OPEN = State.CLOSED, State.OPEN, State.HALF_OPEN


class Scene:
    """A breaker and the calls that are out, by name."""

    def __init__(self, *, openings: int = 0, **settings: Any) -> None:
        self.breaker = Breaker(BreakerSettings(**settings), openings=openings)
        self.out: dict[str, Permit] = {}

    def act(self, now: float, what: str) -> None:
        """`start a` begins a call, `a good` ends it, `5 bad` are calls without a duration."""
        first, _, second = what.partition(" ")
        if first in ("start", "early"):
            self.out[second] = self.breaker.admit(now, alone=first == "early")
        elif first in self.out:
            self.end(self.out.pop(first), now, second)
        else:
            for _ in range(int(first)):
                self.end(self.breaker.admit(now), now, second)

    def end(self, permit: Permit, now: float, how: str, **more: Any) -> None:
        self.breaker.settle(permit, now=now, draw=MIDDLE, **ENDS[how], **more)

    def play(self, *rows: tuple[float, str, State, float]) -> None:
        for now, what, state, ready_at in rows:
            self.act(now, what)
            seen = self.breaker.state, self.breaker.ready_at(now)
            assert seen == (state, ready_at), f"after {what!r} at {now}"


def opened(**settings: Any) -> Scene:
    """A breaker that opened at 0 and stays so until 15."""
    scene = Scene(**settings)
    scene.play((0.0, "5 bad", OPEN, 15.0))
    return scene


@pytest.mark.parametrize(
    ("calls", "state"),
    [
        ("4 bad", CLOSED),
        ("5 bad", OPEN),
        ("4 bad, 1 good, 5 bad", CLOSED),
        ("4 bad, 9 ignored, 1 bad", OPEN),
        ("200 good, 4 bad", CLOSED),
        ("200 good, 5 bad", OPEN),
        ("20 good, 6 bad", CLOSED),
        ("20 good, 7 bad", OPEN),
        ("9 good, 10 shed", CLOSED),
        ("10 good, 9 shed", CLOSED),
        ("10 good, 10 shed", OPEN),
        ("50 good, 19 shed, 1 good, 19 shed", CLOSED),
        ("30 good, 19 shed, 1 good, 11 shed", CLOSED),
        ("30 good, 19 shed, 1 good, 12 shed", OPEN),
        ("200 good, 4 bad, 15 shed", CLOSED),
        ("200 good, 4 bad, 16 shed", OPEN),
        ("4 connect, 1 good, 4 connect", CLOSED),
        ("4 connect, 1 bad", OPEN),
        ("1 good, 4 connect, 1 bad, 4 connect", CLOSED),
        ("200 good, 4 connect", CLOSED),
        ("200 good, 4 connect, 3 ignored, 1 connect", OPEN),
        ("200 slow", CLOSED),
    ],
)
def test_opens_at_the_share_or_the_row_and_not_before(calls: str, state: State) -> None:
    """Half of twenty or more, the first five, a row that is no noise, or five refused connects."""
    scene = Scene()
    for number, one in enumerate(calls.split(", ")):
        scene.act(float(number), one)
    assert scene.breaker.state is state


@pytest.mark.parametrize(("min_calls", "calls"), [(20, 100), (100, 200)])
def test_half_by_chance_does_not_open_a_young_window_but_a_long_one(
    min_calls: int, calls: int
) -> None:
    """
    Ten bad of twenty in no row are noise; a server of which every second call fails is not.

    Long is five times what a share takes, or the whole window: more calls are never held.
    """
    scene = Scene(min_calls=min_calls)
    scene.act(0.0, "1 good")
    for _ in range(calls // 2 - 1):
        scene.act(0.0, "1 bad")
        scene.act(0.0, "1 good")
    assert scene.breaker.state is CLOSED
    scene.play((0.0, "1 bad", OPEN, 15.0))


@pytest.mark.parametrize(("limit", "needed"), [(0, 100), (64, 100), (400, 200)])
def test_the_window_is_no_smaller_than_what_may_be_in_flight(limit: int, needed: int) -> None:
    """The share is taken over the last 200 calls, or over the in-flight limit if that is larger."""
    scene, bad = Scene(), 0
    scene.breaker.limit_in_flight(limit)
    scene.act(0.0, "1000 good")
    while scene.breaker.state is CLOSED:
        scene.act(0.0, "1 good" if bad % 4 == 3 else "0 good")
        scene.act(0.0, "1 bad")
        bad += 1
    assert bad == needed


def test_a_window_is_as_whole_as_what_may_be_in_flight() -> None:
    """A small one that many calls in flight have widened is judged by its own size."""
    scene = Scene(window_calls=20)
    scene.breaker.limit_in_flight(128)
    for _ in range(30):
        scene.act(0.0, "1 good")
        scene.act(0.0, "1 bad")
    assert scene.breaker.state is CLOSED


def test_calls_longer_than_the_window_are_counted() -> None:
    """The window grows to twice the 99th percentile: five calls of 300 s that all fail open it."""
    scene = Scene()
    for name in "abcdef":
        scene.act(0.0, f"start {name}")
    for name in "abcd":
        scene.play((300.0, f"{name} bad", CLOSED, 300.0))
    scene.play((300.0, "e bad", OPEN, 315.0))


def test_one_trial_then_three_and_closed_at_the_third_good_one() -> None:
    """The slowest of the four is not waited for, and its late outcome changes nothing."""
    scene = opened()
    scene.play(
        (15.0, "start a", HALF_OPEN, 45.0),
        (16.0, "a good", HALF_OPEN, 16.0),
        (16.0, "start b", HALF_OPEN, 16.0),
        (16.0, "start c", HALF_OPEN, 16.0),
        (16.0, "start d", HALF_OPEN, 46.0),
        (17.0, "c good", HALF_OPEN, 46.0),
        (18.0, "b good", CLOSED, 18.0),
        (19.0, "d bad", CLOSED, 19.0),
        (19.0, "4 bad", CLOSED, 19.0),
        (19.0, "1 bad", OPEN, 49.0),
    )


def admitted(breaker: Breaker, now: float, callers: int = 50) -> list[Permit]:
    return [breaker.admit(now) for _ in range(callers) if breaker.ready_at(now) <= now]


def test_fifty_callers_at_half_open_get_one_permit_and_then_three() -> None:
    scene = opened()
    (first,) = admitted(scene.breaker, 15.0)
    assert first.is_trial
    scene.end(first, 15.1, "good")
    trials = admitted(scene.breaker, 15.1)
    assert len({permit.number for permit in trials}) == len(trials) == 3


@pytest.mark.parametrize("good", [0, 1, 2])
@pytest.mark.parametrize("how", ["bad", "slow"])
def test_a_bad_or_slow_trial_before_the_third_good_one_opens_again(good: int, how: str) -> None:
    scene = opened()
    scene.act(15.0, f"{good} good")
    scene.play((15.0, f"1 {how}", OPEN, 45.0))


def test_a_provider_that_is_slow_again_is_taken_back() -> None:
    """A second slow trial shows how it is now: degraded, which is not dead."""
    scene = opened()
    scene.play((15.0, "1 slow", OPEN, 45.0), (45.0, "3 slow", CLOSED, 45.0))
    scene.play((45.0, "5 bad", OPEN, 105.0), (105.0, "1 slow", OPEN, 225.0))


def test_an_ignored_outcome_gives_a_trial_its_place_back() -> None:
    scene = opened()
    scene.play(
        (15.0, "start a", HALF_OPEN, 45.0),
        (16.0, "a ignored", HALF_OPEN, 16.0),
        (16.0, "start b", HALF_OPEN, 46.0),
    )


def test_an_abandoned_trial_expires_and_its_late_outcome_is_evidence() -> None:
    """Its place is free exactly at its expiry; settled twice it counts once."""
    scene = opened()
    scene.act(15.0, "start lost")
    lost = scene.out["lost"]
    scene.play(
        (44.9, "0 good", HALF_OPEN, 45.0),
        (45.0, "start a", HALF_OPEN, 75.0),
        (46.0, "lost good", HALF_OPEN, 46.0),
    )
    scene.end(lost, 46.0, "good")
    scene.end(lost, 46.0, "good")
    assert scene.breaker.reason(46.0) == "half-open: 1 of 4 trials good"


def test_lost_trials_do_not_pile_up() -> None:
    scene, now = opened(), 15.0
    for _ in range(1000):
        scene.act(now, "start lost")
        now = scene.breaker.ready_at(now)
    assert len(scene.breaker._trials) <= 16
    scene.play((now, "3 good", CLOSED, now))


def test_trials_of_an_earlier_half_open_take_no_place_in_the_next() -> None:
    scene = opened()
    scene.act(15.0, "1 good")
    for name in "abc":
        scene.act(15.0, f"start {name}")
    scene.play((16.0, "a bad", OPEN, 46.0), (21.0, "early d", HALF_OPEN, 51.0))
    scene.play((22.0, "d good", HALF_OPEN, 22.0), (22.0, "2 good", CLOSED, 22.0))


def test_a_trial_of_a_provider_that_takes_minutes_expires_after_twice_its_95th_percentile() -> None:
    scene = Scene()
    for name in "abc":
        scene.act(0.0, f"start {name}")
    for name in "abc":
        scene.act(100.0, f"{name} good")
    scene.play((100.0, "5 connect", OPEN, 115.0), (115.0, "start a", HALF_OPEN, 315.0))


def test_outcomes_of_an_older_generation_do_not_move_the_present() -> None:
    """Late successes do not close it, late failures neither open nor lengthen anything."""
    scene = Scene()
    for name in "abcdef":
        scene.act(0.0, f"start {name}")
    scene.play(
        (0.0, "5 connect", OPEN, 15.0),
        (1.0, "a good", OPEN, 15.0),
        (1.0, "b connect", OPEN, 15.0),
        (15.0, "start trial", HALF_OPEN, 45.0),
        (16.0, "c bad", HALF_OPEN, 45.0),
        (16.0, "d good", HALF_OPEN, 45.0),
        (17.0, "trial good", HALF_OPEN, 17.0),
        (17.0, "2 good", CLOSED, 17.0),
        (18.0, "e bad", CLOSED, 18.0),
        (18.0, "4 bad", CLOSED, 18.0),
        (18.0, "f bad", CLOSED, 18.0),
    )


def test_the_open_time_doubles_to_its_cap_and_does_not_overflow() -> None:
    scene, now, waits = opened(), 15.0, []
    for _ in range(2000):
        scene.act(now, "1 bad")
        waits.append(scene.breaker.ready_at(now) - now)
        now = scene.breaker.ready_at(now)
    assert waits[:6] == [30.0, 60.0, 120.0, 240.0, 300.0, 300.0]
    assert set(waits[5:]) == {300.0}
    assert scene.breaker.openings == 2001


@pytest.mark.parametrize(("draw", "open_s"), [(0.0, 12.0), (0.5, 15.0), (1.0, 18.0)])
def test_the_open_time_is_spread_by_a_fifth(draw: float, open_s: float) -> None:
    breaker = Breaker(BreakerSettings())
    for _ in range(5):
        breaker.settle(breaker.admit(0.0), Verdict.BAD, now=0.0, draw=draw)
    assert breaker.ready_at(0.0) == pytest.approx(open_s)


@pytest.mark.parametrize(
    ("wish_s", "ready_at", "alone"),
    [
        (None, 15.0, 5.0),
        (3.0, 15.0, 5.0),
        (10.0, 15.0, 10.0),
        (100.0, 100.0, 100.0),
        (1e9, 3600.0, 3600.0),
        (-1.0, 15.0, 5.0),
        (math.nan, 15.0, 5.0),
        (math.inf, 15.0, 5.0),
    ],
)
def test_a_longer_wish_of_the_server_is_obeyed(
    wish_s: float | None, ready_at: float, alone: float
) -> None:
    """Also where nobody else is left."""
    scene = Scene()
    scene.act(0.0, "4 bad")
    scene.end(scene.breaker.admit(0.0), 0.0, "bad", retry_after_s=wish_s)
    assert scene.breaker.ready_at(0.0) == ready_at
    assert scene.breaker.ready_at(0.0, alone=True) == alone


def test_alone_it_is_tried_every_five_seconds_within_its_open_time() -> None:
    """Early trials that fail lengthen the open time by less than that, at its end."""
    scene = opened()
    breaker = scene.breaker
    with pytest.raises(RuntimeError):
        breaker.admit(4.9, alone=True)
    scene.play((5.0, "early a", HALF_OPEN, 35.0), (6.0, "a bad", OPEN, 15.0))
    assert breaker.ready_at(6.0, alone=True) == 11.0
    scene.play((11.0, "early b", HALF_OPEN, 41.0), (12.0, "b bad", OPEN, 17.0))
    assert breaker.ready_at(12.0, alone=True) == 17.0
    assert breaker.openings == 1
    scene.play((17.0, "1 bad", OPEN, 47.0))
    assert breaker.ready_at(17.0, alone=True) == 22.0
    scene.play((22.0, "early c", HALF_OPEN, 52.0), (23.0, "c good", HALF_OPEN, 23.0))
    scene.play((23.0, "2 good", CLOSED, 23.0))


def test_an_early_trial_brings_a_new_wish() -> None:
    scene = opened()
    scene.end(scene.breaker.admit(5.0, alone=True), 6.0, "bad", retry_after_s=100.0)
    assert scene.breaker.ready_at(6.0, alone=True) == scene.breaker.ready_at(6.0) == 106.0


def test_closing_forgets_what_was_before() -> None:
    """Calls of the last closed period are neither in the share nor in the row of connects."""
    scene = Scene()
    scene.play((0.0, "100 good", CLOSED, 0.0), (0.0, "5 connect", OPEN, 15.0))
    scene.play((15.0, "3 good", CLOSED, 15.0), (15.0, "4 connect", CLOSED, 15.0))
    scene.play((15.0, "1 bad", OPEN, 45.0))


@pytest.mark.parametrize(
    ("good_at", "fails_at", "open_s"),
    [(16.0, 20.0, 30.0), (29.9, 40.0, 30.0), (30.0, 40.0, 15.0)],
)
def test_the_open_time_shrinks_only_after_proof(
    good_at: float, fails_at: float, open_s: float
) -> None:
    """Proof is an answer after being closed for as long as it had to stay open."""
    scene = opened()
    scene.play((15.0, "3 good", CLOSED, 15.0), (good_at, "1 good", CLOSED, good_at))
    scene.act(fails_at, "5 connect")
    assert scene.breaker.ready_at(fails_at) == fails_at + open_s


def test_after_a_restart_it_is_half_open_and_remembers_its_openings() -> None:
    scene = Scene(openings=3)
    scene.play((7.0, "start a", HALF_OPEN, 37.0), (8.0, "a bad", OPEN, 128.0))
    assert scene.breaker.openings == 4


def test_a_call_that_is_not_admitted_raises_and_changes_nothing() -> None:
    scene = opened()
    with pytest.raises(RuntimeError, match="open"):
        scene.breaker.admit(14.9)
    assert (scene.breaker.generation, scene.breaker.ready_at(14.9)) == (1, 15.0)


def test_every_transition_is_one_generation() -> None:
    """Whoever watches the generation sees each transition exactly once."""
    scene = Scene()
    rows = [(0.0, "4 bad", 0), (0.0, "1 bad", 1), (15.0, "1 good", 2), (15.0, "1 bad", 3)]
    for now, what, generation in [*rows, (45.0, "2 good", 4), (45.0, "1 good", 5)]:
        scene.act(now, what)
        assert scene.breaker.generation == generation


def test_time_backwards_does_no_harm() -> None:
    scene = Scene()
    scene.act(100.0, "start a")
    scene.act(50.0, "a bad")
    scene.play((40.0, "4 bad", OPEN, 55.0), (55.0, "3 good", CLOSED, 55.0))


@pytest.mark.parametrize(
    ("calls", "reason"),
    [
        ("5 bad", "open after 5 bad calls in a row"),
        ("1 good, 5 connect", "open after 5 failures to connect in a row"),
        ("10 good, 10 shed", "open after 10 of 20 calls were bad"),
    ],
)
def test_it_says_why_and_until_when(calls: str, reason: str) -> None:
    scene = Scene()
    assert (scene.breaker.reason(0.0), scene.breaker.until(0.0)) == (None, None)
    for one in calls.split(", "):
        scene.act(0.0, one)
    assert (scene.breaker.reason(0.0), scene.breaker.until(0.0)) == (reason, 15.0)
    assert scene.breaker.until(15.0) is None
    assert scene.breaker.reason(15.0) == reason.replace("open after", "due for a trial after")
