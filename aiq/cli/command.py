"""
A command of the application: its options as one frozen object, its end as an exit status.

Typer reads the parameters of a function; here they are the fields of the command's options class,
so that options are declared once and a body gets them as one value.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_type_hints

import typer
from typer.core import TyperGroup

from aiq.cli import streams
from aiq.cli.failure import Failure
from aiq.cli.text import visible
from aiq.cli.usage import refusal_text
from aiq.errors import ExitCode, Refused

Options = TypeVar("Options")


class Application(TyperGroup):
    """All commands; what Typer refuses is worded and shown like any other error."""

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        """Run the command that the words name, and end the process with its exit status."""
        try:
            sys.exit(super().main(*args, **extra | {"standalone_mode": False}))
        except typer.TyperException as refusal:
            context = getattr(refusal, "ctx", None)
            path = context.command_path if context else "aiq"
            message = refusal_text(refusal.format_message())
            streams.say(f"error: {visible(message, 1000)}")
            streams.say(f"\nhint: `{path} --help` lists what there is")
            sys.exit(ExitCode.REFUSED)


def command(
    app: typer.Typer, options_type: type[Options], *, name: str, exit_status: str
) -> Callable[[Callable[[Options, Failure], int]], Callable[[Options, Failure], int]]:
    """
    Add the decorated function to the application; its docstring is the command's help.

    The function gets its options and where to report failures, and returns the exit status, whose
    meanings `exit_status` lists for the help.
    """

    def add(body: Callable[[Options, Failure], int]) -> Callable[[Options, Failure], int]:
        def invoke(**given: Any) -> None:
            values = {name: _text(value) for name, value in given.items()}
            options = options_type(**values)
            failure = Failure(verbose=getattr(options, "verbose", False), options=options)
            with failure.reported():
                _refuse_undecodable(values.values())
                raise typer.Exit(body(options, failure))

        invoke.__signature__ = _signature(options_type)  # type: ignore[attr-defined] # typer reads it
        invoke.__doc__ = as_help(body.__doc__ or "")
        epilog = f"\b\nEXIT STATUS\n{exit_status}"
        app.command(name, epilog=epilog)(invoke)
        return body

    return add


def as_help(text: str) -> str:
    r"""Return a docstring as a help text: a paragraph that begins with `\b` keeps its lines."""
    return text.replace("\\b\n", "\b\n")


def _text(value: Any) -> Any:
    """
    Return a text option as UTF-8, whatever the locale made of its bytes.

    Paths stay as they are: only the locale's own decoding finds the file again.
    """
    return os.fsencode(value).decode(errors="replace") if isinstance(value, str) else value


def _signature(options_type: type[Any]) -> inspect.Signature:
    hints = get_type_hints(options_type, include_extras=True)
    return inspect.Signature(
        [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty
                if field.default is dataclasses.MISSING
                else field.default,
                annotation=hints[field.name],
            )
            for field in dataclasses.fields(options_type)
        ]
    )


def _refuse_undecodable(values: Iterable[object]) -> None:
    """Refuse names of files that are no text here: the database could not remember them."""
    for value in values:
        for one in value if isinstance(value, list) else (value,):
            text = os.fspath(one) if isinstance(one, str | Path) else ""
            if any("\ud800" <= char <= "\udfff" for char in text):
                raise Refused(
                    f"`{text}` is not {sys.getfilesystemencoding()} text",
                    hint="rename the file, or use a UTF-8 locale (`PYTHONUTF8=1`)",
                )
