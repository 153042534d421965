"""The commands that aiq proposes are those that a shell would take."""

import dataclasses
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from aiq.cli.command import command
from aiq.cli.failure import Failure
from aiq.cli.followup import (
    enable_command,
    export_command,
    placed,
    probe_command,
    put_back_commands,
    repeat_command,
    resume_command,
    retry_command,
    shown,
)
from aiq.cli.options import Format, OnChanged, OnUnknown, RetryOptions, RunOptions, WorkOptions
from aiq.cli.summary import steps

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


def typed(line: str) -> WorkOptions:
    """Return the options that the command line makes of a command."""
    taken: list[WorkOptions] = []
    app = typer.Typer()

    @command(app, RunOptions, name="run", exit_status="")
    def run(options: RunOptions, _failure: Failure) -> int:
        taken.append(options)
        return 0

    @command(app, RetryOptions, name="retry-failed", exit_status="")
    def retry(options: RetryOptions, _failure: Failure) -> int:
        taken.append(options)
        return 0

    aiq, *words = shlex.split(line)
    assert aiq == "aiq"
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return taken[0]


def test_every_option_survives_the_shell() -> None:
    """A resumed run is the same run: each option set to something else than its default."""
    defaults = {field.name: field.default for field in dataclasses.fields(RunOptions)}
    unset = {n for n, default in defaults.items() if getattr(EVERYTHING, n) == default}
    assert unset == {"budget", "dry_run"}
    assert dataclasses.asdict(typed(resume_command(EVERYTHING))) == dataclasses.asdict(EVERYTHING)


def test_a_dry_run_is_resumed_for_real() -> None:
    assert resume_command(RunOptions(prompts=["a.jsonl"], dry_run=True)) == "aiq run a.jsonl"


@pytest.mark.parametrize(
    ("options", "command"),
    [
        (RunOptions(prompts=["-"], name="piped", strict=True), "aiq run --name piped"),
        (RunOptions(prompts=["-"], model="m"), "aiq run --name stdin"),
        (RunOptions(prompts=["a.jsonl", "-"]), "aiq run"),
        (RunOptions(name="b", model="m", limit=3), "aiq run --name b --limit 3"),
        (RunOptions(limit=3), "aiq run --limit 3"),
        (RetryOptions(batch="b", kind=["auth"], budget=2.0), "aiq run --name b --budget 2"),
        (RetryOptions(except_=["connect"], db=Path("x.db")), "aiq run --db x.db"),
    ],
)
def test_what_cannot_be_read_again_is_resumed_by_its_batch(
    options: WorkOptions, command: str
) -> None:
    """Only that batch; its flags are stored with it."""
    assert resume_command(options) == command


@pytest.mark.parametrize(
    "command",
    [
        "aiq run 'a b.jsonl' - --db x.db --model m --limit 3 --name b --strict --dry-run",
        "aiq retry-failed b --db x.db --provider one --kind auth --except connect --no-run",
        "aiq retry-failed",
    ],
)
def test_what_came_to_nothing_is_repeated_as_it_was_typed(command: str) -> None:
    assert repeat_command(typed(command)) == command


def test_a_pipe_is_not_read_twice(tmp_path: Path) -> None:
    """Its writer is gone: a command that opened it again would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    pipe = str(tmp_path / "pipe")
    alone = RunOptions(prompts=[pipe], provider=["dear"], strict=True)
    assert resume_command(alone) == "aiq run --name pipe --provider dear", "no other batch"
    assert resume_command(RunOptions(prompts=["a.jsonl", pipe], strict=True)) == "aiq run"


def test_the_database_is_named_where_the_shell_names_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There, a command without `--db` would work on that one, and pay for all of it again."""
    monkeypatch.setenv("AIQ_DB", "other.db")
    options = RunOptions(prompts=["a.jsonl"])
    assert resume_command(options) == "aiq run a.jsonl --db aiq.db"
    assert retry_command(options, ["a"], ["auth"]) == "aiq retry-failed a --db aiq.db"
    assert placed("`aiq status`", options) == "`aiq status --db aiq.db`"


def test_a_name_is_never_taken_for_an_option() -> None:
    """A file may be called `-x.jsonl`, and then its batch is `-x`."""
    options = RunOptions(prompts=["-x.jsonl", "b.jsonl"], limit=3)
    resumed = typed(resume_command(options))
    assert isinstance(resumed, RunOptions)
    assert resumed.prompts == ["./-x.jsonl", "b.jsonl"]
    assert export_command(options, "-x") == "aiq export -o ./-x-results.jsonl -- -x"
    assert retry_command(options, ["-x"], ["auth"]) == "aiq retry-failed --limit 3 -- -x"


def test_the_answers_are_one_command_away() -> None:
    assert export_command(RunOptions(), "prompts") == "aiq export prompts -o prompts-results.jsonl"
    assert export_command(RunOptions(db=Path("x.db")), "my b") == (
        "aiq export 'my b' --db x.db -o 'my b-results.jsonl'"
    )


def test_answers_keep_their_format() -> None:
    assert export_command(RunOptions(format=Format.CSV), "b") == (
        "aiq export b --format csv -o b-results.csv"
    )


