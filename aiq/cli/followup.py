"""The commands a user may type next, exact and quoted for any shell; `shown` for a screen."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path

from aiq.cli.options import DATABASE_VARIABLE, Format, RetryOptions, RunOptions, WorkOptions
from aiq.cli.text import visible
from aiq.prompts.names import STDIN, batch_name

_ONCE = frozenset({"prompts", "dry_run"})
"""What is no option, or what a resumed run does not repeat."""

_STORED = frozenset({"model", "system", "param"})
"""What is stored with a batch, and would be wrong for another one."""

_PLACES = {
    "run": ("db", "config"),
    "retry-failed": ("db", "config"),
    "export": ("db", "config"),
    "show": ("db",),
    "report": ("db", "config"),
    "purge": ("db",),
    "status": ("db",),
    "ctl": ("db",),
    "cancel": ("db",),
    "check": ("config",),
    "init": ("config",),
}
"""What says where a command works, by command."""

_COMMAND = re.compile(r"`(aiq ([a-z-]+)\b[^`]*)`")


def resume_command(options: WorkOptions) -> str:
    """
    Return the command that carries on.

    Files are given again where they can be read again. Otherwise (standard input, a pipe,
    `retry-failed`) it is `aiq run` without files, which takes the unfinished jobs of the batch, or
    of all where there is not just one, with the flags that are stored with each batch.
    """
    if isinstance(options, RunOptions) and options.prompts:
        files = [_file(name) for name in options.prompts]
        if not any(map(is_read_once, options.prompts)):
            words = _words(options, _names(RunOptions, _ONCE))
            return shlex.join(["aiq", "run", *files, *words])
    batch = _batch(options)
    named = [] if batch is None else ["--name", batch]
    return shlex.join(["aiq", "run", *named, *_words(options, _names(WorkOptions, _STORED))])


def repeat_command(options: WorkOptions) -> str:
    """Return the command that was typed, for when nothing came of it."""
    words = _words(options, _names(type(options), frozenset({"prompts", "batch"})))
    if isinstance(options, RetryOptions):
        return _command("retry-failed", [options.batch] if options.batch else [], words)
    files = options.prompts or [] if isinstance(options, RunOptions) else []
    return shlex.join(["aiq", "run", *map(_file, files), *words])


def export_command(options: WorkOptions, batch: str) -> str:
    """Return the command that writes the results of a batch."""
    ending = "csv" if options.format is Format.CSV else "jsonl"
    rest = [*_words(options, ["db", "format"]), "-o", _file(f"{batch}-results.{ending}")]
    return _command("export", [batch], rest)


def retry_command(
    options: WorkOptions, batches: Sequence[str], kinds: Collection[str]
) -> str | None:
    """
    Return the command that gives failed jobs another chance, under the same options.

    Of several batches it takes all, each with its own stored flags. Where only some jobs were
    asked for it takes no others: `kinds` are those that they failed with now, and where these are
    not among the kinds that were asked for, no command means just them. None: there is none.
    """
    is_one = len(batches) == 1
    names = _names(WorkOptions, frozenset() if is_one else _STORED)
    if isinstance(options, RetryOptions):
        asked = set(kinds).intersection(options.kind or kinds).difference(options.except_ or ())
        if not asked:
            return None
        names += ["job", "except_"]
        if options.kind:
            options = dataclasses.replace(options, kind=sorted(asked))
            names.append("kind")
    return _command("retry-failed", batches if is_one else (), _words(options, names))


def enable_command(options: WorkOptions, provider: str) -> str:
    """Return the command that lets a provider in again."""
    words = ["enable", provider, *_words(options, ["db"])]
    if provider.startswith("-"):
        words = [*_words(options, ["db"]), "--", "enable", provider]
    return shlex.join(["aiq", "ctl", *words])


def put_back_commands(
    options: object, *, batches: Sequence[str], jobs: Sequence[str], of: str | None = None
) -> list[str]:
    """Return the commands that put back what was cancelled of batches, and jobs of `of`."""
    which = ["--kind", "cancelled"]
    rest = ["--no-run", *_words(options, ["db"])]
    commands = [_command("retry-failed", [batch], [*which, *rest]) for batch in batches]
    if jobs:
        ids = [word for job in jobs for word in ("--job", job)]
        commands.append(_command("retry-failed", [of] if of else [], [*which, *ids, *rest]))
    return commands


def shown(command: str) -> str:
    """Return a command as a terminal may show it, whole: cut or escaped, it would be another."""
    if visible(command, len(command)) == command:
        return command
    return " ".join(map(_shown, shlex.split(command)))


def _shown(word: str) -> str:
    r"""
    Return a word as it may be shown and as the shells of terminals take it.

    A line feed, or what a terminal would obey or hide, is written as its bytes: $'a\x0ab'. Plain
    `sh` need not know that, so that it is nothing for scripts.
    """
    if visible(word, len(word)) == word:
        return shlex.quote(word)
    return f"$'{''.join(map(_escaped, word))}'"


def _escaped(char: str) -> str:
    if char.isascii() and char.isprintable() and char not in "\\'":
        return char
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(char))


def _command(name: str, batches: Sequence[str], words: Sequence[str]) -> str:
    """Return a command about a batch; a name that looks like an option stands at the end."""
    if any(batch.startswith("-") for batch in batches):
        return shlex.join(["aiq", name, *words, "--", *batches])
    return shlex.join(["aiq", name, *batches, *words])


def is_read_once(name: str) -> bool:
    """Whether a prompt file is gone once it was read: standard input, or a pipe."""
    return name == STDIN or Path(name).is_fifo()


def _file(name: str) -> str:
    """Return a file's name as it is typed where it must not be taken for an option."""
    return f"./{name}" if name.startswith("-") and name != STDIN else name


