from __future__ import annotations

import gzip
import io
import os
import random
import sqlite3
import sys
import threading
import tracemalloc
from pathlib import Path

import pytest

from aiq.errors import InputError
from aiq.prompts.lines import LINE_LIMIT, RawLine, read_lines

BOM = b"\xef\xbb\xbf"


def lines_of(content: bytes) -> list[RawLine]:
    return list(read_lines(None, stdin=io.BytesIO(content)))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"\n\n \t\r\n", []),
        (b'"a"\n"b"\n', [(1, b'"a"'), (2, b'"b"')]),
        (b'"a"\n"b"', [(1, b'"a"'), (2, b'"b"')]),
        (b'"a"\r\n"b"\r\n', [(1, b'"a"'), (2, b'"b"')]),
        (b'"a"\r"b"', [(1, b'"a"\r"b"')]),
        (b'\n\n"a"\n\n"b"', [(3, b'"a"'), (5, b'"b"')]),
        ('"a\u2028b\u2029c\x85d"\n'.encode(), [(1, '"a\u2028b\u2029c\x85d"'.encode())]),
        (BOM + b'"a"\n', [(1, b'"a"')]),
        (BOM + BOM + b'"a"\n', [(1, BOM + b'"a"')]),
        (b'"a"\n' + BOM + b'"b"\n', [(1, b'"a"'), (2, BOM + b'"b"')]),
        (b"\x00\x00\x00\x00\n", [(1, b"\x00\x00\x00\x00")]),
    ],
)
def test_a_line_is_what_stands_between_two_newlines(
    content: bytes, expected: list[RawLine]
) -> None:
    """Only `\\n` ends a line; blank lines are skipped and still counted."""
    assert lines_of(content) == expected


class Trickle(io.BytesIO):
    """A stream that gives a few bytes per read after its head, as a slow pipe may."""

    def __init__(self, content: bytes, size: int) -> None:
        super().__init__(content)
        self._size = size

    def read(self, _requested: int | None = -1, /) -> bytes:
        return super().read(16 if self.tell() == 0 else self._size)


@pytest.mark.parametrize("size", range(1, 24))
def test_lines_are_the_same_wherever_a_read_ends(size: int) -> None:
    """The size of a read never shows in the lines."""
    content = BOM + b'"one, a little longer"\r\n\n"two"\n \n\r\n"three"'
    expected = [(1, b'"one, a little longer"'), (3, b'"two"'), (6, b'"three"')]
    assert list(read_lines(None, stdin=Trickle(content, size))) == expected
    assert list(read_lines(None, stdin=Trickle(gzip.compress(content), size))) == expected


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
@pytest.mark.parametrize(("length", "is_held"), [(LINE_LIMIT, True), (LINE_LIMIT + 1, False)])
def test_the_limit_is_exact_and_counts_no_line_ending(
    length: int, ending: bytes, *, is_held: bool
) -> None:
    """A line of 8 MiB is read, one byte more is reported, and the next line is whole."""
    line = b"x" * length
    after = b'"after"\n' if ending else b""
    expected: list[RawLine] = [(1, line if is_held else None)]
    expected += [(2, b'"after"')] if ending else []
    assert lines_of(line + ending + after) == expected


