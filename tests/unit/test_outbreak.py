"""A row of bad calls by the order in which they started, as tables."""

from __future__ import annotations

import math

import pytest

from aiq.policy.outbreak import BY_CHANCE, MEMORY, Outbreak, is_chance


def played(*rows: str) -> Outbreak:
    """`5 good` are calls without a duration, `start 3` begins some, `bad 2` ends those numbers."""
    outbreak = Outbreak()
    for row in rows:
        what, _, rest = row.partition(" ")
        if what == "start":
            for _ in range(int(rest)):
                outbreak.start()
        elif what.isdigit():
            for _ in range(int(what)):
                end(outbreak, outbreak.start(), rest)
        else:
            for number in rest.split():
                end(outbreak, int(number), what)
    return outbreak


def end(outbreak: Outbreak, number: int, how: str) -> None:
    if how == "good":
        outbreak.good(number)
    elif how == "ignored":
        outbreak.ignored(number)
    else:
        outbreak.bad(number, is_congestion=how == "shed")


@pytest.mark.parametrize(
    ("rows", "size"),
    [
        (["3 bad"], 3),
        (["3 bad", "1 good"], 0),
        (["3 bad", "2 ignored", "1 bad"], 4),
        (["3 bad", "2 shed"], 3),
        (["start 1", "3 bad", "good 1"], 3),
        (["start 2", "1 bad", "1 good", "1 bad", "good 1"], 1),
        (["start 4", "bad 2 4", "good 3"], 1),
        (["start 4", "good 3", "bad 2 4"], 1),
    ],
)
def test_counts_the_bad_calls_that_started_after_the_newest_good_one(
    rows: list[str], size: int
) -> None:
    """A good answer to a call from before the failures says nothing about now."""
    assert played(*rows).size == size


@pytest.mark.parametrize(
    ("rows", "is_noise"),
    [
        (["200 good", "3 bad"], True),
        (["200 good", "4 bad"], False),
        (["200 good", "start 9", "5 bad"], True),
        (["200 good", "start 9", "6 bad"], False),
        (["200 good", "start 64", "8 bad"], True),
        (["200 good", "start 64", "9 bad"], False),
        (["1 bad", "4 good"] * 40 + ["12 bad"], True),
        (["1 bad", "4 good"] * 40 + ["13 bad"], False),
        (["20 bad"], True),
    ],
)
def test_calls_that_are_out_count_as_good(rows: list[str], is_noise: bool) -> None:
    """The more of them there are, the more bad ones it takes; nothing before says nothing."""
    assert played(*rows).is_noise is is_noise


def test_late_failures_of_older_calls_make_the_usual_share_and_no_outbreak() -> None:
    """Noise that fails more slowly than answers come is noise all the same."""
    rows = ["start 5", "bad 1"] + ["5 good"] * 8
    outbreak = played(*rows, "bad 2 3 4 5", "4 bad")
    assert outbreak.size == 4
    assert outbreak.is_noise


def test_what_was_usual_long_ago_is_forgotten() -> None:
    rows = ["1 bad", "1 good"] * 50 + ["5 bad"]
    assert played(*rows).is_noise
    assert not played(*rows[:-1], f"{30 * MEMORY} good", rows[-1]).is_noise


def test_knows_who_was_overtaken() -> None:
    outbreak = played("start 5", "good 2", "bad 4", "ignored 1")
    assert [outbreak.overtaken(number) for number in range(1, 7)] == [0, 0, 0, 1, 1, 2]
    outbreak.clear()
    assert outbreak.overtaken(6) == 0


def test_after_a_new_beginning_the_past_does_not_count() -> None:
    outbreak = played("200 good", "start 2", "6 bad")
    outbreak.clear()
    assert outbreak.size == 0
    outbreak.good(202)
    for _ in range(6):
        end(outbreak, outbreak.start(), "bad")
    assert outbreak.size == 6
    assert outbreak.is_noise


@pytest.mark.parametrize("share", [0.005, 0.2, 0.5])
@pytest.mark.parametrize("calls", [5, 30, 400])
def test_chance_is_never_taken_for_less_than_it_is(calls: int, share: float) -> None:
    """Against the exact tail of the binomial distribution."""
    for bad in range(calls + 1):
        tail = sum(
            math.comb(calls, n) * share**n * (1 - share) ** (calls - n)
            for n in range(bad, calls + 1)
        )
        if tail > BY_CHANCE:
            assert is_chance(bad, calls, share)
