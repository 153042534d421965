"""The rule of the first twenty: one shape of refusal for all of them stops a run."""

from __future__ import annotations

from typing import Any

import pytest

from aiq.model import Kind, Outcome
from aiq.policy.mistake import FIRST, CommonMistake
from tests.support.factories import outcome


def refusal(**facts: Any) -> Outcome:
    shape: dict[str, Any] = {"status_code": 400, "code": "unknown_parameter", "param": "temperatur"}
    return outcome(Kind.BAD_REQUEST, **shape | facts)


def test_the_twentieth_of_one_shape_stops_the_run_and_only_it() -> None:
    mistake = CommonMistake()
    verdicts = [mistake.finished(refusal(message=str(n))) for n in range(FIRST + 10)]
    assert FIRST == 20
    assert [n for n, stops in enumerate(verdicts, start=1) if stops] == [20]


@pytest.mark.parametrize(
    "other",
    [
        outcome(Kind.OK),
        outcome(Kind.SERVER_ERROR, status_code=400, code="unknown_parameter", param="temperatur"),
        refusal(status_code=422),
        refusal(code=None),
        refusal(param="top_q"),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 18, 19])
def test_one_different_end_among_the_first_twenty_settles_it(other: Outcome, place: int) -> None:
    """After one job that ended otherwise the mistake is not in the command."""
    mistake = CommonMistake()
    for n in range(100):
        assert not mistake.finished(other if n == place else refusal())


def test_refusals_without_code_or_parameter_are_alike_too() -> None:
    mistake = CommonMistake()
    plain = outcome(Kind.BAD_REQUEST, status_code=422)
    assert [mistake.finished(plain) for _ in range(20)] == [False] * 19 + [True]
