"""
Standard output and standard error: stdout is data, stderr is talk.

A reader of stdout that leaves early (`| head`) is no error: what nobody reads any more is dropped
in silence. A stdout that is full is one. No character set makes a line fail: what it lacks is
written in ASCII. Nothing but a terminal ever gets a control byte.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import select
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO, TextIO

from aiq.errors import AiqError, ExitCode

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from rich.console import Console
    from rich.text import Text

_WIDE = 10_000
"""Columns of what is no terminal: whoever reads it cuts for himself."""

_IN_ASCII = {
    "·": "-", "→": "->", "…": "...", "≥": ">=", "≤": "<=",
    "━": "=", "─": "-", "●": "*", "◐": "~", "○": "o", "✗": "x",
    "▁": "_", "▂": "_", "▃": "-", "▄": "-", "▅": "=", "▆": "=", "▇": "#", "█": "#",
}  # fmt: skip


class StdoutError(AiqError):
    """Standard output cannot be written."""

    exit_code = ExitCode.SOME_FAILED


class _QuietPipe(io.FileIO):
    """A file descriptor whose reader may leave."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return memoryview(data).nbytes


def prepare() -> None:
    """Make the process's streams keep the promises of this module; once, before anything else."""
    # A closed descriptor would be handed to the next file opened: the database, say.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    codecs.register_error("aiq", _in_ascii)
    sys.stdout = _writer(1, sys.stdout, line_buffering=os.isatty(1))
    sys.stderr = _writer(2, sys.stderr, line_buffering=True)


def _writer(descriptor: int, old: TextIO | None, *, line_buffering: bool) -> TextIO:
    """Return a stream in the encoding of the one it replaces, which is None if it was closed."""
    return io.TextIOWrapper(
        io.BufferedWriter(_QuietPipe(descriptor, "w", closefd=False)),
        encoding=old.encoding if old else "utf-8",
        errors="aiq",
        line_buffering=line_buffering,
    )


def _in_ascii(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace what the locale's character set lacks: our own signs by ASCII, the rest escaped."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    shown = "".join(
        _IN_ASCII.get(c) or c.encode("ascii", "backslashreplace").decode() for c in missing
    )
    return shown, error.end


def finish(exit_code: int) -> int:
    """Flush both streams; return the exit status, which a lost end of stdout makes non-zero."""
    try:
        sys.stderr.flush()
    except OSError:  # the terminal is gone
        _drop(sys.stderr)
    try:
        sys.stdout.flush()
    except OSError as error:
        _drop(sys.stdout)
        say(f"error: standard output: {error.strerror}")
        return exit_code or StdoutError.exit_code
    return exit_code


def _drop(stream: TextIO) -> None:
    """Send what is still buffered to nowhere, before the interpreter stumbles over it."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        stream.flush()


def talk(lines: Iterable[Text]) -> None:
    """Write lines for people to stderr."""
    talk_in(console(sys.stderr), lines)


def talk_in(target: Console, lines: Iterable[Text]) -> None:
    """Write lines for people in a console of stderr, above a picture that it may show."""
    with contextlib.suppress(OSError, ValueError):
        print_lines(target, lines)


def say(text: str) -> None:
    """Write lines to stderr as they are; a stderr that is gone is nobody's problem."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - the one place that prints plainly


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _drop(sys.stdout)
    except OSError as error:
        _drop(sys.stdout)
        raise StdoutError(f"standard output: {error.strerror or error}") from error


def write_json(value: object) -> None:
    """Write one JSON object to stdout: pure ASCII, on one line unless a person looks at it."""
    import json  # noqa: PLC0415 - `--help` must not pay for it

    indent = 2 if sys.stdout.isatty() else None
    with _writing():
        sys.stdout.write(json.dumps(value, indent=indent) + "\n")


def write_lines(lines: Iterable[Text]) -> None:
    """Write lines for people to stdout."""
    with _writing():
        print_lines(console(sys.stdout), lines)


@contextlib.contextmanager
def data_stream() -> Iterator[BinaryIO]:
    """Give stdout for bytes; the block ends early, in silence, when nobody reads any more."""
    with _writing():
        try:
            number = sys.stdout.fileno()
        except (OSError, ValueError):  # a test's stdout has no descriptor
            yield sys.stdout.buffer
            return
        with open(number, "wb", closefd=False) as stream:
            yield stream


def is_read() -> bool:
    """Whether anybody still reads stdout: what goes on for ever would go on for nobody."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):  # a stdout without a descriptor has a reader of its own
        return True
    gone = select.POLLERR | select.POLLHUP
    return not any(event & gone for _, event in poll.poll(0))


def console(stream: TextIO) -> Console:
    """Return a console that shows text as it is, coloured only on a terminal that wants colour."""
    from rich.console import Console  # noqa: PLC0415 - `--help` must not pay for it

    is_terminal = stream.isatty()
    return Console(
        file=stream,
        force_terminal=is_terminal,
        color_system="auto" if is_terminal and not _wants_plain() else None,
        width=None if is_terminal else _WIDE,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )


def print_lines(target: Console, lines: Iterable[Text], *, wrap: bool = False) -> None:
    """
    Print lines uncut.

    What is too long is folded by the terminal, so that a command can be copied; `wrap` breaks it
    between words instead.
    """
    for line in lines:
        if target.is_terminal:
            target.print(line, soft_wrap=not wrap)
        else:  # where nothing is wrapped or coloured, and where lists are long
            target.file.write(line.plain.expandtabs() + "\n")


def is_live_terminal() -> bool:
    """Whether stderr can show a view that redraws itself."""
    return sys.stderr.isatty() and not _wants_plain()


def _wants_plain() -> bool:
    """Whether colours and cursor movements are unwanted, although there is a terminal."""
    is_dumb = os.environ.get("TERM", "dumb") in ("dumb", "unknown")
    return is_dumb or bool(os.environ.get("NO_COLOR") or os.environ.get("CI"))
