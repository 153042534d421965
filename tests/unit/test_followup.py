"""The commands that aiq proposes are those that a shell would take."""

import dataclasses
import os
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from aiq.cli.command import command
from aiq.cli.failure import Failure
from aiq.cli.followup import export_command, resume_command, retry_command
from aiq.cli.options import Format, OnChanged, OnUnknown, RetryOptions, RunOptions, WorkOptions

EVERYTHING = RunOptions(
    prompts=["it's a file.jsonl", "b.jsonl.gz"],
    db=Path("my jobs.db"),
    config=Path("c.toml"),
    provider=["one", "two"],
    model="m",
    system='Say "hi"; $HOME',
    param=["temperature=0.2", 'stop=["a"]'],
    concurrency=3,
    max_attempts=2,
    timeout=1.5,
    limit=7,
    on_unknown=OnUnknown.FAIL,
    max_wait=60.0,
    output=Path("out.csv"),
    format=Format.CSV,
    json=True,
    quiet=True,
    verbose=True,
    no_progress=True,
    name="both",
    on_changed=OnChanged.RERUN,
    strict=True,
)


def parsed(line: str) -> RunOptions:
    """Return the options that the command line makes of a proposed command."""
    taken: list[RunOptions] = []
    app = typer.Typer()

    @command(app, RunOptions, name="run", exit_status="")
    def run(options: RunOptions, _failure: Failure) -> int:
        taken.append(options)
        return 0

    words = shlex.split(line)
    assert words[:2] == ["aiq", "run"]
    result = CliRunner().invoke(app, words[2:])
    assert result.exit_code == 0, result.output
    return taken[0]


def test_every_option_survives_the_shell() -> None:
    """A resumed run is the same run: each option set to something else than its default."""
    defaults = {field.name: field.default for field in dataclasses.fields(RunOptions)}
    unset = {n for n, default in defaults.items() if getattr(EVERYTHING, n) == default}
    assert unset == {"budget", "dry_run"}
    assert dataclasses.asdict(parsed(resume_command(EVERYTHING))) == dataclasses.asdict(EVERYTHING)


def test_a_dry_run_is_resumed_for_real() -> None:
    assert resume_command(RunOptions(prompts=["a.jsonl"], dry_run=True)) == "aiq run a.jsonl"


@pytest.mark.parametrize(
    "options",
    [
        RunOptions(prompts=["-"], name="piped", strict=True, provider=["one"]),
        RunOptions(prompts=["a.jsonl", "-"], provider=["one"]),
        RetryOptions(batch="b", kind=["auth"], except_=["connect"], provider=["one"]),
    ],
)
def test_what_cannot_be_read_again_is_resumed_without_files(options: WorkOptions) -> None:
    assert resume_command(options) == "aiq run --provider one"


def test_a_pipe_is_not_read_twice(tmp_path: Path) -> None:
    """Its writer is gone: a command that opened it again would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    for prompts in ([str(tmp_path / "pipe")], ["a.jsonl", str(tmp_path / "pipe")]):
        assert resume_command(RunOptions(prompts=prompts, strict=True)) == "aiq run"


def test_a_name_is_never_taken_for_an_option() -> None:
    """A file may be called `-x.jsonl`, and then its batch is `-x`."""
    options = RunOptions(prompts=["-x.jsonl", "b.jsonl"], limit=3)
    assert parsed(resume_command(options)).prompts == ["./-x.jsonl", "b.jsonl"]
    assert export_command(options, "-x") == "aiq export -o ./-x-results.jsonl -- -x"
    assert retry_command(options, ["-x"]) == "aiq retry-failed -- -x"


def test_the_answers_are_one_command_away() -> None:
    assert export_command(RunOptions(), "prompts") == "aiq export prompts -o prompts-results.jsonl"
    assert export_command(RunOptions(db=Path("x.db")), "my b") == (
        "aiq export 'my b' --db x.db -o 'my b-results.jsonl'"
    )


def test_retrying_names_the_batch_if_there_is_one() -> None:
    options = RunOptions(config=Path("c.toml"), limit=3)
    assert retry_command(options, ["a"]) == "aiq retry-failed a --config c.toml"
    assert retry_command(options, ["a", "b"]) == "aiq retry-failed --config c.toml"