def test_a_line_over_the_limit_is_never_held() -> None:
    """A line of 200 MB costs no more memory than one at the limit."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1) as stream:
        for _ in range(200):
            stream.write(b"x" * 1_000_000)
        stream.write(b'\n"after"\n')
    packed.seek(0)
    tracemalloc.start()
    try:
        assert list(read_lines(None, stdin=packed)) == [(1, None), (2, b'"after"')]
        assert tracemalloc.get_traced_memory()[1] < 4 * LINE_LIMIT
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["prompts.jsonl.gz", "no-such-suffix"])
def test_gzip_is_known_by_its_first_bytes(tmp_path: Path, name: str) -> None:
    """Compressed lines are read whatever the name; members that follow each other are one text."""
    path = tmp_path / name
    path.write_bytes(gzip.compress(BOM + b'"a"\n') + gzip.compress(b'"b"\n', mtime=0))
    assert list(read_lines(path)) == [(1, b'"a"'), (2, b'"b"')]


def test_standard_input_may_be_gzip() -> None:
    assert lines_of(gzip.compress(b'"a"\n"b"', mtime=0)) == [(1, b'"a"'), (2, b'"b"')]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (gzip.compress(random.Random(1).randbytes(5000), mtime=0)[:-20], "truncated gzip"),
        (gzip.compress(b'"a"\n' * 99, mtime=0)[:-4] + b"\x00\x00\x00\x00", "damaged or not gzip"),
        (gzip.compress(b'"a"\n', mtime=0)[:10] + b"\xff" * 20, "damaged or not gzip"),
        (b'"a"\n', "damaged or not gzip"),
    ],
    ids=["cut", "false sum", "broken", "none"],
)
def test_damaged_gzip_is_refused_by_name(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "prompts.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=complaint) as caught:
        list(read_lines(path))
    assert "prompts.jsonl.gz" in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_wide_encodings_are_refused_by_name(tmp_path: Path, encoding: str, mark: str) -> None:
    """With a byte order mark or without: the bytes could parse by luck."""
    path = tmp_path / "wide.jsonl"
    path.write_bytes((mark + '{"prompt": "hello"}\n').encode(encoding))
    with pytest.raises(InputError, match=encoding[:6].upper()) as caught:
        list(read_lines(path))
    assert "wide.jsonl" in str(caught.value)
    assert caught.value.hint


def test_a_directory_a_device_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    for path, complaint in [
        (tmp_path, "is a directory"),
        (Path(os.devnull), "is a device"),
        (tmp_path / "missing.jsonl", "does not exist"),
        (tmp_path / "file" / "below", "cannot be read"),
    ]:
        (tmp_path / "file").touch()
        with pytest.raises(InputError, match=complaint) as caught:
            list(read_lines(path))
        assert path.name in str(caught.value)


def test_a_standard_input_that_was_never_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A supervisor may have closed it."""
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="stdin is closed"):
        list(read_lines(None))


def test_a_redirected_file_that_grows_is_refused(tmp_path: Path) -> None:
    """`aiq run - < FILE` is as much a file as `aiq run FILE`."""
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'"a"\n')
    with path.open("rb") as stream:
        lines = read_lines(None, stdin=stream)
        assert next(lines) == (1, b'"a"')
        path.write_bytes(b'"a"\n"b"\n')
        with pytest.raises(InputError, match="written to while it was read"):
            list(lines)


def test_a_database_is_refused(tmp_path: Path) -> None:
    """The job database given as a prompt file is a slip of the hand."""
    path = tmp_path / "aiq.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE job (id)")
    connection.close()
    with pytest.raises(InputError, match="SQLite database"):
        list(read_lines(path))


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read every file")
def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "locked.jsonl"
    path.touch(mode=0o000)
    with pytest.raises(InputError, match="cannot be read"):
        list(read_lines(path))


def test_a_pipe_with_a_name_is_read(tmp_path: Path) -> None:
    """A FIFO has no size and cannot seek, gzip or not."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    for content in (b'"a"\n"b"\n', gzip.compress(b'"a"\n"b"\n', mtime=0)):
        writer = threading.Thread(target=path.write_bytes, args=(content,))
        writer.start()
        assert list(read_lines(path)) == [(1, b'"a"'), (2, b'"b"')]
        writer.join()


def test_many_chunks_make_every_line_once(tmp_path: Path) -> None:
    """A file of several reads gives each line once, in order, under its number."""
    path = tmp_path / "many.jsonl"
    texts = [b'"%d %s"' % (number, b"x" * (number % 97)) for number in range(1, 60_000)]
    path.write_bytes(b"\n".join(texts))
    assert list(read_lines(path)) == list(enumerate(texts, start=1))