def test_the_providers_of_a_run_can_be_probed() -> None:
    assert probe_command(RunOptions()) == "aiq probe"
    assert probe_command(EVERYTHING) == (
        "aiq probe one two --db 'my jobs.db' --config c.toml --model m"
    )


def test_retrying_names_the_batch_if_there_is_one() -> None:
    options = RunOptions(config=Path("c.toml"), model="m")
    assert retry_command(options, ["a"], ["auth"]) == "aiq retry-failed a --config c.toml --model m"
    assert retry_command(options, ["a", "b"], ["auth"]) == "aiq retry-failed --config c.toml"


def test_retrying_is_done_under_the_options_of_the_run() -> None:
    """All that both commands take, and the kinds that were left out on purpose."""
    retried = typed(retry_command(EVERYTHING, ["both"], ["auth"]) or "")
    assert isinstance(retried, RetryOptions)
    assert retried.batch == "both"
    for field in dataclasses.fields(WorkOptions):
        assert getattr(retried, field.name) == getattr(EVERYTHING, field.name), field.name
    again = RetryOptions(batch="b", except_=["connect", "auth"], budget=0.5)
    assert retry_command(again, ["b"], ["not_found"]) == (
        "aiq retry-failed b --budget 0.5 --except connect --except auth"
    )


def test_retrying_again_takes_no_more_jobs_than_before() -> None:
    """Those that were named, and of some kinds those that failed, by what they failed with now."""
    named = RetryOptions(batch="b", job=["one", "my two"])
    assert retry_command(named, ["b"], ["auth"]) == ("aiq retry-failed b --job one --job 'my two'")
    kinds = RetryOptions(kind=["auth", "connect"])
    assert retry_command(kinds, ["b"], {"server_error", "auth"}) == "aiq retry-failed b --kind auth"


@pytest.mark.parametrize(
    "options", [RetryOptions(kind=["auth"]), RetryOptions(except_=["bad_request"])]
)
def test_where_no_command_means_just_those_jobs_there_is_none(options: RetryOptions) -> None:
    """Others had failed so before, or this kind is the one to leave alone."""
    assert retry_command(options, ["b"], ["bad_request"]) is None


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("two\nlines 'quoted' \\ \x1b[2J", r"$'two\x0alines \x27quoted\x27 \x5c \x1b[2J'"),
        ("right\u202eleft é", r"$'right\xe2\x80\xaeleft \xc3\xa9'"),
        ("not UTF-8: \udcff", r"$'not UTF-8: \xff'"),
        ("é 日本", "'é 日本'"),
    ],
)
def test_a_command_is_shown_as_it_can_be_typed(text: str, written: str) -> None:
    """What a terminal would obey, hide or break is written as its shell reads it."""
    command = resume_command(RunOptions(prompts=["p.jsonl"], system=text))
    assert shlex.split(command) == ["aiq", "run", "p.jsonl", "--system", text], "for scripts"
    assert shown(command) == f"aiq run p.jsonl --system {written}"
    if (bash := shutil.which("bash")) is None:
        pytest.skip("needs bash")
    said = subprocess.run(
        [bash, "-c", f"printf %s {written}"], capture_output=True, check=True, env={}
    ).stdout
    assert said == os.fsencode(text)


def test_a_command_is_shown_whole() -> None:
    """Cut, it would be another one."""
    command = resume_command(RunOptions(prompts=["p.jsonl"], system="be\nbrief " * 500))
    [line] = steps({"resume": command})
    assert line.plain == f"resume   {shown(command)}"
    assert len(line.plain) > len(command)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("`aiq export p5`", "`aiq export p5 --db 'my jobs.db' --config c.toml`"),
        ("say `aiq status`.", "say `aiq status --db 'my jobs.db'`."),
        ("`aiq init` writes one", "`aiq init --config c.toml` writes one"),
        ("`aiq run --db x.db`", "`aiq run --db x.db --config c.toml`"),
        ("aiq run, `--db` or `aiq`", "aiq run, `--db` or `aiq`"),
    ],
)
def test_a_command_in_a_hint_works_where_the_failed_one_did(text: str, shown: str) -> None:
    assert placed(text, EVERYTHING) == shown
    assert placed(text, RunOptions()) == text


def test_a_provider_is_let_in_again_where_the_run_was() -> None:
    """A name that looks like an option stands at the end."""
    options = RunOptions(db=Path("my jobs.db"))
    assert enable_command(options, "a b") == "aiq ctl enable 'a b' --db 'my jobs.db'"
    assert enable_command(options, "-b") == "aiq ctl --db 'my jobs.db' -- enable -b"
    assert enable_command(RunOptions(), "a") == "aiq ctl enable a"


def test_what_was_cancelled_is_put_back_where_it_was() -> None:
    """Just that, and nothing is sent."""
    options = RunOptions(db=Path("my jobs.db"))
    rest = "--no-run --db 'my jobs.db'"
    assert put_back_commands(options, batches=["a b"], jobs=["1", "-2"]) == [
        f"aiq retry-failed 'a b' --kind cancelled {rest}",
        f"aiq retry-failed --kind cancelled --job 1 --job -2 {rest}",
    ]
    assert put_back_commands(RunOptions(), batches=[], jobs=["1"], of="-b") == [
        "aiq retry-failed --kind cancelled --job 1 --no-run -- -b"
    ]
