"""How long a run goes on while no provider does any good."""

from __future__ import annotations

import math

import pytest

from aiq.model import Kind
from aiq.policy.patience import FIRST_ANSWER_S, Patience
from tests.support.factories import outcome

USABLE = {Kind.OK, Kind.BAD_REQUEST, Kind.CONTEXT_TOO_LONG}
TROUBLE = [kind for kind in Kind if kind not in USABLE and kind is not Kind.CANCELLED]


def noted(max_wait_s: float | None, *kinds: Kind) -> Patience:
    """Let outcomes come at 1, 2, 3 ... seconds."""
    patience = Patience(max_wait_s)
    for second, kind in enumerate(kinds, start=1):
        patience.note("a", outcome(kind, message=f"said {second}"), float(second))
    return patience


@pytest.mark.parametrize("max_wait_s", [None, 5.0])
def test_without_trouble_it_never_ends(max_wait_s: float | None) -> None:
    assert noted(max_wait_s).ends_at == math.inf
    assert noted(max_wait_s, Kind.OK).ends_at == math.inf


@pytest.mark.parametrize("kind", TROUBLE)
def test_it_is_counted_from_the_first_trouble(kind: Kind) -> None:
    """However often it comes back, the limit does not move, and the last of it is what is said."""
    patience = noted(5.0, kind, kind, kind)
    assert patience.ends_at == 1.0 + 5.0
    assert patience.last_trouble == f"a: {kind}: said 3"


@pytest.mark.parametrize("kind", sorted(USABLE))
def test_whoever_judges_a_prompt_is_usable(kind: Kind) -> None:
    """A refused prompt shows that the provider works; the next trouble begins anew."""
    patience = noted(5.0, Kind.CONNECT, kind)
    assert patience.ends_at == math.inf
    patience.note("a", outcome(Kind.CONNECT), 8.0)
    assert patience.ends_at == 8.0 + 5.0


def test_our_own_stop_says_nothing() -> None:
    patience = noted(5.0, Kind.CANCELLED)
    assert (patience.ends_at, patience.last_trouble) == (math.inf, None)
    assert noted(5.0, Kind.CONNECT, Kind.CANCELLED).ends_at == 6.0


@pytest.mark.parametrize(
    ("before", "ends_at"),
    [
        ([], 1.0 + FIRST_ANSWER_S),
        ([Kind.BAD_REQUEST], 2.0 + FIRST_ANSWER_S),
        ([Kind.OK], math.inf),
        ([Kind.OK, Kind.BAD_REQUEST], math.inf),
    ],
)
def test_by_default_it_has_a_limit_until_the_first_answer_only(
    before: list[Kind], ends_at: float
) -> None:
    """A run that never worked was started wrongly; one that has worked waits for its providers."""
    assert noted(None, *before, Kind.CONNECT).ends_at == ends_at


def test_a_limit_of_the_user_holds_after_answers_too() -> None:
    assert noted(5.0, Kind.OK, Kind.CONNECT).ends_at == 7.0


def test_a_cooldown_of_an_earlier_run_is_trouble_from_the_start() -> None:
    """As its 429 would be in this run; the first answer of anybody ends it."""
    patience = Patience(None)
    patience.note_cooldown("a", 1.0, 60.0)
    patience.note_cooldown("b", 2.0, 90.2)
    assert patience.ends_at == 1.0 + FIRST_ANSWER_S
    said = "an earlier run was told to wait, 91 s from the start of this one"
    assert patience.last_trouble == f"b: rate_limited: {said}"
    patience.note("c", outcome(Kind.OK), 3.0)
    assert patience.ends_at == math.inf


def test_time_in_which_a_person_keeps_it_from_sending_is_left_out() -> None:
    """Trouble from before goes on where it stood; while held, patience never ends."""
    patience = noted(5.0, Kind.CONNECT)
    patience.hold(2.0)
    patience.hold(3.0)
    assert patience.ends_at == math.inf
    patience.go_on(102.0)
    assert patience.ends_at == 1.0 + 5.0 + 100.0


def test_trouble_that_begins_while_held_counts_from_the_end_of_it() -> None:
    patience = Patience(5.0)
    patience.hold(2.0)
    patience.note("a", outcome(Kind.CONNECT), 10.0)
    patience.go_on(50.0)
    assert patience.ends_at == 55.0
    patience.go_on(60.0)
    assert patience.ends_at == 55.0


def test_held_without_trouble_is_no_trouble() -> None:
    patience = Patience(5.0)
    patience.hold(2.0)
    patience.go_on(50.0)
    assert patience.ends_at == math.inf
