"""
How a command ends when it cannot go on: the one place that prints an error.

An `AiqError` is a sentence for the user, with what to do next. Anything else is a bug in aiq and
says so; its text is stripped of every configured secret, and its traceback is shown only on demand
and never with the values of variables.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import typer

import aiq
from aiq.cli import streams
from aiq.cli.followup import placed
from aiq.cli.text import visible
from aiq.errors import AiqError, ExitCode
from aiq.redaction import Redactor, Secret

_ERROR_LIMIT = 2000
_TRACE_LIMIT = 100_000


class Failure:
    """Prints what went wrong, in words that may leave the process."""

    def __init__(self, *, verbose: bool, options: object = None) -> None:
        self._verbose = verbose
        self._options = options
        self._redactor = Redactor()
        self.footer: tuple[str, ...] = ()
        """Lines to add to an error: how far a run came, and how to resume it."""

    def protect(self, secrets: Iterable[Secret]) -> None:
        """Take these out of everything that is printed from now on."""
        self._redactor = Redactor(secrets)

    @contextlib.contextmanager
    def reported(self) -> Iterator[None]:
        """Turn what the block raises into an error on stderr and an exit status."""
        try:
            yield
        except AiqError as error:
            self.show(error)
            raise typer.Exit(error.exit_code) from None
        except typer.Exit:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the user gets a sentence
            self._confess(error)
            raise typer.Exit(ExitCode.BUG) from None

    def _confess(self, error: Exception) -> None:
        import platform  # noqa: PLC0415 - `--help` does not fail
        import traceback  # noqa: PLC0415

        if self._verbose:
            trace = "".join(traceback.format_exception(error))
            streams.say(visible(self._redactor.text(trace), _TRACE_LIMIT, lines=True))
        name = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        system = f"Python {platform.python_version()}, {platform.system()}"
        self._print(
            f"this is a bug in aiq: {name}",
            "please report it with the command, this text and the traceback that `-v` shows"
            f" (aiq {aiq.__version__}, {system}); what is stored is safe",
        )

    def show(self, error: AiqError) -> None:
        """Print an error that does not decide how the command ends."""
        hint = error.hint
        if hint is not None and self._options is not None:
            hint = placed(hint, self._options)
        self._print(str(error), hint)

    def _print(self, message: str, hint: str | None) -> None:
        lines = [f"error: {self._clean(message)}"]
        if hint:
            lines += ["", f"hint: {self._clean(hint)}"]
        if self.footer:
            lines += ["", *map(self._redactor.text, self.footer)]
        streams.say("\n".join(lines))

    def _clean(self, text: str) -> str:
        """Return one line: a name with a line feed in it must not look like a hint of ours."""
        return visible(self._redactor.text(text), _ERROR_LIMIT)
