"""The commands a user may type next, exact and quoted for a shell."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path

from aiq.cli.options import RunOptions, WorkOptions

_ONCE = frozenset({"prompts", "dry_run"})
"""What is no option, or what a resumed run does not repeat."""

_STORED = frozenset({"model", "system", "param"})
"""What is stored with a batch, and would be wrong for another one."""


def resume_command(options: WorkOptions) -> str:
    """
    Return the command that carries on.

    Files are given again where they can be read again. Otherwise (standard input, a pipe,
    `retry-failed`) it is `aiq run` without files, which takes every unfinished job, each with the
    flags that are stored with its batch.
    """
    files: list[str] = []
    if isinstance(options, RunOptions) and not any(map(_is_read_once, options.prompts or ())):
        files = [_file(name) for name in options.prompts or ()]
    owner = RunOptions if files else WorkOptions
    dropped = _ONCE if files else _ONCE | _STORED
    names = [field.name for field in dataclasses.fields(owner) if field.name not in dropped]
    return shlex.join(["aiq", "run", *files, *_words(options, names)])


def export_command(options: WorkOptions, batch: str) -> str:
    """Return the command that writes the results of a batch."""
    rest = [*_words(options, ["db"]), "-o", _file(f"{batch}-results.jsonl")]
    return _command("export", [batch], rest)


def retry_command(options: WorkOptions, batches: Sequence[str]) -> str:
    """Return the command that gives failed jobs another chance."""
    named = batches if len(batches) == 1 else ()
    words = _words(options, ["db", "config", "provider"])
    return _command("retry-failed", named, words)


def _command(name: str, batches: Sequence[str], words: Sequence[str]) -> str:
    """Return a command about a batch; a name that looks like an option stands at the end."""
    if any(batch.startswith("-") for batch in batches):
        return shlex.join(["aiq", name, *words, "--", *batches])
    return shlex.join(["aiq", name, *batches, *words])


def _is_read_once(name: str) -> bool:
    return name == "-" or Path(name).is_fifo()


def _file(name: str) -> str:
    """Return a file's name as it is typed where it must not be taken for an option."""
    return f"./{name}" if name.startswith("-") else name


def _words(options: WorkOptions, names: Sequence[str]) -> list[str]:
    """Return options as they would be typed, without those that have their default."""
    defaults = {field.name: field.default for field in dataclasses.fields(options)}
    words = []
    for name in names:
        value = getattr(options, name)
        option = "--" + name.replace("_", "-")
        if value is None or value == defaults[name]:
            continue
        if value is True:
            words.append(option)
        else:
            values = value if isinstance(value, list) else [value]
            words += [word for one in values for word in (option, _word(one))]
    return words


def _word(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
