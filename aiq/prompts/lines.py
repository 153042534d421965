r"""
Prompt files as numbered raw lines, in constant memory.

The decision hidden here is what a line is: bytes between two `\n`, nothing else, so that U+2028 in
a text never cuts a prompt in two. Compression, the byte order mark at the start, a trailing `\r`,
blank lines and lines too long to hold are settled here; what a line means is settled in
`aiq.prompts.shapes`. A file that cannot be such a list is refused as a whole, by name.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeAlias

from aiq.errors import InputError

LINE_LIMIT = 8 * 1024 * 1024
"""Bytes a line may have without its line ending."""

TOO_LONG = "longer than 8 MiB"
"""The reason to list for a line whose data is None."""

RawLine: TypeAlias = tuple[int, bytes | None]
"""Line number from 1, and the line without its ending; None if it is over the limit."""

# 1 MiB: large enough that one `split` serves thousands of lines, small against the line limit.
_CHUNK = 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
_SQLITE = b"SQLite format 3\x00"
# UTF-32 first: its little-endian mark starts with that of UTF-16.
_WIDE_MARKS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
# Which of the first four bytes are NUL when the text starts with two ASCII characters.
_WIDE_PATTERNS: dict[tuple[bool, ...], str] = {
    (False, True, True, True): "UTF-32",
    (True, True, True, False): "UTF-32",
    (False, True, False, True): "UTF-16",
    (True, False, True, False): "UTF-16",
}


def read_lines(
    path: Path | None,
    *,
    stdin: BinaryIO | None = None,
    meanwhile: Callable[[bytes], object] | None = None,
) -> Iterator[RawLine]:
    """
    Yield the lines of a prompt file that are not blank, numbered as an editor numbers them.

    Nothing is opened before the first line is asked for. Raises `InputError` as `read_chunks`
    does: damage shows only where the reading meets it, after good lines were yielded, and a change
    shows at the end.

    Args:
        path: the file, or None for standard input.
        stdin: read instead of the process's standard input.
        meanwhile: is told every chunk as it is read.

    """
    chunks = read_chunks(path, stdin=stdin)
    yield from _split(chunks if meanwhile is None else _overheard(chunks, meanwhile))


def _overheard(chunks: Iterator[bytes], meanwhile: Callable[[bytes], object]) -> Iterator[bytes]:
    for chunk in chunks:
        meanwhile(chunk)
        yield chunk


def read_chunks(path: Path | None, *, stdin: BinaryIO | None = None) -> Iterator[bytes]:
    """
    Yield what a prompt file holds, unzipped, 1 MiB at most at a time.

    Gzip is recognised by its first bytes, whatever the name; a name that ends in `.gz` demands it.

    Raises:
        InputError: the file is missing, unreadable, a directory, a device, a SQLite database,
            UTF-16 or UTF-32 text, damaged gzip, or written to meanwhile.

    """
    name = "stdin" if path is None else f"`{path}`"
    with _refusing(name):
        if path is None:
            yield from _steady_chunks(stdin or _standard_input(), name, must_be_gzip=False)
            return
        _refuse_odd_kinds(path, name)
        with path.open("rb") as stream:
            yield from _steady_chunks(stream, name, must_be_gzip=path.suffix == ".gz")


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise InputError("stdin is closed", hint="name a file, or pipe one in")
    return sys.stdin.buffer


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{name} does not exist", hint="check the path") from error
    except EOFError as error:
        raise InputError(
            f"{name} is truncated gzip: it ends in the middle of its data",
            hint="copy or compress the file again",
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{name} is damaged or not gzip", hint="compress it again") from error
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}") from error


def _refuse_odd_kinds(path: Path, name: str) -> None:
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise InputError(f"{name} is a directory", hint="name the prompt files in it")
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        raise InputError(f"{name} is a device or a socket", hint="name a file, a pipe or `-`")


def _steady_chunks(stream: BinaryIO, name: str, *, must_be_gzip: bool) -> Iterator[bytes]:
    """Read to the end, and refuse it all if the file was not the same file all the while."""
    before = _version(stream)
    unzipped = _unzipped(stream, must_be_gzip=must_be_gzip)
    chunk = unzipped.read(_CHUNK)
    _refuse_odd_contents(chunk, name)
    while chunk:
        yield chunk
        chunk = unzipped.read(_CHUNK)
    if _version(stream) != before:
        raise InputError(
            f"{name} was written to while it was read",
            hint="run it again when it is complete",
        )


def _version(stream: BinaryIO) -> tuple[int, int] | None:
    """Return what changes when a file is written to; None for a pipe, which has but one reading."""
    try:
        status = os.fstat(stream.fileno())
    except OSError:  # a stream in memory
        return None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def _unzipped(stream: BinaryIO, *, must_be_gzip: bool) -> BinaryIO | gzip.GzipFile:
    head = stream.read(_CHUNK)
    whole = io.BufferedReader(_Replayed(head, stream))
    return gzip.GzipFile(fileobj=whole) if must_be_gzip or head.startswith(_GZIP) else whole


class _Replayed(io.RawIOBase):
    """A stream whose first bytes were taken to look at, given back: a pipe cannot seek."""

    def __init__(self, head: bytes, stream: BinaryIO) -> None:
        self._head = memoryview(head)
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # buffered readers pass one
        taken = self._head[: len(buffer)] or self._stream.read(len(buffer))
        self._head = self._head[len(taken) :]
        buffer[: len(taken)] = taken
        return len(taken)


def _split(chunks: Iterator[bytes]) -> Iterator[RawLine]:
    unfinished = b""
    is_too_long = False  # the unfinished line's bytes were dropped
    number = 0
    for chunk in _without_mark(chunks):
        lines = (unfinished + chunk).split(b"\n")
        unfinished = lines.pop()
        if is_too_long and lines:
            number += 1
            yield number, None
            is_too_long = False
            del lines[0]
        for line in lines:
            number += 1
            if line and not line.isspace():
                yield number, _bounded(line)
        if is_too_long or len(unfinished) > LINE_LIMIT + 1:  # one more for `\r`
            is_too_long, unfinished = True, b""
    if is_too_long:
        yield number + 1, None
    elif unfinished and not unfinished.isspace():
        yield number + 1, _bounded(unfinished)


def _without_mark(chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield next(chunks, b"").removeprefix(_BOM)
    yield from chunks


def _bounded(line: bytes) -> bytes | None:
    line = line.removesuffix(b"\r")
    return line if len(line) <= LINE_LIMIT else None


def _refuse_odd_contents(head: bytes, name: str) -> None:
    if head.startswith(_SQLITE):
        raise InputError(f"{name} is a SQLite database", hint="to use a database, say `--db`")
    encoding = next((label for mark, label in _WIDE_MARKS if head.startswith(mark)), None)
    encoding = encoding or _WIDE_PATTERNS.get(tuple(byte == 0 for byte in head[:4]))
    if encoding:
        raise InputError(
            f"{name} is {encoding} text, not UTF-8",
            hint=f"convert it first: iconv -f {encoding} -t UTF-8",
        )
