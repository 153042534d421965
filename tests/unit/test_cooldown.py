"""Periods in which nothing is sent: they only grow, double without hints, and are bounded."""

from __future__ import annotations

import math

import pytest

from aiq.policy.cooldown import Cooldown, left_s
from aiq.policy.defaults import LimitSettings


@pytest.mark.parametrize(
    ("hint_s", "wait"),
    [
        (0.8, 0.8),
        (0.001, 0.001),
        (0.0, 2.0),
        (3600.0, 3600.0),
        (3600.1, 3600.0),
        (1e300, 3600.0),
        (-5.0, 2.0),
        (math.nan, 2.0),
        (math.inf, 2.0),
        (-math.inf, 2.0),
        (None, 2.0),
    ],
)
def test_a_hint_is_clamped_and_nonsense_is_none(hint_s: float | None, wait: float) -> None:
    """The server's wish holds up to 3,600 s; what is no time to wait counts as no wish."""
    cooldown = Cooldown(LimitSettings())
    cooldown.extend(now=10.0, started=9.0, hint_s=hint_s, draw=1.0)
    assert cooldown.until == pytest.approx(10.0 + wait)


def test_a_shorter_hint_never_shortens_the_wait() -> None:
    """Requests sent during a wait count against us, so its end only moves later."""
    cooldown = Cooldown(LimitSettings())
    cooldown.extend(now=0.0, started=0.0, hint_s=30.0, draw=0.0)
    cooldown.extend(now=1.0, started=0.0, hint_s=1.0, draw=0.0)
    assert cooldown.until == 30.0
    cooldown.extend(now=2.0, started=0.0, hint_s=29.0, draw=0.0)
    assert cooldown.until == 31.0


def test_time_backwards_does_not_shorten_the_wait() -> None:
    cooldown = Cooldown(LimitSettings())
    cooldown.extend(now=100.0, started=99.0, hint_s=10.0, draw=0.0)
    cooldown.extend(now=50.0, started=49.0, hint_s=10.0, draw=0.0)
    assert cooldown.until == 110.0


def test_without_hints_it_doubles_to_a_minute() -> None:
    """2 s doubling, cap 60 s; each 429 answers a request sent after the wait before."""
    cooldown, waits, now = Cooldown(LimitSettings()), [], 0.0
    for _ in range(7):
        cooldown.extend(now=now, started=now, hint_s=None, draw=1.0)
        waits.append(cooldown.until - now)
        now = cooldown.until
    assert waits == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_two_thousand_unhinted_refusals_do_not_overflow() -> None:
    cooldown, now = Cooldown(LimitSettings()), 0.0
    for _ in range(2000):
        cooldown.extend(now=now, started=now, hint_s=None, draw=1.0)
        assert cooldown.until - now <= 60.0
        now = cooldown.until


@pytest.mark.parametrize(("draw", "wait"), [(0.0, 1.0), (0.5, 1.5), (1.0, 2.0)])
def test_jitter_is_between_half_and_the_whole(draw: float, wait: float) -> None:
    cooldown = Cooldown(LimitSettings())
    cooldown.extend(now=0.0, started=0.0, hint_s=None, draw=draw)
    assert cooldown.until == wait


def test_one_burst_of_refusals_doubles_once() -> None:
    """Fifty 429s to requests that were under way together are one sign, not fifty."""
    cooldown = Cooldown(LimitSettings())
    for n in range(50):
        cooldown.extend(now=1.0 + n / 1000, started=0.5, hint_s=None, draw=1.0)
    assert cooldown.until == pytest.approx(1.049 + 2.0)


def test_a_request_started_exactly_at_the_end_counts_as_after_it() -> None:
    cooldown = Cooldown(LimitSettings())
    cooldown.extend(now=0.0, started=0.0, hint_s=None, draw=1.0)
    cooldown.extend(now=2.5, started=2.0, hint_s=None, draw=1.0)
    assert cooldown.until == 2.5 + 4.0


def test_an_answer_sent_after_the_wait_ends_the_doubling() -> None:
    cooldown = Cooldown(LimitSettings())
    cooldown.extend(now=0.0, started=0.0, hint_s=None, draw=1.0)
    cooldown.extend(now=2.0, started=2.0, hint_s=None, draw=1.0)
    assert cooldown.until == 6.0
    cooldown.clear(started=5.9)
    cooldown.extend(now=6.0, started=6.0, hint_s=None, draw=1.0)
    assert cooldown.until == 14.0, "an answer to an older request says nothing"
    cooldown.clear(started=14.0)
    cooldown.extend(now=20.0, started=20.0, hint_s=None, draw=1.0)
    assert cooldown.until == 22.0


def test_an_answer_does_not_end_the_wait_itself() -> None:
    cooldown = Cooldown(LimitSettings())
    cooldown.extend(now=0.0, started=0.0, hint_s=30.0, draw=0.0)
    cooldown.clear(started=0.0)
    assert cooldown.until == 30.0


def test_base_and_cap_are_settable() -> None:
    cooldown, now, waits = Cooldown(LimitSettings(cooldown_s=0.5, cooldown_cap_s=3.0)), 0.0, []
    for _ in range(5):
        cooldown.extend(now=now, started=now, hint_s=None, draw=1.0)
        waits.append(cooldown.until - now)
        now = cooldown.until
    assert waits == [0.5, 1.0, 2.0, 3.0, 3.0]


@pytest.mark.parametrize(
    ("now_s", "left"),
    [
        (100, 60.0),
        (130, 30.0),
        (160, 0.0),
        (161, 0.0),
        (10**9, 0.0),
        (99, 60.0),
        (-(10**9), 60.0),
    ],
    ids=["at once", "in it", "at its end", "after it", "clock ahead", "clock back", "far back"],
)
def test_what_is_left_of_a_noted_wait_is_never_more_than_was_noted(now_s: int, left: float) -> None:
    """Noted at 100 s by the wall clock, until 160 s: a clock set back does not make it longer."""
    found = left_s(until_us=160_000_000, noted_at_us=100_000_000, now_us=now_s * 1_000_000)
    assert found == left


def test_a_wait_of_an_earlier_run_is_one_of_this_run() -> None:
    """It ends no earlier for what comes after it, and a 429 after it begins the doubling."""
    cooldown = Cooldown(LimitSettings())
    cooldown.remember(30.0)
    assert cooldown.until == 30.0
    cooldown.remember(20.0)
    assert cooldown.until == 30.0
    cooldown.extend(now=1.0, started=0.0, hint_s=2.0, draw=1.0)
    assert cooldown.until == 30.0
    cooldown.extend(now=31.0, started=30.0, hint_s=None, draw=1.0)
    assert cooldown.until == 33.0
