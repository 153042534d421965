"""What is proposed after a run that ended in an error before it sent anything."""

from pathlib import Path

import pytest

from aiq.cli.next_steps import NextSteps
from aiq.cli.options import RetryOptions, RunOptions, WorkOptions
from aiq.config import RunSettings, Settings
from aiq.errors import ConfigError, StoreError, StoreMoved, Unusable

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