def probe_command(options: WorkOptions) -> str:
    """Return the command that asks the providers of a run how they are."""
    words = _words(options, ["db", "config", "model"])
    return shlex.join(["aiq", "probe", *(options.provider or ()), *words])


def placed(text: str, options: object) -> str:
    """Return a text whose commands in backticks work at the same place as these options."""

    def with_place(found: re.Match[str]) -> str:
        names = [name for name in _PLACES.get(found[2], ()) if f"--{name}" not in found[1]]
        return f"`{shown(' '.join([found[1], *map(shlex.quote, _words(options, names))]))}`"

    return _COMMAND.sub(with_place, text)


def _batch(options: WorkOptions) -> str | None:
    """Return the one batch that options without files to read again are about; None: several."""
    if isinstance(options, RetryOptions):
        return options.batch
    if not isinstance(options, RunOptions):
        return None
    given = {batch_name(name) for name in options.prompts or ()}
    return given.pop() if options.name is None and len(given) == 1 else options.name


def _names(owner: type[WorkOptions], dropped: frozenset[str]) -> list[str]:
    return [field.name for field in dataclasses.fields(owner) if field.name not in dropped]


def _words(options: object, names: Sequence[str]) -> list[str]:
    """Return options as they would be typed, without those that have their default."""
    defaults = {f.name: f.default for f in dataclasses.fields(options)}  # type: ignore[arg-type]
    words = []
    for name in names:
        value = getattr(options, name, None)
        option = "--" + name.rstrip("_").replace("_", "-")
        if value is None or (value == defaults[name] and not _is_needed(name)):
            continue
        if value is True:
            words.append(option)
        else:
            values = value if isinstance(value, list) else [value]
            words += [word for one in values for word in (option, _word(one))]
    return words


def _is_needed(name: str) -> bool:
    """Whether an option has to be typed even with its default: the shell names another database."""
    return name == "db" and DATABASE_VARIABLE in os.environ


def _word(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
