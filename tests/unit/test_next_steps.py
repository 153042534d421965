"""What is proposed after a run, or one that ended in an error before it sent anything."""

import os
from pathlib import Path

import pytest

from aiq.cli.next_steps import NextSteps
from aiq.cli.options import RetryOptions, RunOptions, WorkOptions
from aiq.config import RunSettings, Settings
from aiq.errors import ConfigError, ExitCode, StoreError, StoreMoved, Unusable
from aiq.model import JobState
from aiq.run.result import RunResult

SETTINGS = Settings(run=RunSettings(), defaults={}, providers=(), path=None, notes=())
MOVED = StoreMoved("the database was deleted", copy=Path("aiq.db.rescue.db"))
LOCKED = StoreError("the database is locked")
FILE = RunOptions(prompts=["a.jsonl"], model="m")
PIPE = RunOptions(prompts=["-"], name="piped")
RETRY = RetryOptions(batch="b", kind=["auth"])


@pytest.mark.parametrize(
    ("options", "error", "expected"),
    [
        (FILE, LOCKED, ["resume   aiq run a.jsonl --model m"]),
        (RETRY, LOCKED, ["resume   aiq retry-failed b --kind auth"]),
        (FILE, MOVED, ["resume   aiq run a.jsonl --db aiq.db.rescue.db --model m"]),
        (PIPE, MOVED, ["resume   aiq run - --db aiq.db.rescue.db --name piped"]),
        (RETRY, MOVED, ["resume   aiq retry-failed b --db aiq.db.rescue.db --kind auth"]),
        (FILE, Unusable("no key"), ["resume   aiq run a.jsonl --model m"]),
        (FILE, ConfigError("no such provider"), []),
    ],
)
def test_what_came_to_nothing_is_done_again_where_all_the_answers_are(
    options: WorkOptions, error: Exception, expected: list[str]
) -> None:
    """With a database that was lost meanwhile that is the copy: the old name would pay again."""
    assert list(NextSteps(options, SETTINGS).after(None, error)) == expected


def ended(*batches: str, has_others: bool) -> RunResult:
    """Return the end of a run over batches in which something failed."""
    counts = {JobState.SUCCEEDED: 1, JobState.FAILED: 1}
    return RunResult(
        exit_code=ExitCode.SOME_FAILED, batches=batches, counts=counts, has_others=has_others
    )


def test_batches_that_failed_are_retried_without_those_beside_them() -> None:
    """The one command for all takes every batch, and sends what others have left."""
    steps = NextSteps(RunOptions(prompts=["a.jsonl", "b.jsonl"]), SETTINGS)
    alone = ended("a", "b", has_others=False)
    steps.settle(alone)
    assert alone.retry == steps.of(alone)["retry"] == "aiq retry-failed"
    beside = ended("a", "b", has_others=True)
    steps.settle(beside)
    assert beside.retry is None
    proposed = steps.of(beside)
    assert "retry" not in proposed
    assert proposed["retry of a"] == "aiq retry-failed a"
    assert proposed["retry of b"] == "aiq retry-failed b"
    one = ended("b", has_others=True)
    steps.settle(one)
    assert one.retry == "aiq retry-failed b"


def test_a_pipe_that_was_being_read_is_nothing_to_carry_on_with(tmp_path: Path) -> None:
    """Nothing of it was kept; a command without files would send what others have left."""
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    for prompts, expected in (([pipe], None), (["-"], None), (["a.jsonl"], "aiq run a.jsonl")):
        result = RunResult.nothing(ExitCode.SIGINT, "stopped while reading; nothing was kept")
        NextSteps(RunOptions(prompts=prompts), SETTINGS).settle(result)
        assert result.resume == expected
