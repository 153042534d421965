"""Replacing a file as a whole: a temporary file beside it, flushed to disk, then renamed."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from aiq.errors import Refused


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """
    Give a stream whose content becomes the file when the block ends well.

    Whatever goes wrong, the old file stays as it was. The new one has the mode of the old one, or
    what the umask gives. Raises `Refused` if the directory cannot be written.
    """
    target = path.resolve() if path.is_symlink() else path
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise Refused(
            f"{path} cannot be written: {error.strerror or error}",
            hint="name another file with `-o`",
        ) from error
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
