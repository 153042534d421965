"""How errors are printed: a sentence, a hint, an exit status, and no secret."""

import pytest
import typer

from aiq.cli.failure import Failure
from aiq.errors import ConfigError, StoreError
from aiq.redaction import Secret


def ended(failure: Failure, error: Exception) -> int:
    """Return the exit status of a command that raises."""
    with pytest.raises(typer.Exit) as end, failure.reported():
        raise error
    return end.value.exit_code


def test_an_error_has_a_sentence_and_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    error = ConfigError("aiq.toml: run.concurrency: is 0", hint="write 1 or more")
    assert ended(Failure(verbose=False), error) == 2
    assert capsys.readouterr().err == (
        "error: aiq.toml: run.concurrency: is 0\n\nhint: write 1 or more\n"
    )


def test_an_error_in_the_middle_says_how_far_the_run_came(
    capsys: pytest.CaptureFixture[str],
) -> None:
    failure = Failure(verbose=False)
    failure.footer = ("so far   3/5 done", "resume   aiq run")
    assert ended(failure, StoreError("database a.db: disk full")) == 5
    assert capsys.readouterr().err == (
        "error: database a.db: disk full\n\nso far   3/5 done\nresume   aiq run\n"
    )


def test_a_bug_is_confessed_without_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(Failure(verbose=False), KeyError("model")) == 70
    shown = capsys.readouterr().err
    assert shown.startswith("error: this is a bug in aiq: KeyError: 'model'\n\nhint: please report")
    assert "Traceback" not in shown


def test_a_traceback_shows_no_variables(capsys: pytest.CaptureFixture[str]) -> None:
    local = "held in a variable"
    assert ended(Failure(verbose=True), RuntimeError(local[:4])) == 70
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert local not in shown.replace(f'local = "{local}"', "")


@pytest.mark.parametrize("verbose", [False, True])
def test_no_secret_and_no_control_character_gets_out(
    capsys: pytest.CaptureFixture[str], *, verbose: bool
) -> None:
    failure = Failure(verbose=verbose)
    failure.protect([Secret("KEY", "sk-verysecret")])
    ended(failure, ValueError("header Bearer sk-very" + "secret\x1b[31m"))
    shown = capsys.readouterr().err
    assert "sk-verysecret" not in shown
    assert "\x1b" not in shown
    assert "Bearer [redacted]\\x1b[31m" in shown


def test_an_exit_passes() -> None:
    assert ended(Failure(verbose=False), typer.Exit(3)) == 3
