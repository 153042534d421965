"""Replacing a file as a whole: a temporary file beside it, flushed to disk, then renamed."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from aiq.errors import InputError, Refused

_MOST_LINKS = 40  # as many as Linux follows


@contextlib.contextmanager
def replaced(path: Path, *, option: str = "-o") -> Iterator[BinaryIO]:
    """
    Give a stream whose content becomes the file when the block ends well.

    Whatever goes wrong, the old file stays as it was. The new one has the mode of the old one, or
    what the umask gives. Raises `Refused` if the directory cannot be written or takes no more, and
    as `target_of`. Its hints name the option that took the path.
    """
    target = target_of(path, option=option)
    try:
        with _written(target) as stream:
            yield stream
    except OSError as error:
        raise Refused(
            f"{path} cannot be written: {error.strerror or error}",
            hint=f"free some space there, or name another file with `{option}`",
        ) from error


@contextlib.contextmanager
def _written(target: Path) -> Iterator[BinaryIO]:
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(_mode(target))
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_directory(target.parent)


def refuse_overwrite(output: Path, protect: Sequence[Path]) -> None:
    """Raise `Refused` if the output cannot be a file of ours, or is one of the protected ones."""
    if output.is_dir() or not output.parent.is_dir():
        raise InputError(
            f"{output} cannot be written: no such directory, or a directory itself",
            hint="name a file in a directory that exists with `-o`",
        )
    target_of(output)
    real = output.resolve()
    for path in protect:
        if path.resolve() == real:
            raise InputError(
                f"{output} would be overwritten, and it is an input of aiq",
                hint="name another file with `-o`",
            )


def target_of(path: Path, *, option: str = "-o") -> Path:
    """
    Return the file that is replaced: a link is followed, unless a stranger has put it there.

    In a directory that others may write to, like /tmp, a link of theirs could point at any file of
    ours. Raises `Refused` for such a link, and for what is there and no regular file.
    """
    other = f"name another file with `{option}`"
    with contextlib.suppress(OSError):
        if not stat.S_ISREG(path.stat().st_mode):
            raise Refused(
                f"{path} is a device, a pipe or a directory, and would become a file",
                hint="`-o -` writes to stdout, which can go anywhere" if option == "-o" else other,
            )
    for _ in range(_MOST_LINKS):
        if not path.is_symlink():
            return path
        if path.lstat().st_uid not in (os.geteuid(), path.parent.stat().st_uid):
            raise Refused(
                f"{path} is a link that another user has put there",
                hint=other,
            )
        path = path.parent / path.readlink()
    raise Refused(f"{path} is a link to itself", hint=other)


def _mode(target: Path) -> int:
    with contextlib.suppress(OSError):
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _sync_directory(directory: Path) -> None:
    with contextlib.suppress(OSError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
