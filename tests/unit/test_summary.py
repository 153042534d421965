"""The end of a run in words."""

import pytest

from aiq.cli.summary import about_budget, summary
from aiq.errors import ExitCode
from aiq.run.report import Tally
from aiq.run.result import RunResult


def tally(maybe_paid: int) -> Tally:
    made = Tally()
    made.requests, made.maybe_paid, made.maybe_nano = 5, maybe_paid, maybe_paid * 1_000_000
    return made


@pytest.mark.parametrize(
    ("this_run", "said"),
    [
        (3, "possibly paid without an answer: 3 requests, at most $0.0030"),
        (1, "possibly paid without an answer over all runs: 3 requests, at most $0.0030"),
    ],
)
def test_what_may_be_paid_says_of_which_runs(this_run: int, said: str) -> None:
    """All attempts ever count, so that it differs from what the live view showed."""
    result = RunResult(exit_code=ExitCode.OK, batches=("b",), ever=tally(3))
    result.ledger.providers["a"] = tally(this_run)
    lines = [line.plain for line in summary(result, width=100, next_steps={})]
    assert said in lines


@pytest.mark.parametrize(
    ("exit_code", "is_said"), [(ExitCode.BUDGET, True), (ExitCode.NO_PROVIDER, False)]
)
def test_the_budget_that_a_command_to_resume_names_is_explained(
    exit_code: ExitCode, is_said: bool
) -> None:
    """It is higher than what was given, and nobody knows where it comes from."""
    result = RunResult(exit_code=exit_code, resume="aiq run p.jsonl --budget 2.6")
    said = "".join(line.plain for line in about_budget(result))
    assert ("about what the rest needs" in said) is is_said
    assert not about_budget(RunResult(exit_code=exit_code))
