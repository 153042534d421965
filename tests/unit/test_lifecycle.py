"""The table of a job's life: what is in it moves, what is not raises."""

from __future__ import annotations

from itertools import product

import pytest

from aiq.model import JobState
from aiq.policy.lifecycle import MOVES, Event, IllegalMove, move

# Written out again by hand from the contract: every state, and what may happen to it.
ALLOWED = {
    "pending": {
        "lease": "running",
        "reject": "failed",
        "replace": "pending",
        "restore": "succeeded",
        "cancel": "cancelled",
    },
    "running": {"succeed": "succeeded", "fail": "failed", "release": "pending"},
    "succeeded": {"rerun": "pending"},
    "failed": {"requeue": "pending", "replace": "pending", "restore": "succeeded"},
    "cancelled": {"replace": "pending", "requeue": "pending", "restore": "succeeded"},
}


@pytest.mark.parametrize(("state", "event"), list(product(JobState, Event)))
def test_every_pair_moves_or_raises(state: JobState, event: Event) -> None:
    """A pair that the contract does not name is a mistake of ours and says what it was."""
    expected = ALLOWED[state.value].get(event.value)
    if expected is None:
        with pytest.raises(IllegalMove, match=f"a {state} job cannot {event}"):
            move(state, event)
    else:
        assert move(state, event) == expected


def test_an_answer_is_lost_only_on_the_users_word() -> None:
    """Nothing but `rerun` leads out of `succeeded`."""
    assert [event for state, event in MOVES if state is JobState.SUCCEEDED] == [Event.RERUN]


def test_every_state_is_reached_and_left() -> None:
    assert set(MOVES.values()) == set(JobState)
    assert {state for state, _ in MOVES} == set(JobState)
